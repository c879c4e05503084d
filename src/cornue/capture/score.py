"""Writes down what the teacher held likely at each token of its answers, shard by shard.

A shard that is whole is not made again. It chooses no form and measures no fidelity: the recipe and ``certify`` do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cornue.capture.certify import certify
from cornue.capture.packing import Shape, Shards, encode, tokens_digest, write_shard
from cornue.capture.teacher import Scorer, Teacher, Text
from cornue.records import recipe
from cornue.records.errors import BadInput
from cornue.records.progress import Progress
from cornue.records.samples import Prompt, Sample
from cornue.records.words import words

SHARD_SAMPLES = 256
SCORE_SEED = 20_250_317
VOCABULARY = "vocabulary.parquet"
# Ids that an endpoint may name, where its vocabulary is not known.
ENDPOINT_VOCABULARY = 1 << 18


@dataclass(frozen=True)
class Scored:
    """The distributions of a capture, on disk but not yet in place.

    Args:
        files: shards and vocabulary.
        about: what goes into ``capture.json``.
    """

    files: tuple[Path, ...]
    about: dict[str, Any]


def shards_of(folder: Path) -> list[Path]:
    """The shards of a folder, in order."""
    return sorted(folder.glob("distributions-*.safetensors"))


def text_of(teacher: Teacher, prompt: Prompt, sample: Sample) -> Text:
    """What is scored: the prompt as the teacher read it, and what it wrote."""
    return Text(teacher.prompt_ids(prompt) if sample.token_ids else (), sample.token_ids)


def score_samples(
    teacher: Teacher,
    prompts: Sequence[Prompt],
    samples: Sequence[Sample],
    section: recipe.Capture,
    folder: Path,
    progress: Progress,
) -> Scored:
    """Score every answer with the teacher's weights.

    Args:
        prompts: the prompt of each sample.
        folder: where the shards are made, and found again.

    Raises:
        BadInput: the teacher cannot score, or its answers hold no token ids.
    """
    scorer = teacher.scorer(1.0)
    assert section.distributions != "none"
    shape = Shape(form=section.distributions, width=section.width, vocabulary=len(scorer.tokens))
    texts = [text_of(teacher, prompt, sample) for prompt, sample in zip(prompts, samples, strict=True)]
    progress.begin("score", len(samples))
    files = []
    for first in range(0, len(samples), SHARD_SAMPLES):
        part = range(first, min(first + SHARD_SAMPLES, len(samples)))
        path = folder / f"distributions-{first // SHARD_SAMPLES:04d}.safetensors"
        if not _is_whole(path, [samples[place] for place in part], shape):
            _write(path, [texts[place] for place in part], scorer, shape, SCORE_SEED + first)
        files.append(path)
        progress.advance(part.stop)
    write_vocabulary(folder / VOCABULARY, scorer.tokens)
    fidelity = certify(teacher, scorer, prompts, texts, shape)
    about = _about(shape, Shards(files), samples) | {"scorer": scorer.identity(), "fidelity": fidelity}
    return Scored((*files, folder / VOCABULARY), about)


def keep_spoken(samples: Sequence[Sample], spoken: Sequence[bytes], width: int, folder: Path) -> Scored:
    """Keep the distributions that a teacher gave along with its answers.

    Args:
        spoken: the packed rows of each sample, empty where there are none.

    Raises:
        BadInput: not one answer came with them.
    """
    if not any(spoken):
        raise _cannot()
    shape = Shape(form="top", width=width, vocabulary=ENDPOINT_VOCABULARY)
    path = folder / "distributions-0000.safetensors"
    packed = [(rows, tokens_digest(sample.token_ids)) for rows, sample in zip(spoken, samples, strict=True)]
    write_shard(path, packed, shape)
    return Scored((path,), _about(shape, Shards([path]), samples))


def write_vocabulary(path: Path, tokens: Sequence[str]) -> None:
    """Keep the entries of a vocabulary in the order of their ids."""
    pq.write_table(pa.table({"token": list(tokens)}), path, compression="zstd")


def read_vocabulary(path: Path) -> list[str]:
    """The entries of a vocabulary in the order of their ids."""
    tokens: list[str] = pq.ParquetFile(path, pre_buffer=False).read(use_threads=False)["token"].to_pylist()
    return tokens


def services(shape: Shape) -> list[dict[str, Any]]:
    """What the distributions serve, and how well; anything that is not named is not served.

    Draws are unbiased where the loss is linear in the teacher's probabilities, which of the divergences only forward KL
    is. The likeliest entries with one class for the rest give divergences between coarser distributions.
    """
    forward = "unbiased" if shape.form == "sampled" else "approximate"
    others = ("reverse_kl", "jensen_shannon", "skewed_kl")
    named = [("forward_kl", forward), *((objective, "approximate") for objective in others)]
    return [
        {"objective": objective, "temperature": shape.temperature, "service": service} for objective, service in named
    ]


def _about(shape: Shape, shards: Shards, samples: Sequence[Sample]) -> dict[str, Any]:
    tokens = sum(len(sample.token_ids) for sample in samples)
    return {
        **shape.model_dump(),
        "tokens": tokens,
        "bytes_per_token": round(shards.packed_bytes / max(1, tokens), 2),
        "serves": services(shape),
    }


def _write(path: Path, texts: Sequence[Text], scorer: Scorer, shape: Shape, seed: int) -> None:
    packed = [(b"", tokens_digest(text.completion)) for text in texts]
    for place, rows in scorer.score(texts, shape, seed):
        tokens = np.asarray(texts[place].completion, dtype=np.int64)
        packed[place] = (encode(rows, tokens, shape), packed[place][1])
    write_shard(path, packed, shape)


def _is_whole(path: Path, samples: Sequence[Sample], shape: Shape) -> bool:
    """Whether a shard is there, and was made on these very tokens in this form."""
    if not path.exists():
        return False
    shards = Shards([path])
    return shards.shape == shape and shards.digests == [tokens_digest(sample.token_ids) for sample in samples]


def _cannot() -> BadInput:
    return BadInput(
        words(
            en="The endpoint gives no token ids with its likeliest tokens, so they cannot be kept.",
            fr="Le point d'accès ne donne pas d'identifiants avec ses jetons probables : impossible de les garder.",
        ),
        words(en='Write capture.distributions = "none".', fr='Écrivez capture.distributions = "none".'),
    )
