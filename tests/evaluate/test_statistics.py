"""Shares and comparisons against known values. Run: pytest tests/evaluate"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cornue.evaluate.statistics import paired, share


def test_wilson_gives_the_published_interval() -> None:
    # 15 of 20: a worked example found in many textbooks.
    found = share(15, 20)
    assert found["low"] == pytest.approx(0.531, abs=0.001)
    assert found["high"] == pytest.approx(0.888, abs=0.001)


def test_nothing_asked_gives_no_share() -> None:
    assert share(0, 0)["share"] is None


@given(st.integers(0, 300), st.integers(1, 300))
def test_the_interval_holds_the_share(right: int, asked: int) -> None:
    right = min(right, asked)
    found = share(right, asked)
    assert 0 <= found["low"] <= found["share"] + 1e-12 and found["share"] - 1e-12 <= found["high"] <= 1


def test_equal_answerers_differ_by_nothing() -> None:
    found = paired([True, False, True], [True, False, True])
    assert (found["difference"], found["difference_low"], found["difference_high"]) == (0, 0, 0)


def test_a_clear_difference_excludes_zero() -> None:
    found = paired([True] * 40, [True] * 10 + [False] * 30)
    assert found["difference_low"] > 0 and found["only_first_right"] == 30


def test_unequal_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="equally many"):
        paired([True], [True, False])
