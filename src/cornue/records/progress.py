"""How long work tells the person who waits for it what happens.

Rooms speak to a ``Progress``; the command line shows it, a service logs it, a test ignores it. It decides
nothing.
"""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """What a room may say while it works."""

    def begin(self, what: str, total: int) -> None:
        """A part of the work begins that has ``total`` steps; 0 if unknown."""

    def advance(self, done: int, **figures: float) -> None:
        """``done`` steps in all are finished; figures are shown beside the bar (loss, tokens/s, euros)."""

    def say(self, text: str) -> None:
        """A sentence worth keeping on the screen."""


class Silent:
    """A progress that nobody watches."""

    def begin(self, what: str, total: int) -> None:
        """Say nothing."""

    def advance(self, done: int, **figures: float) -> None:
        """Say nothing."""

    def say(self, text: str) -> None:
        """Say nothing."""
