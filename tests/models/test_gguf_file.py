from __future__ import annotations

from pathlib import Path

import gguf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cornue.models.gguf_file import TENSOR_TYPES, read_gguf
from cornue.records.errors import BadInput


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mutants") / "mutant.gguf"


def test_identity_is_what_the_file_says(small_gguf: bytes, path: Path) -> None:
    path.write_bytes(small_gguf)
    identity = read_gguf(path).identity()
    assert identity["name"] == "small"
    assert identity["architecture"] == "llama"
    assert (identity["context"], identity["vocabulary"], identity["parameters"]) == (64, 4, 35)
    assert identity["quantisation"] == "F32 100 %"


def test_tensors_lie_where_the_table_says(small_gguf: bytes, path: Path) -> None:
    path.write_bytes(small_gguf)
    embedding, norm = read_gguf(path).tensors
    assert (embedding.name, embedding.shape, embedding.bytes) == ("token_embd.weight", (8, 4), 128)
    assert (norm.offset, norm.bytes) == (128, 12)


@settings(deadline=None)
@given(cut=st.integers(min_value=0, max_value=10_000))
def test_a_file_cut_short_is_refused(small_gguf: bytes, path: Path, cut: int) -> None:
    # The last tensor has 12 bytes and is padded to 32; the padding alone may be missing.
    path.write_bytes(small_gguf[: cut % (len(small_gguf) - 20)])
    with pytest.raises(BadInput):
        read_gguf(path)


@settings(deadline=None)
@given(tail=st.binary(min_size=1, max_size=100))
def test_a_file_with_something_behind_it_is_refused(small_gguf: bytes, path: Path, tail: bytes) -> None:
    path.write_bytes(small_gguf + tail)
    with pytest.raises(BadInput):
        read_gguf(path)


@settings(max_examples=300, deadline=None)
@given(changes=st.lists(st.tuples(st.integers(0, 10_000), st.binary(min_size=1, max_size=8)), min_size=1, max_size=4))
def test_a_mutated_header_is_read_or_refused_with_a_sentence(
    small_gguf: bytes, path: Path, changes: list[tuple[int, bytes]]
) -> None:
    mutant = bytearray(small_gguf)
    for place, value in changes:
        place %= len(mutant)
        mutant[place : place + len(value)] = value
    path.write_bytes(mutant)
    try:
        file = read_gguf(path)
    except BadInput:
        return
    assert file.bytes == len(mutant)
    assert sum(tensor.bytes for tensor in file.tensors) < len(mutant)
    assert set(file.identity()) >= {"architecture", "tokenizer"}


@pytest.mark.parametrize("number", [2**16 + 1, 2**32, 2**63, 2**64 - 1])
@pytest.mark.parametrize("place", [8, 16, 24])
def test_absurd_counts_and_lengths_are_refused_at_once(small_gguf: bytes, path: Path, place: int, number: int) -> None:
    path.write_bytes(small_gguf[:place] + number.to_bytes(8, "little") + small_gguf[place + 8 :])
    with pytest.raises(BadInput):
        read_gguf(path)


def test_an_embedding_of_another_size_than_the_token_list_is_refused(small_gguf: bytes, path: Path) -> None:
    entry = small_gguf.index(b"token_embd.weight") + len("token_embd.weight") + 4
    swapped = small_gguf[entry + 8 : entry + 16] + small_gguf[entry : entry + 8]
    path.write_bytes(small_gguf[:entry] + swapped + small_gguf[entry + 16 :])
    with pytest.raises(BadInput, match="4 tokens but 8 rows"):
        read_gguf(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"nothing\.gguf"):
        read_gguf(tmp_path / "nothing.gguf")


def test_block_sizes_agree_with_the_reference_implementation() -> None:
    for number, (name, block, size) in TENSOR_TYPES.items():
        kind = gguf.GGMLQuantizationType(number)
        assert (kind.name, gguf.GGML_QUANT_SIZES[kind]) == (name, (block, size))
