"""What the doctor says of one class of mistakes: passed, failed or not applicable, always with the reason.

A check is a function of the subject. It returns the reason for passing, raises ``Ill`` where it finds the mistake, and
``Absent`` where the recipe has nothing that could make it. Nothing here computes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from cornue.doctor.subject import Subject
from cornue.records.words import words

Value = Literal["passed", "failed", "not applicable"]


class Ill(Exception):
    """The mistake is there; the message says how it shows."""


class Absent(Exception):
    """The mistake cannot be made here; the message says why."""


@dataclass(frozen=True)
class Check:
    """One class of mistakes.

    Args:
        number: of the class, from 1 to 28.
        name: in English, for programs.
        title: the same for people who read French.
        look: the check itself.
    """

    number: int
    name: str
    title: str
    look: Callable[[Subject], str]

    def shown(self) -> str:
        """The name in the reader's language."""
        return words(en=self.name, fr=self.title)


@dataclass(frozen=True)
class Finding:
    """The outcome of a check."""

    name: str
    number: int
    value: Value
    reason: str


def require(holds: bool, en: str, fr: str) -> None:
    """Find the mistake unless a property holds.

    Raises:
        Ill: it does not.
    """
    if not holds:
        raise Ill(words(en=en, fr=fr))
