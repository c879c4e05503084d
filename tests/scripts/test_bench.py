"""How benchmarks are compared, cut into pieces, and judged."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import results
from kept import UNFINISHED, Kept, Unfinished, run


def test_a_piece_is_measured_once(tmp_path: Path) -> None:
    calls: list[int] = []

    def measure() -> dict[str, Any]:
        calls.append(1)
        return {"value": len(calls)}

    first = Kept("bench-x", root=tmp_path).piece("a b", measure)
    again = Kept("bench-x", root=tmp_path).piece("a b", measure)
    assert first == again == {"value": 1}


def test_pieces_of_another_commit_are_not_joined(tmp_path: Path) -> None:
    assert Kept("bench-x", root=tmp_path).folder == tmp_path / "bench-x" / results.commit()


def test_no_piece_is_begun_when_the_minutes_are_over_but_kept_ones_are_given(tmp_path: Path) -> None:
    Kept("bench-x", root=tmp_path).piece("there", lambda: {"value": 1})
    late = Kept("bench-x", minutes=1e-9, root=tmp_path)
    assert late.piece("there", dict) == {"value": 1}
    with pytest.raises(Unfinished, match="missing"):
        late.piece("not there", dict)


def test_a_trial_keeps_nothing(tmp_path: Path) -> None:
    Kept("bench-x", keep=False, root=tmp_path).piece("a", dict)
    assert not list(tmp_path.iterdir())


def test_an_unfinished_benchmark_has_an_exit_code_of_its_own() -> None:
    def main() -> int:
        raise Unfinished("b is missing")

    assert (run(main), run(lambda: 1)) == (UNFINISHED, 1)


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=40))
def test_the_interval_holds_the_median(values: list[float]) -> None:
    low, high = results.median_interval(values)
    assert low <= statistics.median(values) <= high


def test_few_values_have_their_range_as_interval() -> None:
    assert results.median_interval([3.0, 1.0, 2.0, 5.0, 4.0]) == (1.0, 5.0)


def test_pairs_are_timed_in_turns() -> None:
    order: list[str] = []
    results.alternate(lambda: order.append("a") or 1.0, lambda: order.append("b") or 1.0, pairs=2, warmup=0)
    assert "".join(order) == "abba"


def test_a_ratio_above_one_is_faster() -> None:
    found = results.alternate(lambda: 1.0, lambda: 3.0, pairs=5, warmup=0)
    assert (found.median, found.low, found.high) == (3.0, 3.0, 3.0)


@pytest.mark.parametrize(("value", "at_most", "holds"), [(2.0, False, True), (2.0, True, True), (3.0, True, False)])
def test_a_bar_holds_at_its_limit(value: float, at_most: bool, holds: bool) -> None:
    assert results.bar("x", value, 2, at_most)["holds"] is holds
