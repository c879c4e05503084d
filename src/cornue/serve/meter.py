"""The energy of an answer: a counter's increase, shared over the answers that were being written meanwhile.

Whatever the counter shows is given away whole, to answers or to idling, so the receipts and the idle part add up to the
meter. The counter is a real one where the machine has one; otherwise it is processor time multiplied by a declared
power, and every figure says so. It does not read prices.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from cornue.ledger.meters import watts_per_core
from cornue.ledger.numbers import Number, estimated, measured
from cornue.ledger.sensors import Rapl


@dataclass
class Counter:
    """A count of joules that only grows.

    Args:
        read: joules since some moment.
        watts: power of a busy core, where ``read`` is processor time times its value; None for an instrument.
        source: the instrument's name.
    """

    read: Callable[[], float]
    source: str
    watts: Number | None = None

    def number(self, joules: float) -> Number:
        """An amount with its label; an estimate carries the interval of the power that it was made from."""
        if self.watts is None:
            return measured(joules, "J", self.source)
        low, high = self.watts.lowest / self.watts.value, self.watts.highest / self.watts.value
        return estimated(joules, "J", self.source, round(joules * low, 3), round(joules * high, 3))


def machine_counter(engine_seconds: Callable[[], float], watts_said: str = "") -> Counter:
    """The machine's own energy counter if it can be read, else an estimate from the engine's and our processor time."""
    rapl = Rapl()
    if rapl.readable:
        return Counter(rapl.joules, "RAPL counters, whole machine, shared over the answers in progress")
    watts = watts_per_core(watts_said)
    source = f"processor time of engine and gateway; {watts.source}"
    return Counter(lambda: (engine_seconds() + time.process_time()) * watts.value, source, watts)


@dataclass
class SharedMeter:
    """Shares a counter among the answers in progress."""

    counter: Counter
    total: float = 0.0
    idle: float = 0.0
    answers: float = 0.0
    _last: float | None = None
    _shares: dict[str, float] = field(default_factory=dict)

    def tick(self) -> None:
        """Gives away what the counter gained since the last call."""
        now = self.counter.read()
        gained = max(0.0, now - self._last) if self._last is not None else 0.0
        self._last = now
        self.total += gained
        if not self._shares:
            self.idle += gained
            return
        for answer in self._shares:
            self._shares[answer] += gained / len(self._shares)

    def begin(self, answer: str) -> None:
        """An answer begins."""
        self.tick()
        self._shares[answer] = 0.0

    def end(self, answer: str) -> float:
        """An answer ends; returns its joules, 0 for one that never began."""
        self.tick()
        joules = self._shares.pop(answer, 0.0)
        self.answers += joules
        return joules

    def totals(self) -> dict[str, float]:
        """Joules in all, of finished answers and of idling; their difference is in progress."""
        rounded = {"total": self.total, "answers": self.answers, "idle": self.idle}
        return {name: round(value, 3) for name, value in rounded.items()}
