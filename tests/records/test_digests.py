"""Canonical JSON as RFC 8785 prescribes, and digests of bytes, files and folders."""

from __future__ import annotations

import enum
import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cornue.records.digests import canonical_json, digest_bytes, digest_file, digest_folder, digest_json, parse_json

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=6,
)

FEW = settings(max_examples=25, deadline=None)

# RFC 8785, appendix B: the bits of a double and its only text.
NUMBERS = {
    "0000000000000000": "0",
    "8000000000000000": "0",
    "0000000000000001": "5e-324",
    "8000000000000001": "-5e-324",
    "7fefffffffffffff": "1.7976931348623157e+308",
    "ffefffffffffffff": "-1.7976931348623157e+308",
    "4340000000000000": "9007199254740992",
    "c340000000000000": "-9007199254740992",
    "4430000000000000": "295147905179352830000",
    "44b52d02c7e14af5": "9.999999999999997e+22",
    "44b52d02c7e14af6": "1e+23",
    "44b52d02c7e14af7": "1.0000000000000001e+23",
    "444b1ae4d6e2ef4e": "999999999999999700000",
    "444b1ae4d6e2ef4f": "999999999999999900000",
    "444b1ae4d6e2ef50": "1e+21",
    "3eb0c6f7a0b5ed8c": "9.999999999999997e-7",
    "3eb0c6f7a0b5ed8d": "0.000001",
    "41b3de4355555553": "333333333.3333332",
    "41b3de4355555554": "333333333.33333325",
    "41b3de4355555557": "333333333.33333343",
    "becbf647612f3696": "-0.0000033333333333333333",
    "43143ff3c1cb0959": "1424953923781206.2",
}


@pytest.mark.parametrize("bits", NUMBERS)
def test_a_double_has_the_text_that_the_standard_gives(bits: str) -> None:
    (value,) = struct.unpack(">d", bytes.fromhex(bits))
    assert canonical_json(value).decode() == NUMBERS[bits]


@FEW
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_double_can_be_read_back_from_its_text(value: float) -> None:
    assert float(canonical_json(value)) == value


@FEW
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_double_takes_an_exponent_only_where_the_standard_wants_one(value: float) -> None:
    text = canonical_json(value).decode()
    assert ("e" in text) == (value != 0 and not 1e-6 <= abs(value) < 1e21)
    assert not text.endswith(".0") and "e0" not in text and "e+0" not in text and "e-0" not in text


@FEW
@given(st.floats(min_value=-1e20, max_value=1e20))
def test_a_double_of_another_library_has_the_same_text(value: float) -> None:
    assert canonical_json(np.float64(value)) == canonical_json(value)


def test_integers_beyond_two_to_the_53_become_text() -> None:
    assert (
        canonical_json([2**53, 2**53 + 1, -(2**53) - 1]) == b'[9007199254740992,"9007199254740993","-9007199254740993"]'
    )


def test_named_numbers_and_texts_are_said_by_value() -> None:
    class Level(enum.IntEnum):
        HIGH = 3

    class Colour(enum.StrEnum):
        RED = "red"

    assert canonical_json([Level.HIGH, Colour.RED, True]) == b'[3,"red",true]'


def test_keys_are_sorted_by_utf_16_units() -> None:
    keys = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
    text = canonical_json(dict.fromkeys(keys, 0)).decode()
    assert list(json.loads(text)) == ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]


def test_only_what_must_be_is_escaped() -> None:
    assert canonical_json('\u20ac$\x0f\nA\'B"\\"/\x7f') == '"\u20ac$\\u000f\\nA\'B\\"\\\\\\"/\x7f"'.encode()


@FEW
@given(VALUES)
def test_a_value_keeps_its_digest_through_a_file(value: Any) -> None:
    assert digest_json(json.loads(json.dumps(value))) == digest_json(value)


@FEW
@given(st.dictionaries(st.text(max_size=4), SCALARS, min_size=2, max_size=6))
def test_the_order_of_keys_does_not_count(value: dict[str, Any]) -> None:
    assert digest_json(value) == digest_json(dict(reversed(value.items())))


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), {1: 2}, {None: 1}, "\ud800", {"\ud800": 1}, object(), b"x"]
)
def test_what_json_cannot_say_is_refused(value: Any) -> None:
    with pytest.raises(ValueError):
        canonical_json(value)


@pytest.mark.parametrize("text", ['{"a": 1, "a": 1}', "[NaN]", "[-Infinity]", "[" * 100_000, "{", "\xff", ""])
def test_json_that_can_be_read_in_two_ways_or_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_json(text)


@FEW
@given(VALUES)
def test_canonical_json_can_be_read_strictly(value: Any) -> None:
    parse_json(canonical_json(value))


@FEW
@given(st.binary(max_size=100))
def test_a_digest_names_its_method(data: bytes) -> None:
    assert digest_bytes(data) == "sha256:" + hashlib.sha256(data).hexdigest()


def test_a_file_has_the_digest_of_its_bytes(tmp_path: Path) -> None:
    data = b"x" * 3_000_001
    (tmp_path / "a").write_bytes(data)
    assert digest_file(tmp_path / "a") == digest_bytes(data)


def test_a_folder_is_named_by_paths_and_contents(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_text("1")
    before = digest_folder(tmp_path / "a")
    (tmp_path / "a" / "b").rename(tmp_path / "a" / "c")
    assert digest_folder(tmp_path / "a") != before
    (tmp_path / "a" / "c").rename(tmp_path / "a" / "b")
    assert digest_folder(tmp_path / "a") == before
