"""The errors that people see: each says what is wrong, with which value, and what to do.

::

    CornueError
    ├── CheckFailed      exit code 1: something was checked and does not hold
    ├── BadInput         exit code 2: a recipe, file or argument cannot be used
    ├── Refused          exit code 3: a licence, a budget or a rule of the recipe forbids it
    └── OutsideFailure   exit code 4: a system outside Cornue failed; ``boundary`` names it

``assert`` and plain exceptions are for our own mistakes. A bad sample is data, never an error.
"""

from __future__ import annotations


class CornueError(Exception):
    """Base of all errors that are meant for people.

    Args:
        message: what is wrong, with the value that is wrong.
        remedy: what the reader can do about it; shown on a line of its own.
    """

    exit_code = 1

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}\n  → {self.remedy}" if self.remedy else self.message


class CheckFailed(CornueError):
    """Something was checked and does not hold."""

    exit_code = 1


class BadInput(CornueError):
    """A recipe, a file or an argument that cannot be used as it is."""

    exit_code = 2


class Refused(CornueError):
    """A licence, a budget or a rule of the recipe forbids the act."""

    exit_code = 3


class OutsideFailure(CornueError):
    """A system outside Cornue failed.

    Args:
        boundary: the system that was being called: "engine", "endpoint", "disk", "network".
    """

    exit_code = 4

    def __init__(self, message: str, remedy: str = "", boundary: str = "") -> None:
        super().__init__(message, remedy)
        self.boundary = boundary
