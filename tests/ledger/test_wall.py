"""A power meter's file gives the energy of a span, or says why it cannot."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cornue.ledger.wall import wall_energy
from cornue.records.errors import BadInput

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


def write(path: Path, watts: list[float], step: float = 10) -> Path:
    rows = [f"{(NOON + timedelta(seconds=step * place)).isoformat()},x,{value}" for place, value in enumerate(watts)]
    path.write_text("\n".join(["time,note,watts", *rows]) + "\n")
    return path


def test_constant_power_gives_power_times_time(tmp_path: Path) -> None:
    energy = wall_energy(write(tmp_path / "a.csv", [60.0] * 11), NOON, NOON + timedelta(seconds=100))
    assert math.isclose(energy.value, 6000) and energy.how == "measured"


def test_a_span_between_readings_is_interpolated(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", [0.0, 100.0])
    energy = wall_energy(path, NOON + timedelta(seconds=2), NOON + timedelta(seconds=4))
    assert math.isclose(energy.value, 2 * 30)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.floats(0, 1000), min_size=3, max_size=12), st.floats(0.01, 0.99))
def test_two_parts_add_up_to_the_whole(tmp_path: Path, watts: list[float], where: float) -> None:
    path = write(tmp_path / "a.csv", watts)
    end = NOON + timedelta(seconds=10 * (len(watts) - 1))
    middle = NOON + (end - NOON) * where
    parts = wall_energy(path, NOON, middle).value + wall_energy(path, middle, end).value
    assert math.isclose(parts, wall_energy(path, NOON, end).value, rel_tol=1e-6, abs_tol=1e-3)


def test_seconds_since_1970_are_understood(tmp_path: Path) -> None:
    start = NOON.timestamp()
    (tmp_path / "a.csv").write_text(f"watts,time\n50,{start}\n50,{start + 60}\n")
    assert math.isclose(wall_energy(tmp_path / "a.csv", NOON, NOON + timedelta(seconds=60)).value, 3000)


def test_a_file_that_ends_too_early_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="span|couvre"):
        wall_energy(write(tmp_path / "a.csv", [1.0, 1.0]), NOON, NOON + timedelta(seconds=11))


def test_a_gap_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", [1.0, 1.0], step=400)
    with pytest.raises(BadInput, match="400 s"):
        wall_energy(path, NOON + timedelta(seconds=1), NOON + timedelta(seconds=2))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "time;watts\n1;2\n",
        "time,watts\n2026-11-01T12:00,5\n",
        "time,watts\n1,-5\n",
        "time,watts\n1\n",
        "time,watts\nnan,1\n",
    ],
)
def test_a_file_that_is_no_such_table_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(BadInput, match=r"a\.csv"):
        wall_energy(tmp_path / "a.csv", NOON, NOON)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="nowhere"):
        wall_energy(tmp_path / "nowhere.csv", NOON, NOON)
