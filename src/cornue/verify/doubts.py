"""Tells from the register alone that an answer is wrong, and asks again where it can tell.

A query that fails, or that compares a column with what no cell of it holds, answers no question; one that finds nothing
seldom does. The model may then answer again, by chance instead of greedily. What is still wrong after a few tries
becomes a refusal: the register cannot tell. No truth is looked at: an answer without doubt may be wrong all the same.

Source of the idea: execution-guided decoding (Wang et al., arXiv 1807.03100).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from cornue.records.words import words
from cornue.sources.linking import absent, link
from cornue.sources.register import QueryError, Register
from cornue.verify.sql import REFUSAL, declines, find_query

TRIES = 4
TEMPERATURE = 0.7
ROWS = 20

AskAgain = Callable[[Sequence[int], int], Sequence[str]]


class Doubt(NamedTuple):
    """Why an answer is doubted: it is surely ``wrong``, or ``odd`` and may yet be right."""

    kind: Literal["wrong", "odd"]
    reason: str


def doubt(text: str, question: str, register: Register) -> Doubt | None:
    """What speaks against an answer to a question, as far as the register can tell."""
    query = find_query(text)
    if query is None:
        neither = words("neither a query nor a refusal", "ni requête ni refus")
        return None if declines(text) else Doubt("wrong", neither)
    query = link(query, question, register)
    try:
        found = register.query(query, rows=ROWS)
    except QueryError as error:
        return Doubt("wrong", str(error))
    if names := absent(query, register):
        return Doubt("wrong", words(f"the register holds no “{names[0]}”", f"le registre n'a pas de « {names[0]} »"))
    if all(cell is None for row in found.rows for cell in row):
        return Doubt("odd", words("the query finds nothing", "la requête ne trouve rien"))
    return None


def settle(questions: Sequence[str], first: Sequence[str], again: AskAgain, register: Register) -> list[str]:
    """One answer to each question: the first without doubt, else the first that is merely odd, else a refusal.

    Args:
        first: the model's own answers, in the order of the questions.
        again: called with the places of the questions in doubt and the number of the try, from 1; returns an answer to
            each, drawn at ``TEMPERATURE`` with the try as its seed.
    """
    settled, places = list(first), list(range(len(first)))
    odd: dict[int, str] = {}
    for attempt in range(TRIES + 1):
        if attempt:
            for place, text in zip(places, again(places, attempt), strict=True):
                settled[place] = text
        doubts = {place: doubt(settled[place], questions[place], register) for place in places}
        for place, found in doubts.items():
            if found and found.kind == "odd":
                odd.setdefault(place, settled[place])
        places = [place for place, found in doubts.items() if found]
        if not places:
            break
    for place in places:
        settled[place] = odd.get(place, REFUSAL)
    return settled
