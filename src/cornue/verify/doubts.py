"""Tells from the register alone that an answer is wrong, and asks again where it can tell.

A query that fails, or that compares a column with what no cell of it holds, answers no question; one that finds nothing
seldom does. The model may then answer again, by chance instead of greedily. What is still wrong after a few tries
becomes a refusal: the register cannot tell. No truth is looked at: an answer without doubt may be wrong all the same.

Source of the idea: execution-guided decoding (Wang et al., arXiv 1807.03100).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from cornue.sources.linking import absent, link
from cornue.sources.register import QueryError, Register
from cornue.verify.sql import REFUSAL, find_query

TRIES = 4
TEMPERATURE = 0.7
ROWS = 20

AskAgain = Callable[[Sequence[int], int], Sequence[str]]


class Doubt(NamedTuple):
    """Why an answer is doubted: it is surely ``wrong``, or ``odd`` and may yet be right."""

    kind: Literal["wrong", "odd"]
    absent: str = ""
    """A name that no cell of its column holds."""
    problem: str = ""
    """Why the query fails, in the register's words."""

    def told(self, french: bool) -> str:
        """That the question was put again, and why."""
        why = "la requête ne trouvait rien" if french else "the query found nothing"
        if self.absent and french:
            why = f"le registre n'a pas de «\u00a0{self.absent}\u00a0»"
        elif self.absent:
            why = f"the register holds no “{self.absent}”"
        elif self.problem:
            why = f"la requête échouait ({self.problem})" if french else f"the query failed ({self.problem})"
        return f"Question reposée\u00a0: {why}." if french else f"Asked again: {why}."


def doubt(text: str, question: str, register: Register) -> Doubt | None:
    """What speaks against an answer to a question, as far as the register can tell: nothing where there is no query."""
    query = find_query(text)
    if query is None:
        return None
    query = link(query, question, register)
    try:
        found = register.query(query, rows=ROWS)
    except QueryError as error:
        return Doubt("wrong", problem=str(error))
    if names := absent(query, register):
        return Doubt("wrong", absent=names[0])
    if all(cell is None for row in found.rows for cell in row):
        return Doubt("odd")
    return None


class Hearing:
    """An answer on its way: heard, and heard again while it is in doubt, until one stands.

    What stands is the first without doubt, else the first that is merely odd, else a refusal.
    """

    def __init__(self, question: str, register: Register) -> None:
        self.question, self.register = question, register
        self.text = ""
        """What stands, once it does."""
        self.doubt: Doubt | None = None
        """Why the first answer was doubted."""
        self.attempt = 0
        """Which further try is wanted, from 1; the seed of its draw at ``TEMPERATURE``."""
        self._odd = ""

    def hear(self, text: str) -> bool:
        """Whether the question must be put again after this answer."""
        found = doubt(text, self.question, self.register)
        if found is None:
            self.text = text
            return False
        self.doubt = self.doubt or found
        if found.kind == "odd":
            self._odd = self._odd or text
        if self.attempt == TRIES:
            self.text = self._odd or REFUSAL
            return False
        self.attempt += 1
        return True


def settle(questions: Sequence[str], first: Sequence[str], again: AskAgain, register: Register) -> list[str]:
    """One answer to each question, by a ``Hearing`` for each, all at the same try.

    Args:
        first: the model's own answers, in the order of the questions.
        again: called with the places of the questions in doubt and the number of the try, from 1; returns an answer to
            each, drawn at ``TEMPERATURE`` with the try as its seed.
    """
    hearings = [Hearing(question, register) for question in questions]
    places = [place for place, text in enumerate(first) if hearings[place].hear(text)]
    while places:
        texts = again(places, hearings[places[0]].attempt)
        places = [place for place, text in zip(places, texts, strict=True) if hearings[place].hear(text)]
    return [hearing.text for hearing in hearings]
