"""Packs what a teacher held likely at each token of a completion into few bytes, and takes it out again by sample.

Two forms. ``sampled``: ids drawn from the teacher's distribution with how often each was drawn; counts over the draws
that are expected of a row are unbiased probabilities, which add up to 1 on average. ``top``: the likeliest ids with
their log-probabilities in steps of 1/256 nat, and the mass of all others as one class. The token that was written
stands in the sample already, so its id is not stored again; the others are stored as an ascending set. Shards are
safetensors files, read by slices, one byte string per sample, each bound to its sample by the digest of the token ids.
It computes no probability and needs no torch.

Shapes: L tokens of a completion, one row each; E entries in all rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cornue.capture import bits
from cornue.records.errors import BadInput
from cornue.records.samples import Record
from cornue.records.words import words
from cornue.seal.write import write_bytes

Form = Literal["sampled", "top"]
NATS = 256
LOG_BITS = 12
# How rows are coded; shards that were coded otherwise are refused, since their bytes would give other rows.
CODING = "3"
DIGEST_BYTES = 16
Ints = NDArray[np.int64]


class Shape(Record):
    """What the rows of a capture have in common."""

    form: Form
    width: int
    """Draws a row on average (``sampled``) or entries a row (``top``)."""
    vocabulary: int
    """Ids that the teacher may give; rows hold smaller ones only."""
    temperature: float = 1.0
    """Temperature of the distribution that was drawn from or cut."""


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of one completion as integers, as they are packed.

    Args:
        splits: (L + 1) where each row's entries begin and end.
        ids: (E) ascending within a row.
        codes: (E) times drawn, or the log-probability in steps of -1/256 nat.
        tails: (L) log-mass of all other ids in the same steps; empty for ``sampled``.
    """

    splits: Ints
    ids: Ints
    codes: Ints
    tails: Ints


@dataclass(frozen=True, eq=False)
class Targets:
    """The rows of one completion as probabilities.

    Args:
        splits: (L + 1) where each row's entries begin and end.
        ids: (E) token ids.
        weights: (E) probabilities; with ``rest``, each row adds up to 1, drawn ones on average.
        rest: (L) mass on ids that are not named.
    """

    splits: Ints
    ids: Ints
    weights: NDArray[np.float32]
    rest: NDArray[np.float32]

    def for_student(self, student_id_of: Ints) -> Targets:
        """The same rows in a student's ids; what it lacks goes to ``rest`` and is never shared out.

        Args:
            student_id_of: the student's id of each teacher id, -1 where it has none.
        """
        new = student_id_of[self.ids]
        row = np.repeat(np.arange(len(self.rest)), np.diff(self.splits))
        lost = new < 0
        rest = self.rest + np.bincount(row[lost], self.weights[lost], len(self.rest)).astype(np.float32)
        sizes = np.bincount(row[~lost], minlength=len(self.rest))
        return Targets(np.concatenate([[0], np.cumsum(sizes)]), new[~lost], self.weights[~lost], rest)


def encode(rows: Rows, tokens: Ints, shape: Shape) -> bytes:
    """The rows of one completion as bytes.

    Args:
        tokens: (L) the ids that were written, one a row.
    """
    sizes = np.diff(rows.splits)
    row = np.repeat(np.arange(len(tokens)), sizes)
    written = rows.ids == tokens[row]
    has = np.bincount(row[written], minlength=len(tokens))
    others = sizes - has
    streams = [has.astype(np.uint8), bits.gamma(others + 1)]
    streams.append(bits.ascending(rows.ids[~written], _splits(others), shape.vocabulary))
    if shape.form == "sampled":
        # Counts of a row add up to about the draws: of the written token's, what is over or missing is stored.
        totals = np.bincount(row, rows.codes, len(tokens)).astype(np.int64)
        over = (totals - shape.width)[has > 0]
        streams += [bits.gamma(rows.codes[~written]), bits.gamma(np.where(over > 0, 2 * over, 1 - 2 * over))]
    else:
        logs = np.concatenate([rows.codes[~written], rows.codes[written], rows.tails])
        streams.append(bits.fixed(logs, np.full(len(logs), LOG_BITS)))
    return np.packbits(np.concatenate(streams)).tobytes()


def decode(data: bytes | NDArray[np.uint8], tokens: Ints, shape: Shape) -> Rows:
    """The rows of one completion from bytes.

    Raises:
        ValueError: the bytes are not those of so many rows.
    """
    reader = bits.BitReader(data)
    has = reader.take(len(tokens)).astype(np.int64)
    others = reader.gamma(len(tokens)) - 1
    other_ids = reader.ascending(_splits(others), shape.vocabulary)
    row_of_others = np.repeat(np.arange(len(tokens)), others)
    row_of_written = np.flatnonzero(has)
    if shape.form == "sampled":
        counts = reader.gamma(len(other_ids))
        left = shape.width - np.bincount(row_of_others, counts, len(tokens)).astype(np.int64)
        over = reader.gamma(len(row_of_written))
        over = np.where(over & 1, -(over >> 1), over >> 1)
        codes, tails = np.concatenate([counts, left[row_of_written] + over]), np.zeros(0, dtype=np.int64)
    else:
        logs = reader.fixed(np.full(len(other_ids) + len(row_of_written) + len(tokens), LOG_BITS))
        codes, tails = logs[: -len(tokens)], logs[len(logs) - len(tokens) :]
    ids = np.concatenate([other_ids, tokens[row_of_written]])
    if np.any(ids >= shape.vocabulary) or np.any(codes < (shape.form == "sampled")):
        raise ValueError("the packed rows are damaged")
    row = np.concatenate([row_of_others, row_of_written])
    order = np.lexsort((ids, row))
    return Rows(_splits(others + has), ids[order], codes[order], tails)


def targets_of(rows: Rows, shape: Shape) -> Targets:
    """Probabilities of packed rows."""
    length = len(rows.splits) - 1
    if shape.form == "sampled":
        weights = (rows.codes / shape.width).astype(np.float32)
        return Targets(rows.splits, rows.ids, weights, np.zeros(length, dtype=np.float32))
    row = np.repeat(np.arange(length), np.diff(rows.splits))
    kept, tail = np.exp(-rows.codes / NATS), np.exp(-rows.tails / NATS)
    # Rounded logarithms add up to 1 only nearly.
    total = np.bincount(row, kept, length) + tail
    return Targets(rows.splits, rows.ids, (kept / total[row]).astype(np.float32), (tail / total).astype(np.float32))


def log_codes(log_probabilities: NDArray[np.float64]) -> Ints:
    """Natural logarithms of probabilities in steps of -1/256 nat, at most 4095 (about -16 nats)."""
    steps = np.rint(-np.maximum(log_probabilities, -1e6) * NATS)
    return np.asarray(np.clip(steps, 0, (1 << LOG_BITS) - 1), dtype=np.int64)


def tokens_digest(tokens: Sequence[int] | Ints) -> bytes:
    """Digest of token ids: the first 16 bytes of SHA-256 over them as 32-bit integers, lowest byte first."""
    return hashlib.sha256(np.asarray(tokens, dtype="<i4").tobytes()).digest()[:DIGEST_BYTES]


def write_shard(path: Path, packed: Sequence[tuple[bytes, bytes]], shape: Shape) -> None:
    """Write the packed rows of samples with the digests of their token ids, in order."""
    from safetensors.numpy import save

    lengths = [len(data) for data, _ in packed]
    tensors: dict[str, NDArray[Any]] = {
        "rows": np.frombuffer(b"".join(data for data, _ in packed), dtype=np.uint8),
        "offsets": np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64),
        "tokens": np.frombuffer(b"".join(digest for _, digest in packed), dtype=np.uint8).reshape(-1, DIGEST_BYTES),
    }
    write_bytes(path, save(tensors, metadata={"shape": shape.model_dump_json(), "coding": CODING}))


class Shards:
    """The distributions of a capture, one entry per sample in the order of the samples; only what is read is loaded.

    Args:
        paths: shards in order.

    Raises:
        BadInput: a shard is missing, damaged, or of another shape than the first.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        opened = [_Shard(path) for path in paths]
        if not opened or any(shard.shape != opened[0].shape for shard in opened):
            raise _damaged(paths[0].parent if paths else Path("distributions"), "the shards do not belong together")
        self.shape: Shape = opened[0].shape
        self._shards = opened
        self._firsts = np.cumsum([0] + [len(shard) for shard in opened])

    def __len__(self) -> int:
        return int(self._firsts[-1])

    @property
    def packed_bytes(self) -> int:
        """Bytes of all packed rows, without offsets and digests."""
        return sum(int(shard.offsets[-1]) for shard in self._shards)

    @property
    def digests(self) -> list[bytes]:
        """Digest of the token ids of each entry."""
        return [digest.tobytes() for shard in self._shards for digest in shard.digests]

    def rows(self, sample: int, tokens: Sequence[int]) -> Rows:
        """The rows of a sample.

        Args:
            sample: its place among the samples of the capture.
            tokens: the token ids that it holds.

        Raises:
            BadInput: the rows belong to other token ids, or are damaged.
        """
        number = int(np.searchsorted(self._firsts, sample, side="right")) - 1
        return self._shards[number].rows(sample - int(self._firsts[number]), np.asarray(tokens, dtype=np.int64))

    def targets(self, sample: int, tokens: Sequence[int]) -> Targets:
        """The rows of a sample as probabilities; arguments and errors as for ``rows``."""
        return targets_of(self.rows(sample, tokens), self.shape)


class _Shard:
    """One file: its offsets and digests are read at once, rows when they are wanted."""

    def __init__(self, path: Path) -> None:
        from safetensors import SafetensorError
        from safetensors import safe_open as open_file

        safe_open: Any = open_file
        self.path = path
        try:
            file: Any = safe_open(path, framework="np")
            about = file.metadata()
            self.shape = Shape.model_validate_json(about["shape"])
            if about.get("coding") != CODING:
                raise ValueError("another version of Cornue packed them")
            self.offsets: Ints = file.get_tensor("offsets")
            self.digests: NDArray[np.uint8] = file.get_tensor("tokens")
            self._slice = file.get_slice("rows")
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise _damaged(path, str(error).splitlines()[0]) from None

    def __len__(self) -> int:
        return len(self.digests)

    def rows(self, place: int, tokens: Ints) -> Rows:
        if self.digests[place].tobytes() != tokens_digest(tokens):
            raise _damaged(self.path, f"entry {place} was taken on other token ids")
        data = self._slice[int(self.offsets[place]) : int(self.offsets[place + 1])]
        try:
            return decode(data, tokens, self.shape)
        except ValueError as error:
            raise _damaged(self.path, f"entry {place}: {error}") from None


def _splits(sizes: Ints) -> Ints:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


def _damaged(path: Path, why: str) -> BadInput:
    return BadInput(
        words(
            en=f"The distributions {path} cannot be used: {why}.",
            fr=f"Les distributions {path} sont inutilisables : {why}.",
        ),
        words(
            en="Fetch the capture again, or delete it and run again to score the answers anew.",
            fr="Récupérez la capture à nouveau, ou supprimez-la et relancez pour noter les réponses à nouveau.",
        ),
    )
