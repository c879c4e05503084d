"""What both sides of the comparison with TRL learn from: a teacher, a student, texts, a capture; and the ruler.

The teacher is SmolLM2-135M in fp32, the student its first and last five layers. Each set of texts has held-out ones
that nobody learns from; on them the ruler takes the divergence from the teacher over the whole vocabulary. It trains
nothing. ``train_vs_trl`` runs it once.

Shapes: R rows (tokens of completions), V vocabulary.
"""

from __future__ import annotations

import contextlib
import random
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import results
from capture import CHOSEN, pieces
from cornue.capture.packing import Shape, encode, tokens_digest, write_shard
from cornue.capture.reader import SAMPLES, CaptureReader, open_capture
from cornue.capture.score import VOCABULARY, services, write_vocabulary
from cornue.capture.sparse import DenseScorer
from cornue.capture.teacher import Text
from cornue.models.head import Head
from cornue.models.load import load_model, load_tokenizer
from cornue.models.packed import hidden_states, pack
from cornue.models.student import Student
from cornue.records.samples import Example, Message, Sample
from cornue.seal.tables import read_records, write_records

LAYERS = 10
RATE = 5e-4
MAX_TOKENS = 48
GIVEN = 24
LONG = (128, 640)
EQUAL = 256
TRAIN, HELD_OUT = "train.parquet", "held-out.parquet"


@dataclass(frozen=True)
class Set:
    """A set of texts and how it is learnt.

    Args:
        batch: texts of a step.
        steps: of one measurement.
        pool: texts that steps are drawn from.
        held_out: texts for the ruler.
    """

    name: str
    batch: int
    steps: int
    pool: int
    held_out: int

    def batches(self, seed: int) -> list[list[int]]:
        """Which texts of the pool make which step: the same on both sides."""
        order = random.Random(f"{self.name}/{seed}").sample(range(self.pool), self.batch * self.steps)
        return [order[first : first + self.batch] for first in range(0, len(order), self.batch)]


SETS = {
    one.name: one
    for one in (
        Set("communes", 8, 16, 384, 32),
        Set("long", 4, 16, 96, 8),
        Set("equal", 4, 4, 32, 4),
        Set("prompts", 8, 5, 64, 8),
    )
}


def prepare(folder: Path, gguf: Path) -> None:
    """Make all of it, once."""
    if (folder / "ready").exists():
        return
    teacher = Student(load_model(gguf, tie=True), load_tokenizer(gguf))
    teacher.use_template("plain")
    teacher.tokenizer.pad_token = teacher.tokenizer.eos_token
    teacher.save(folder / "teacher")
    asked = communes()
    for texts, examples in ((SETS["communes"], asked), (SETS["prompts"], asked), *long_sets(teacher)):
        place = folder / texts.name
        place.mkdir(parents=True, exist_ok=True)
        write_records(place / TRAIN, examples[: texts.pool], Example)
        write_records(place / HELD_OUT, examples[len(examples) - texts.held_out :], Example)
        if texts.name != "prompts":
            capture(teacher, examples[: texts.pool], place / "capture")
    keep_ends(teacher.model, LAYERS)
    teacher.save(folder / "student")
    (folder / "ready").touch()


def communes() -> list[Example]:
    """The teacher's answers about the communes: those to training questions first, those to unseen forms last."""
    taken = open_capture(results.ROOT / "recipes" / "communes" / "capture")
    told = {sample.prompt_id: sample.text for sample in taken.samples() if sample.text}
    chosen = [prompt for prompt in taken.prompts() if prompt.id in told]
    ordered = sorted(chosen, key=lambda prompt: (prompt.split != "train", prompt.stratum == "unseen", prompt.id))
    return [
        Example(prompt_id=prompt.id, messages=prompt.messages, completion=told[prompt.id], form=prompt.form)
        for prompt in ordered
    ]


def long_sets(student: Student) -> Iterator[tuple[Set, list[Example]]]:
    """Prose, tables and code that people wrote, cut to random lengths, and to one length."""
    ids = [token for text in pieces() for token in student.encode(text)]
    for texts, (least, most) in ((SETS["long"], LONG), (SETS["equal"], (EQUAL, EQUAL))):
        draw, examples, place = random.Random(texts.name), list[Example](), 0
        while len(examples) < texts.pool + texts.held_out:
            length = draw.randint(least, most)
            given, told = (student.decode(part) for part in (ids[place : place + GIVEN], ids[place + GIVEN :][:length]))
            # Not every cut leaves words whole: a text that is cut into other tokens again is passed over.
            if student.encode(given) == ids[place:][:GIVEN] and student.encode(told) == ids[place + GIVEN :][:length]:
                messages = (Message(role="user", content=given),)
                examples.append(Example(prompt_id=f"{texts.name}-{place}", messages=messages, completion=told))
                place += length
            place += 1
        yield texts, examples


def capture(teacher: Student, examples: Sequence[Example], folder: Path) -> None:
    """The teacher's distributions at the tokens of some texts, in the form that captures have."""
    folder.mkdir(exist_ok=True)
    scorer = DenseScorer(teacher.model, teacher.tokenizer)
    shape = Shape(form=CHOSEN[0], width=CHOSEN[1], vocabulary=len(scorer.tokens))
    texts = [Text(*ids_of(teacher, example)) for example in examples]
    packed = [(b"", tokens_digest(text.completion)) for text in texts]
    for place, rows in scorer.score(texts, shape):
        packed[place] = (encode(rows, np.asarray(texts[place].completion, dtype=np.int64), shape), packed[place][1])
    write_shard(folder / "distributions-0000.safetensors", packed, shape)
    write_vocabulary(folder / VOCABULARY, scorer.tokens)
    samples = [
        Sample(prompt_id=example.prompt_id, text=example.completion, finish="stop", token_ids=text.completion)
        for example, text in zip(examples, texts, strict=True)
    ]
    write_records(folder / SAMPLES, samples, Sample)


def open_taken(folder: Path) -> CaptureReader:
    """The capture of a set."""
    shape = Shape(form=CHOSEN[0], width=CHOSEN[1], vocabulary=0)
    return CaptureReader(folder, "", {"distributions": {"serves": services(shape)}})


def read(folder: Path, name: str) -> list[Example]:
    """The texts of a file."""
    return list(read_records(folder / name, Example))


def ids_of(student: Student, example: Example) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Token ids of prompt and completion."""
    return tuple(student.prompt_ids(example.messages)), tuple(student.completion_ids(example.completion))


def open_model(folder: Path) -> Student:
    """The teacher, or the student before training."""
    return Student(load_model(folder), load_tokenizer(folder))


def keep_ends(model: Any, layers: int) -> None:
    """Leave the first and the last layers of a model."""
    body = model.get_decoder()
    body.layers = nn.ModuleList([*body.layers[: layers // 2], *body.layers[-(layers - layers // 2) :]])
    body.config.num_hidden_layers = layers
    for number, layer in enumerate(body.layers):
        layer.self_attn.layer_idx = number


@torch.inference_mode()
def divergence(model: Any, folder: Path, examples: Sequence[Example]) -> list[float]:
    """Forward KL of the teacher to a model, in nats a token, on each of some texts."""
    teacher, found = open_model(folder / "teacher"), []
    for example in examples:
        prompt, completion = ids_of(teacher, example)
        packed, rows = pack([[*prompt, *completion[:-1]]]), slice(len(prompt) - 1, None)
        teacher_RV, model_RV = (
            torch.log_softmax(Head.of(one).logits(hidden_states(one, packed)[rows]).float(), -1)
            for one in (teacher.model, model.eval())
        )
        found.append(float((teacher_RV.exp() * (teacher_RV - model_RV)).sum(-1).mean()))
    return found


@contextlib.contextmanager
def cores_at_work() -> Iterator[list[float]]:
    """How many cores this process had inside of it, on average: fewer than there are where others were at work."""
    found: list[float] = []
    wall, own = time.perf_counter(), time.process_time()
    yield found
    found.append((time.process_time() - own) / (time.perf_counter() - wall))


def peak_bytes() -> int:
    """The most memory that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    prepare(Path(sys.argv[1]), Path(sys.argv[2]))
    print("{}")
