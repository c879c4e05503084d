"""What is packed comes out the same, by sample, and never for other token ids."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cornue.capture import bits
from cornue.capture.packing import (
    Form,
    Rows,
    Shape,
    Shards,
    Targets,
    decode,
    encode,
    log_codes,
    targets_of,
    tokens_digest,
    write_shard,
)
from cornue.records.errors import BadInput

VOCABULARY = 151_936
SAMPLED = Shape(form="sampled", width=64, vocabulary=VOCABULARY)
TOP = Shape(form="top", width=8, vocabulary=VOCABULARY)


def some_rows(seed: int, length: int, shape: Shape) -> tuple[Rows, np.ndarray]:
    """Random rows of one to 40 entries, half of them with the written token; drawn ones of about ``width`` draws."""
    random = np.random.default_rng(seed)
    ids, codes, sizes = [], [], []
    for _ in range(length):
        size = int(random.integers(1, min(shape.width, 40) + 1))
        ids.append(np.sort(random.choice(shape.vocabulary, size, replace=False)))
        draws = int(random.integers(max(size, shape.width - 5), shape.width + 6))
        cuts = np.sort(random.choice(np.arange(1, draws), size - 1, replace=False))
        counts = np.diff(np.concatenate([[0], cuts, [draws]]))
        codes.append(counts if shape.form == "sampled" else random.integers(0, 4096, size))
        sizes.append(size)
    tokens = np.array([random.choice(row) if random.random() < 0.5 else 7 for row in ids], dtype=np.int64)
    tails = np.zeros(0, np.int64) if shape.form == "sampled" else random.integers(0, 4096, length)
    splits = np.concatenate([[0], np.cumsum(sizes)])
    return Rows(splits, np.concatenate(ids), np.concatenate(codes), tails), tokens


def equal(one: Rows, other: Rows) -> bool:
    names = ("splits", "ids", "codes", "tails")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.sampled_from(["sampled", "top"]), st.integers(64, 2**20))
def test_rows_come_out_as_they_went_in(seed: int, length: int, form: Form, vocabulary: int) -> None:
    shape = Shape(form=form, width=64, vocabulary=vocabulary)
    rows, tokens = some_rows(seed, length, shape)
    assert equal(decode(encode(rows, tokens, shape), tokens, shape), rows)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 2**30)))
def test_gamma_codes_come_out_as_they_went_in(values: list[int]) -> None:
    array = np.array(values, dtype=np.int64)
    reader = bits.BitReader(np.packbits(bits.gamma(array)))
    assert reader.gamma(len(values)).tolist() == values


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60), st.integers(1, 10))
def test_any_bytes_give_rows_or_a_value_error(data: bytes, length: int) -> None:
    try:
        rows = decode(np.frombuffer(data, np.uint8), np.zeros(length, np.int64), SAMPLED)
    except ValueError:
        return
    assert len(rows.splits) == length + 1


def test_a_row_that_is_only_the_written_token_takes_three_bits() -> None:
    length = 800
    tokens = np.arange(length, dtype=np.int64)
    rows = Rows(np.arange(length + 1), tokens, np.full(length, 64), np.zeros(0, np.int64))
    assert len(encode(rows, tokens, SAMPLED)) == length * 3 // 8


def bytes_of_sets(sets: Sequence[np.ndarray]) -> float:
    """Bytes that a set of twelve ids, each drawn once, takes beside its written token."""
    shape = Shape(form="sampled", width=12, vocabulary=VOCABULARY)
    ids = np.concatenate([np.sort(one) for one in sets])
    rows = Rows(np.arange(0, 12 * len(sets) + 1, 12), ids, np.ones(len(ids), np.int64), np.zeros(0, np.int64))
    return len(encode(rows, np.full(len(sets), VOCABULARY), shape)) / len(sets)


def test_a_set_of_twelve_ids_takes_at_most_28_bytes_wherever_they_lie() -> None:
    random = np.random.default_rng(0)
    assert bytes_of_sets([random.choice(VOCABULARY, 12, replace=False) for _ in range(200)]) <= 28


def test_common_ids_take_fewer_bytes() -> None:
    random = np.random.default_rng(0)
    chance = 1 / (np.arange(VOCABULARY) + 300.0)
    sets = [random.choice(VOCABULARY, 12, replace=False, p=chance / chance.sum()) for _ in range(200)]
    assert bytes_of_sets(sets) <= 23


def test_probabilities_of_the_likeliest_and_the_rest_add_up_to_one() -> None:
    rows, _ = some_rows(3, 40, TOP)
    targets = targets_of(rows, TOP)
    sums = np.add.reduceat(targets.weights, targets.splits[:-1]) + targets.rest
    assert np.allclose(sums, 1, atol=1e-5)


def test_logarithms_keep_four_digits_and_never_overflow() -> None:
    assert log_codes(np.array([0.0, -1.0, -16.5, -np.inf])).tolist() == [0, 256, 4095, 4095]


def test_what_the_student_lacks_becomes_rest_and_is_not_shared_out() -> None:
    targets = Targets(
        np.array([0, 2, 3]), np.array([4, 9, 4]), np.array([0.75, 0.25, 1.0], np.float32), np.zeros(2, np.float32)
    )
    map_of_teacher = np.full(10, -1)
    map_of_teacher[4] = 0
    mine = targets.for_student(map_of_teacher)
    assert mine.splits.tolist() == [0, 1, 2]
    assert mine.ids.tolist() == [0, 0]
    assert mine.weights.tolist() == [0.75, 1.0]
    assert mine.rest.tolist() == [0.25, 0.0]


def shards(folder: Path, count: int = 7, per_shard: int = 3) -> tuple[Shards, list[tuple[Rows, np.ndarray]]]:
    samples = [some_rows(seed, 5 + seed, SAMPLED) for seed in range(count)]
    paths = []
    for first in range(0, count, per_shard):
        paths.append(folder / f"rows-{first}.safetensors")
        some = samples[first : first + per_shard]
        write_shard(
            paths[-1], [(encode(rows, tokens, SAMPLED), tokens_digest(tokens)) for rows, tokens in some], SAMPLED
        )
    return Shards(paths), samples


def test_any_sample_is_read_from_its_shard(tmp_path: Path) -> None:
    opened, samples = shards(tmp_path)
    assert len(opened) == 7
    for place in (6, 0, 3, 2, 5):
        rows, tokens = samples[place]
        assert equal(opened.rows(place, tokens), rows)


def test_rows_are_refused_to_other_token_ids(tmp_path: Path) -> None:
    opened, samples = shards(tmp_path)
    with pytest.raises(BadInput, match="token ids"):
        opened.rows(0, samples[1][1])


def test_a_shard_that_was_coded_otherwise_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as before:
        before.setattr("cornue.capture.packing.CODING", "2")
        shards(tmp_path / "before")
    with pytest.raises(BadInput, match="another version"):
        Shards([tmp_path / "before" / "rows-0.safetensors"])


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    shards(tmp_path)
    path = tmp_path / "rows-0.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(BadInput, match="rows-0"):
        Shards([path])
