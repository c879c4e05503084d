"""A sitting of a run: a progress that also counts, and writes what was spent to the ledger every few seconds.

A kill loses at most the seconds since the last line, and a cap is exceeded by no more than them. It shows nothing: that
is left to the progress behind it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from cornue.ledger.caps import Spent, require_room
from cornue.ledger.ledger import Ledger
from cornue.ledger.meters import meter
from cornue.ledger.numbers import Number, add_up
from cornue.records import recipe
from cornue.records.progress import Progress

TICK_SECONDS = 20.0


class Sitting:
    """Counts what a sitting costs and writes it to the ledger every few seconds, so that a kill loses little of it.

    Args:
        caps: looked at whenever something was written.
    """

    def __init__(self, ledger: Ledger, progress: Progress, caps: recipe.Budget) -> None:
        self.ledger, self.progress, self.caps = ledger, progress, caps
        self.step = ""
        self._counts: dict[str, Number] = {}
        self._stack = contextlib.ExitStack()

    @contextlib.contextmanager
    def at(self, step: str) -> Iterator[None]:
        """Everything inside is put down to this step; what was spent before a failure counts too.

        Raises:
            Refused: a cap of the budget is reached, now or later.
        """
        require_room(self.caps, self.ledger.totals())
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

    def spent(self) -> Spent:
        """What the run has cost until now, with what is not in the ledger yet."""
        return Spent.of(add_up([*(entry.numbers for entry in self.ledger.entries), self._meter.numbers()]))

    def begin(self, what: str, total: int) -> None:
        """See ``Progress``."""
        self.progress.begin(what, total)

    def advance(self, done: int, **figures: float) -> None:
        """See ``Progress``."""
        if time.monotonic() - self._since > TICK_SECONDS:
            self._write("working")
            self._stack.close()
            self._restart()
            require_room(self.caps, self.ledger.totals())
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
