"""Meters: what a block costs, with counters that are there and counters that are not."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cornue.ledger.meters import WATTS, meter, watts_per_core
from cornue.ledger.sensors import Nvml, Rapl, read_process
from cornue.records.errors import BadInput

SPIN = "import time\nwhile time.process_time() < {seconds}: pass\n"


def zone(root: Path, place: str, name: str, energy: int) -> Path:
    folder = root / place
    folder.mkdir(parents=True)
    (folder / "name").write_text(name + "\n")
    (folder / "energy_uj").write_text(f"{energy}\n")
    (folder / "max_energy_range_uj").write_text("1000000000\n")
    return folder / "energy_uj"


@pytest.fixture
def no_rapl(tmp_path: Path) -> Rapl:
    return Rapl(tmp_path / "nowhere")


@pytest.fixture
def engine() -> Iterator[subprocess.Popen[bytes]]:
    """A process that has worked for 0.2 s, works as long again at the next line, and ends at the one after."""
    works = [
        SPIN.format(seconds=seconds) + "print('done', flush=True)\nsys.stdin.readline()\n" for seconds in (0.2, 0.4)
    ]
    program = "import sys\n" + "".join(works)
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        yield child
        child.kill()


def test_a_block_is_timed(no_rapl: Rapl) -> None:
    with meter(rapl=no_rapl) as running:
        time.sleep(0.05)
    numbers = running.numbers()
    assert 0.05 <= numbers["wall"].value < 5
    assert numbers["cpu"].value <= numbers["wall"].value * 8
    assert numbers["wall"].how == "measured"


def test_an_ended_child_counts(no_rapl: Rapl) -> None:
    with meter(rapl=no_rapl) as running:
        subprocess.run([sys.executable, "-c", SPIN.format(seconds=0.2)], check=True)
    assert running.numbers()["cpu"].value >= 0.2


def test_a_watched_process_counts_while_it_lives(no_rapl: Rapl, engine: subprocess.Popen[bytes]) -> None:
    assert engine.stdin is not None and engine.stdout is not None
    with meter([engine.pid], rapl=no_rapl) as running:
        engine.stdin.write(b"go\n")
        engine.stdin.flush()
        engine.stdout.readline()
    assert 0.15 <= running.numbers()["cpu"].value < 0.35


def test_a_watched_child_that_ends_counts_once_and_from_then_on(no_rapl: Rapl, engine: subprocess.Popen[bytes]) -> None:
    with meter([engine.pid], rapl=no_rapl) as running:
        engine.communicate(b"go\n")
    assert 0.15 <= running.numbers()["cpu"].value < 0.35


def test_a_process_that_is_not_there_counts_nothing(no_rapl: Rapl) -> None:
    with meter([2**22 + 1], rapl=no_rapl) as running:
        pass
    assert running.numbers()["cpu"].value < 1


def test_memory_that_was_held_shows(no_rapl: Rapl) -> None:
    with meter(rapl=no_rapl) as running:
        held = bytearray(150_000_000)
        held[::4096] = b"x" * len(held[::4096])
        seen = running.numbers()["peak_memory"].value
    assert seen >= 150_000_000


def test_without_a_counter_energy_is_an_estimate_with_an_interval(no_rapl: Rapl) -> None:
    with meter(rapl=no_rapl) as running:
        subprocess.run([sys.executable, "-c", SPIN.format(seconds=0.1)], check=True)
    energy = running.numbers()["cpu_energy"]
    assert energy.how == "estimated" and "nameplate" in energy.source
    assert 0 < energy.lowest < energy.value < energy.highest


def test_a_counter_is_measured_and_its_parts_counted_once(tmp_path: Path) -> None:
    package = zone(tmp_path, "intel-rapl:0", "package-0", 5_000_000)
    memory = zone(tmp_path, "intel-rapl:0:1", "dram", 1_000_000)
    core = zone(tmp_path, "intel-rapl:0:0", "core", 0)
    twin = zone(tmp_path, "intel-rapl-mmio:0", "package-0", 5_000_000)
    with meter(rapl=Rapl(tmp_path)) as running:
        package.write_text("9000000")
        memory.write_text("1500000")
        core.write_text("3000000")
        twin.write_text("9000000")
    energy = running.numbers()["cpu_energy"]
    assert (energy.value, energy.how) == (4.5, "measured")


def test_a_counter_that_wraps_goes_on(tmp_path: Path) -> None:
    package = zone(tmp_path, "intel-rapl:0", "package-0", 999_000_000)
    rapl = Rapl(tmp_path)
    package.write_text("2000000")
    assert rapl.joules() == 3.0
    package.write_text("3000000")
    assert rapl.joules() == 4.0


def test_a_counter_that_may_not_be_read_is_no_counter(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 1).unlink()
    assert not Rapl(tmp_path).readable


def test_a_machine_without_cards_has_no_card_counter() -> None:
    assert not Nvml("libthere-is-none.so.1").readable


def test_ones_own_watts_are_declared() -> None:
    assert (watts_per_core("4.5").value, watts_per_core("4.5").how) == (4.5, "declared")


@pytest.mark.parametrize("said", ["a lot", "-3", "nan"])
def test_watts_that_are_no_number_are_refused(said: str) -> None:
    with pytest.raises(BadInput, match=WATTS):
        watts_per_core(said)


def test_a_process_with_brackets_in_its_name_can_be_read() -> None:
    program = "open('/proc/self/comm', 'w').write('a) (b'); input()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE) as child:
        time.sleep(0.1)
        reading = read_process(child.pid)
        child.communicate(b"\n")
    assert reading is not None and reading.parent > 0


def test_a_stopped_meter_keeps_its_numbers(no_rapl: Rapl) -> None:
    with meter(rapl=no_rapl) as running:
        pass
    before = running.numbers()
    time.sleep(0.01)
    assert running.numbers() == before
