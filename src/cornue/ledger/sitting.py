"""A sitting of a run: a progress that also counts, and writes what was spent to the ledger every few seconds.

A kill loses at most the seconds since the last line. It shows nothing: that is left to the progress behind it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from cornue.ledger.ledger import Ledger
from cornue.ledger.meters import meter
from cornue.ledger.numbers import Number
from cornue.records.progress import Progress

TICK_SECONDS = 20.0


class Sitting:
    """Counts what a sitting costs and writes it to the ledger every few seconds, so that a kill loses little of it."""

    def __init__(self, ledger: Ledger, progress: Progress) -> None:
        self.ledger, self.progress = ledger, progress
        self.step = ""
        self._counts: dict[str, Number] = {}
        self._stack = contextlib.ExitStack()

    @contextlib.contextmanager
    def at(self, step: str) -> Iterator[None]:
        """Everything inside is put down to this step; what was spent before a failure counts too."""
        self.step = step
        self._restart()
        outcome = "interrupted"
        try:
            yield
            outcome = "finished"
        finally:
            self._write(outcome)
            self._stack.close()

    def count(self, **numbers: Number) -> None:
        """Things counted by the step itself, such as tokens."""
        self._counts |= numbers

    def begin(self, what: str, total: int) -> None:
        """See ``Progress``."""
        self.progress.begin(what, total)

    def advance(self, done: int, **figures: float) -> None:
        """See ``Progress``."""
        if time.monotonic() - self._since > TICK_SECONDS:
            self._write("working")
            self._stack.close()
            self._restart()
        self.progress.advance(done, **figures)

    def say(self, text: str) -> None:
        """See ``Progress``."""
        self.progress.say(text)

    def _restart(self) -> None:
        self._since = time.monotonic()
        self._meter = self._stack.enter_context(meter())

    def _write(self, act: str) -> None:
        self.ledger.append(self.step, act, self._meter.numbers() | self._counts)
        self._counts = {}
