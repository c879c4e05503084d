"""Numbers say how they were obtained, and sums remember it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cornue.ledger.numbers import Number, add_up, counted, declared, estimated, measured

AMOUNTS = st.floats(min_value=0, max_value=1e12)
NUMBERS = st.builds(
    lambda value, how: Number(value=value, unit="J", how=how),
    AMOUNTS,
    st.sampled_from(["measured", "counted", "estimated", "declared"]),
)


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_an_impossible_amount_is_refused(value: float) -> None:
    with pytest.raises(ValueError):
        measured(value, "J")


def test_an_interval_holds_its_value() -> None:
    with pytest.raises(ValueError, match="outside"):
        estimated(5, "J", "model", low=6, high=7)


@settings(max_examples=40, deadline=None)
@given(st.lists(NUMBERS, max_size=8))
def test_the_parts_of_a_total_add_up_to_it(numbers: list[Number]) -> None:
    totals = add_up({"energy": number} for number in numbers)
    for total in totals.values():
        assert math.isclose(sum(total.by_how.values()), total.value, abs_tol=1e-6)


def test_intervals_add_up() -> None:
    total = add_up([{"energy": measured(3, "J")}, {"energy": estimated(5, "J", "model", low=4, high=9)}])["energy"]
    assert (total.low, total.value, total.high) == (7, 8, 12)
    assert total.by_how["measured"] == 3


def test_of_peaks_the_largest_counts() -> None:
    total = add_up(
        [
            {"peak_memory": measured(3, "B")},
            {"peak_memory": declared(9, "B", "maker")},
            {"peak_memory": measured(5, "B")},
        ]
    )
    assert total["peak_memory"].value == 9
    assert total["peak_memory"].by_how == {"declared": 9}


def test_units_do_not_mix() -> None:
    with pytest.raises(ValueError, match="EUR.*USD"):
        add_up([{"money": counted(1, "EUR")}, {"money": counted(1, "USD")}])
