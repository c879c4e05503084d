"""A run ends when a cap of its budget is reached: at the next step, and within a long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from cornue.ledger import sitting as sittings
from cornue.ledger.caps import Spent, require_room
from cornue.ledger.ledger import Ledger
from cornue.ledger.numbers import Total, measured
from cornue.ledger.sitting import Sitting
from cornue.records.errors import Refused
from cornue.records.progress import Silent
from cornue.records.recipe import Budget


def total(value: float, unit: str) -> Total:
    return Total(value=value, unit=unit, low=value, high=value, by_how={})


TOTALS = {"wall": total(7200, "s"), "cpu_energy": total(3.6e6, "J"), "gpu_energy": total(7.2e6, "J")}


def test_energy_of_processor_and_card_is_added_and_priced() -> None:
    spent = Spent.of(TOTALS)
    assert (spent.hours, spent.kwh) == (2, 3)
    assert 0.1 < spent.euros < 3


@pytest.mark.parametrize("cap", [{"hours": 2}, {"kwh": 3}, {"euros": 0.01}])
def test_a_cap_that_is_reached_is_named(cap: dict[str, float]) -> None:
    [value] = cap.values()
    with pytest.raises(Refused, match=f"{value:g}"):
        require_room(Budget(**cap), TOTALS)


@pytest.mark.parametrize("cap", [{}, {"hours": 2.1}, {"kwh": 3.1}, {"euros": 10}])
def test_room_is_left_below_a_cap(cap: dict[str, float]) -> None:
    require_room(Budget(**cap), TOTALS)


def test_a_sitting_ends_within_a_step_and_its_cost_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sittings, "TICK_SECONDS", 0.0)
    ledger = Ledger(tmp_path / "ledger.jsonl")
    sitting = Sitting(ledger, Silent(), Budget(hours=1))
    done = 0
    with pytest.raises(Refused), sitting.at("train"):
        for _ in range(9):
            sitting.count(wall_before=measured(1.0, "s"))
            if done == 3:
                ledger.append("train", "working", {"wall": measured(3600.0, "s")})
            sitting.advance(done)
            done += 1
    assert done == 3
    assert ledger.totals()["wall_before"].value == 4
    with pytest.raises(Refused), sitting.at("evaluate"):
        done = 100
    assert done == 3
