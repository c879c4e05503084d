"""Joules and tokens become money and gas by dated tables."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cornue.ledger.numbers import add_up, estimated, measured
from cornue.ledger.prices import (
    bill,
    break_even,
    electricity_cost,
    emissions,
    read_tables,
    tokens_cost,
)
from cornue.records.errors import BadInput

KWH = 3.6e6


def test_every_line_has_a_date_and_a_source() -> None:
    tables = read_tables()
    lines = [*tables.electricity, *tables.grid, *tables.model]
    assert len(lines) >= 6
    assert all(line.source and len(line.date) == 10 for line in lines)


def test_a_kilowatt_hour_costs_what_the_table_says() -> None:
    cost = electricity_cost(measured(KWH, "J"), "EU")
    assert math.isclose(cost.value, 0.2872) and cost.unit == "EUR"
    assert cost.how == "estimated" and "Eurostat" in cost.source


def test_the_interval_of_the_energy_goes_through_to_the_money() -> None:
    cost = electricity_cost(estimated(KWH, "J", "model", low=KWH / 2, high=KWH * 2))
    assert math.isclose(cost.lowest, cost.value / 2) and math.isclose(cost.highest, cost.value * 2)


def test_emissions_span_years_and_methods() -> None:
    gas = emissions(measured(KWH, "J"), "FR")
    assert gas.value == 21.7 and gas.highest == 56.0 and gas.unit == "gCO2e"


def test_a_bill_adds_both_processors() -> None:
    totals = add_up(
        [{"cpu_energy": measured(KWH, "J"), "gpu_energy": measured(3 * KWH, "J"), "wall": measured(9, "s")}]
    )
    assert math.isclose(bill(totals, "EU")["electricity"].value, 4 * 0.2872)


def test_a_bill_of_nothing_is_zero() -> None:
    assert bill({})["electricity"].value == 0


def test_cached_and_reasoning_tokens_have_their_prices() -> None:
    cost = tokens_cost("deepseek-reasoner", prompt=2_000_000, cached=1_000_000, completion=500_000, reasoning=500_000)
    assert math.isclose(cost.value, 0.55 + 0.14 + 2.19) and cost.unit == "USD"


def test_more_cached_than_prompt_tokens_is_our_own_mistake() -> None:
    with pytest.raises(ValueError, match="cached"):
        tokens_cost("deepseek-reasoner", prompt=1, completion=1, cached=2)


def test_an_unknown_model_is_named_with_the_known_ones() -> None:
    with pytest.raises(BadInput, match="deepseek-v4-flash"):
        tokens_cost("gpt-17", prompt=1, completion=1)


def test_a_table_of_ones_own_goes_first(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text(
        '[[electricity]]\nregion = "FR"\neuros_per_kwh = 0.1\ndate = "2026-11-01"\nhow = "declared"\nsource = "bill"'
    )
    tables = read_tables(own)
    assert math.isclose(electricity_cost(measured(KWH, "J"), "FR", tables).value, 0.1)
    assert math.isclose(electricity_cost(measured(KWH, "J"), "EU", tables).value, 0.2872)


@pytest.mark.parametrize("text", ["[[electricity]]\nregion = 3", "nonsense", '[[electricty]]\nregion = "FR"'])
def test_a_table_that_says_nonsense_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "own.toml").write_text(text)
    with pytest.raises(BadInput, match="own.toml"):
        read_tables(tmp_path / "own.toml")


def test_break_even_agrees_with_the_published_case() -> None:
    assert math.isclose(break_even(11.0, 6.30, 5.20) or 0, 10.0)


def test_without_a_saving_there_is_no_break_even() -> None:
    assert break_even(11.0, 5.0, 5.0) is None


@settings(max_examples=40, deadline=None)
@given(st.floats(1, 1e9), st.floats(1, 1e6), st.floats(1e-3, 1e6))
def test_at_the_break_even_both_ways_cost_the_same(teacher: float, distilled: float, saved: float) -> None:
    reuses = break_even(teacher, distilled + saved, distilled)
    if reuses is not None:
        assert math.isclose(teacher + reuses * distilled, reuses * (distilled + saved), rel_tol=1e-3)
