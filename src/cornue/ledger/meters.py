"""Measures what a block of code costs: wall and processor time, memory, energy.

Energy comes from counters where the machine lets us read them, and then stands for the whole machine or card; otherwise
it is an estimate, labelled so, from processor time and the table ``power.toml``. It counts neither tokens nor money.
"""

from __future__ import annotations

import contextlib
import os
import resource
import statistics
import threading
import time
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import resources

from cornue.ledger.numbers import Number, estimated, measured
from cornue.ledger.sensors import Nvml, ProcessReading, Rapl, own_peak, read_process
from cornue.records.errors import BadInput
from cornue.records.words import words

WATTS = "CORNUE_WATTS_PER_CORE"
PERIOD = 1.0


@contextlib.contextmanager
def meter(pids: Iterable[int] = (), rapl: Rapl | None = None, nvml: Nvml | None = None) -> Iterator[Meter]:
    """Measure the block; ``numbers`` of the meter may be read within it and after it.

    Args:
        pids: other processes whose work counts too, such as an engine that is already running.
        rapl, nvml: counters to read in place of this machine's.
    """
    running = Meter(pids, rapl or Rapl(), nvml or _cards())
    try:
        yield running
    finally:
        running.stop()


class Meter:
    """A running or stopped meter. Child processes count once they have ended, watched processes at once."""

    def __init__(self, pids: Iterable[int], rapl: Rapl, nvml: Nvml) -> None:
        self._rapl, self._nvml = rapl, nvml
        self._watts = watts_per_core()
        self._watched: dict[int, tuple[ProcessReading, ProcessReading]] = {}
        self._lock = threading.Lock()
        self._peak, self._peak_before = 0, own_peak()
        self._gpu_before = nvml.joules()
        self._wall_before, self._cpu_before = time.perf_counter(), _own_seconds()
        self._final: dict[str, Number] = {}
        self._stopped = threading.Event()
        for pid in pids:
            self.watch(pid)
        self._sample()
        self._sampler = threading.Thread(target=self._sample_until_stopped, name="meter", daemon=True)
        self._sampler.start()

    def watch(self, pid: int) -> None:
        """Count a process from now on; one that does not exist counts nothing."""
        reading = read_process(pid)
        if reading:
            with self._lock:
                self._watched[pid] = (reading, reading)

    def numbers(self) -> dict[str, Number]:
        """What the block has cost so far: ``wall`` and ``cpu`` (s), ``peak_memory`` (B), ``cpu_energy`` (J).

        ``gpu_energy`` (J) is there only where there is a counter.
        """
        if self._final:
            return self._final
        self._sample()
        cpu = self._cpu_seconds()
        numbers = {
            "wall": measured(time.perf_counter() - self._wall_before, "s"),
            "cpu": measured(cpu, "s", "this process, its ended children, watched processes"),
            "peak_memory": self._peak_memory(),
            "cpu_energy": self._cpu_energy(cpu),
        }
        if self._nvml.readable:
            joules = max(self._nvml.joules() - self._gpu_before, 0.0)
            numbers["gpu_energy"] = measured(joules, "J", "NVML counter, whole card, idle draw included")
        return numbers

    def stop(self) -> None:
        """Stop measuring; the numbers stay as they are."""
        self._final = self.numbers()
        self._stopped.set()
        self._sampler.join()

    def _cpu_seconds(self) -> float:
        seconds = _own_seconds() - self._cpu_before
        with self._lock:
            for pid, (first, last) in self._watched.items():
                gone = not _same(read_process(pid), first)
                # A child of ours that has ended is already among the children, with its whole life.
                seconds += -first.cpu if gone and first.parent == os.getpid() else last.cpu - first.cpu
        return max(seconds, 0.0)

    def _cpu_energy(self, cpu: float) -> Number:
        if self._rapl.readable:
            with self._lock:
                joules = self._rapl.joules()
            source = "RAPL counters, packages and memory, whole machine, idle draw included"
            return measured(joules, "J", source)
        watts = self._watts
        return estimated(cpu * watts.value, "J", watts.source, cpu * watts.lowest, cpu * watts.highest)

    def _peak_memory(self) -> Number:
        own_now = own_peak()
        exact = own_now > self._peak_before and not self._watched
        with self._lock:
            peak = max(self._peak, own_now if exact else 0)
        return measured(peak, "B", "kernel's high-water mark" if exact else f"resident memory, seen every {PERIOD:g} s")

    def _sample(self) -> None:
        own = read_process(os.getpid())
        resident = own.resident if own else 0
        with self._lock:
            # Often enough that no counter wraps twice unseen.
            self._rapl.joules()
            for pid, (first, _) in list(self._watched.items()):
                now = read_process(pid)
                if now and _same(now, first):
                    self._watched[pid] = (first, now)
                    resident += now.resident
            self._peak = max(self._peak, resident)

    def _sample_until_stopped(self) -> None:
        while not self._stopped.wait(PERIOD):
            self._sample()


def watts_per_core(said: str | None = None) -> Number:
    """What one busy core draws, in watts: what the user says, or the table's median with its spread.

    Args:
        said: watts as text, empty for the table; None takes ``CORNUE_WATTS_PER_CORE``.

    Raises:
        BadInput: it is not a positive number.
    """
    said = os.environ.get(WATTS, "") if said is None else said
    if not said:
        return _table_watts()
    try:
        return Number(value=float(said), unit="W", how="declared", source=f"{WATTS}={said} W per busy core")
    except ValueError:
        raise BadInput(
            words(
                en=f"{WATTS} is {said!r}, which is no number of watts",
                fr=f"{WATTS} vaut {said!r}, pas un nombre de watts",
            ),
            words(
                en=f"give a number such as {WATTS}=6.5, or unset it", fr=f"donnez un nombre, par exemple {WATTS}=6.5"
            ),
        ) from None


@cache
def _table_watts() -> Number:
    table = tomllib.loads(resources.files("cornue.ledger").joinpath("power.toml").read_text(encoding="utf-8"))
    each = [processor["watts"] / processor["cores"] for processor in table["processor"]]
    value = statistics.median(each)
    source = f"{value:.1f} W per busy core, median of {len(each)} nameplates of {table['date']}: {table['boundary']}"
    return estimated(value, "W", source, low=min(each) / 2, high=max(each))


@cache
def _cards() -> Nvml:
    return Nvml()


def _own_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _same(now: ProcessReading | None, first: ProcessReading) -> bool:
    return now is not None and now.started == first.started
