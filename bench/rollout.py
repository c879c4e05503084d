"""How fast a student writes while it learns: our sampler against transformers' ``generate``, 32 texts at once.

Three kinds of work, each on the same prompts with the same weights, in alternating pairs: texts of one length;
sentences, which end where they end; groups of answers to the same prompts under long instructions. Only tokens that
belong to a text count. It looks at no answer's quality; that both write the same, where nothing is drawn, is checked.

Run it with ``make bench-rollout``; ``--minutes`` ends it early with exit code 75, and the next run goes on.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

import results
from cornue.capture.reader import open_capture
from cornue.models.packed import use_attention
from cornue.models.sample import generate
from cornue.models.student import Student
from kept import Kept, run

NAME = "bench-rollout"
MODEL = results.ROOT / ".cache" / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
SLOTS = 32
GROUP = 8
TIMES = 3.0


@dataclass(frozen=True)
class Work:
    """What is to be written.

    Args:
        stop: ids that end a text.
    """

    name: str
    prompts: Sequence[Sequence[int]]
    stop: Collection[int]
    max_tokens: int


def works(student: Student) -> list[Work]:
    """The kinds of work."""
    taken = open_capture(results.ROOT / "recipes" / "communes" / "capture").prompts()
    asked = [student.prompt_ids(prompt.messages) for prompt in taken if prompt.split == "train"]
    instructions = (results.ROOT / "recipes" / "communes" / "teacher.md").read_text(encoding="utf-8")
    shared = student.encode(instructions)[:512]
    ends = {number for token, number in student.tokenizer.get_vocab().items() if "." in token or "?" in token}
    return [
        Work("one length", asked[:SLOTS], (), 48),
        Work("sentences", asked[: 3 * SLOTS], ends | {student.end_id}, 64),
        Work("groups", [[*shared, *ids] for ids in asked[: SLOTS // GROUP] for _ in range(GROUP)], (), 32),
    ]


class Ours:
    """The sampler of every run."""

    def __init__(self, model: Any) -> None:
        self._model, self._seed = model, 0

    def __call__(self, work: Work, temperature: float = 1.0) -> list[tuple[int, ...]]:
        """Token ids of the texts."""
        self._seed += 1
        seeds = [self._seed * 100_000 + place for place in range(len(work.prompts))]
        found = generate(
            self._model,
            work.prompts,
            stop=work.stop,
            max_tokens=work.max_tokens,
            temperature=temperature,
            seeds=seeds if temperature else (),
            slots=SLOTS,
        )
        return [text.ids for text in found]


class Theirs:
    """transformers' own, batch after batch, prompts filled up to one length from the left."""

    def __init__(self, model: Any, filler: int) -> None:
        self._model, self._filler = model, filler

    @torch.inference_mode()
    def __call__(self, work: Work, temperature: float = 1.0) -> list[tuple[int, ...]]:
        """Token ids of the texts."""
        use_attention(self._model, "sdpa")
        texts = []
        for first in range(0, len(work.prompts), SLOTS):
            batch = work.prompts[first : first + SLOTS]
            longest = max(map(len, batch))
            ids_BT = torch.tensor([[self._filler] * (longest - len(ids)) + list(ids) for ids in batch])
            mask_BT = torch.tensor([[0] * (longest - len(ids)) + [1] * len(ids) for ids in batch])
            drawn = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
            written_BT = self._model.generate(
                input_ids=ids_BT,
                attention_mask=mask_BT,
                max_new_tokens=work.max_tokens,
                eos_token_id=sorted(work.stop) or None,
                pad_token_id=self._filler,
                **(drawn if temperature else {"do_sample": False}),
            )
            texts += [ended(row, work) for row in written_BT[:, longest:].tolist()]
        return texts


def ended(ids: Sequence[int], work: Work) -> tuple[int, ...]:
    """A text up to the token that ends it."""
    end = next((place for place, token in enumerate(ids) if token in work.stop), len(ids) - 1)
    return tuple(ids[: end + 1])


def timed(writer: Callable[[Work], list[tuple[int, ...]]], work: Work) -> float:
    """Seconds a token."""
    begin = time.perf_counter()
    texts = writer(work)
    return (time.perf_counter() - begin) / sum(map(len, texts))


def compare(student: Student, dtype: str, work: Work, pairs: int) -> dict[str, Any]:
    """One line of the table."""
    model = student.model.to(getattr(torch, dtype))
    model.generation_config.eos_token_id = None
    ours, theirs = Ours(model), Theirs(model, student.end_id)
    few = Work(work.name, work.prompts[:4], work.stop, 8)
    same = [a == b for a, b in zip(ours(few, 0.0), theirs(few, 0.0), strict=True)]
    found = results.alternate(lambda: timed(ours, work), lambda: timed(theirs, work), pairs, warmup=0)
    return {
        "work": work.name,
        "dtype": dtype,
        "texts": len(work.prompts),
        "prompt_tokens": sum(map(len, work.prompts)),
        "tokens_per_second": 1 / found.a_seconds,
        "transformers": 1 / found.b_seconds,
        "ratio": found.median,
        "low": found.low,
        "high": found.high,
        "pairs": pairs,
        "same_when_greedy": sum(same) / len(same),
    }


def main() -> int:
    """Measure what is missing, then write the result."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=0, help="begin no piece after these; 0: no limit")
    parser.add_argument("--trial", action="store_true", help="one pair, nothing is written")
    chosen = parser.parse_args()
    student, kept = Student.read(chosen.model), Kept(NAME, chosen.minutes, not chosen.trial)
    student.use_template("plain")
    lines = [
        kept.piece(f"{work.name} {dtype}", partial(compare, student, dtype, work, pairs))
        for dtype, pairs in (("float32", 1 if chosen.trial else chosen.pairs), ("bfloat16", 1))
        for work in works(student)
    ]
    bars = [
        results.bar(f"{line['work']}: tokens/s over transformers, float32", line["ratio"], TIMES)
        for line in lines
        if line["dtype"] == "float32"
    ]
    figures = {"slots": SLOTS, "threads": torch.get_num_threads(), "model": chosen.model.stem, "speed": lines}
    outcome = results.write(NAME, figures, bars, folder=None if chosen.trial else results.RESULTS)
    return 0 if all(item["holds"] for item in outcome["bars"]) else 1


if __name__ == "__main__":
    sys.exit(run(main))
