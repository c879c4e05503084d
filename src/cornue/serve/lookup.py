"""Answers that come from the register: the student's query is run read-only, and the rows stand beside its words.

The figures come from the table, never from the weights. A query that fails is told as such; nothing is made up in its
place. Names that the student misspelt are put right where the question spells them. It does not judge whether the query
was the right one: that is why the query is always shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cornue.records.errors import CornueError
from cornue.serve.late import LateRegister, opened
from cornue.sources.linking import link
from cornue.sources.register import QueryError, Register
from cornue.verify.sql import find_query

SECONDS = 2.0
ROWS = 200
SHOWN = 50
LONGEST_CELL = 200
TIMES = "×"


@dataclass(frozen=True)
class Lookup:
    """A query and what the register answered; ``problem`` says why it could not."""

    query: str
    digest: str
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[Any]] = ()
    truncated: bool = False
    seconds: float = 0.0
    problem: str = ""

    def body(self) -> dict[str, Any]:
        """The field ``register`` of a message."""
        body: dict[str, Any] = {"query": self.query, "digest": self.digest}
        if self.problem:
            return body | {"problem": self.problem}
        rows = [list(row) for row in self.rows]
        return body | {"columns": list(self.columns), "rows": rows, "truncated": self.truncated}

    def markdown(self, french: bool) -> str:
        """The rows as a Markdown table for clients that show nothing but text."""
        if self.problem:
            return (
                "Le registre n'a pas pu répondre : " if french else "The register could not answer: "
            ) + self.problem
        if not self.rows:
            return "Le registre ne contient aucune ligne de ce genre." if french else "The register holds no such row."
        lines = [
            "| " + " | ".join(_cell(name, french) for name in self.columns) + " |",
            "|" + " --- |" * len(self.columns),
        ]
        lines += ["| " + " | ".join(_cell(cell, french) for cell in row) + " |" for row in self.rows[:SHOWN]]
        if self.truncated or len(self.rows) > SHOWN:
            lines += ["", "Il y a d'autres lignes." if french else "There are more rows."]
        return "\n".join(lines)


def look_up(table: Register | LateRegister, text: str, question: str) -> Lookup | None:
    """What the register says to the query in an answer to a question; None if there is no query in it.

    The query shown is the one that was run, with misspelt names put right. A row that comes several times stands there
    once, with their number.
    """
    query = find_query(text)
    if query is None:
        return None
    try:
        register = opened(table)
    except CornueError as problem:
        return Lookup(query, table.digest, problem=problem.message)
    query = link(query, question, register)
    try:
        found = register.query(query, seconds=SECONDS, rows=ROWS, once=True)
    except QueryError as error:
        return Lookup(query, table.digest, problem=str(error))
    columns, rows = found.columns, found.rows
    if any(times > 1 for times in found.times):
        columns, rows = (*columns, TIMES), tuple((*row, times) for row, times in zip(rows, found.times, strict=True))
    return Lookup(query, table.digest, columns, rows, found.truncated, found.seconds)


def shown(value: Any, french: bool) -> str:
    """A cell as people write it: thousands apart, the decimal mark of their language."""
    if value is None:
        return "–"
    if isinstance(value, float):
        value = int(value) if value.is_integer() else round(value, 4)
    if isinstance(value, (int, float)):
        text = f"{value:,}"
        return text.replace(",", "\u202f").replace(".", ",") if french else text
    text = str(value)
    return text if len(text) <= LONGEST_CELL else text[:LONGEST_CELL] + "…"


def _cell(value: Any, french: bool) -> str:
    return shown(value, french).replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")
