"""Readings of the operating system and of energy counters: processes, RAPL, NVML.

Each reading is raw and cumulative; ``meters`` takes differences and labels them. What cannot be read is absent, never
guessed. Linux only: powercap in sysfs, the process files in /proc, NVIDIA's library by ctypes.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import NamedTuple

POWERCAP = Path("/sys/class/powercap")
TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


class ProcessReading(NamedTuple):
    """One process at one moment: processor seconds since its start, resident bytes, its parent, when it started."""

    cpu: float
    resident: int
    parent: int
    started: int


def read_process(pid: int) -> ProcessReading | None:
    """A process and the children that it has waited for; None if there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name, in brackets, may hold spaces and brackets itself.
    fields = text[text.rindex(")") + 2 :].split()
    cpu = sum(int(ticks) for ticks in fields[11:15]) / TICK
    return ProcessReading(cpu, int(fields[21]) * PAGE, int(fields[1]), int(fields[19]))


def own_peak() -> int:
    """The largest resident memory of this process since its start, in bytes; 0 where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)


class Rapl:
    """The energy counters of processor packages and their memory, for the whole machine.

    Packages and DRAM zones are added; cores and graphics lie inside the package, and the twin zones that some machines
    show over MMIO are the same counters. The counters wrap after minutes to hours: read at least every minute.
    """

    def __init__(self, root: Path = POWERCAP) -> None:
        self._zones = [zone for zone in sorted(root.glob("intel-rapl:*")) if _counts(zone)]
        self._last = {zone: _read_number(zone / "energy_uj") for zone in self._zones}
        self._range = {zone: _read_number(zone / "max_energy_range_uj") for zone in self._zones}
        self._total = 0.0
        self.readable = bool(self._zones) and all(value is not None for value in self._last.values())

    def joules(self) -> float:
        """Energy since this object was made, in joules."""
        for zone in self._zones:
            now, last = _read_number(zone / "energy_uj"), self._last[zone]
            if now is None or last is None:
                continue
            step = now - last
            self._total += step + (self._range[zone] or 0) if step < 0 else step
            self._last[zone] = now
        return self._total / 1e6


class Nvml:
    """The energy counters of the NVIDIA cards that this process may use, each card as a whole."""

    def __init__(self, library: str = "libnvidia-ml.so.1") -> None:
        self._cards: list[ctypes.c_void_p] = []
        try:
            self._nvml = ctypes.CDLL(library)
        except OSError:
            return
        if self._nvml.nvmlInit_v2() == 0:
            self._cards = [card for card in self._visible_cards() if self._millijoules(card) is not None]

    @property
    def readable(self) -> bool:
        """Whether there is at least one card with a counter."""
        return bool(self._cards)

    def joules(self) -> float:
        """Energy since the driver was loaded, in joules."""
        return sum(self._millijoules(card) or 0 for card in self._cards) / 1000

    def _visible_cards(self) -> list[ctypes.c_void_p]:
        count = ctypes.c_uint()
        self._nvml.nvmlDeviceGetCount_v2(ctypes.byref(count))
        named = os.environ.get("CUDA_VISIBLE_DEVICES")
        names = [str(index) for index in range(count.value)] if named is None else named.split(",")
        cards = []
        for name in names:
            card = ctypes.c_void_p()
            if name.strip().isdecimal():
                code = self._nvml.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(int(name)), ctypes.byref(card))
            else:
                code = self._nvml.nvmlDeviceGetHandleByUUID(name.strip().encode(), ctypes.byref(card))
            if code == 0:
                cards.append(card)
        return cards

    def _millijoules(self, card: ctypes.c_void_p) -> int | None:
        energy = ctypes.c_ulonglong()
        code = self._nvml.nvmlDeviceGetTotalEnergyConsumption(card, ctypes.byref(energy))
        return energy.value if code == 0 else None


def _counts(zone: Path) -> bool:
    try:
        name = (zone / "name").read_text().strip()
    except OSError:
        return False
    return name.startswith("package") or name == "dram"


def _read_number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
