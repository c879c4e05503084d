"""Judges a query by what it finds: its rows on the register against the rows of the true query.

What is judged is what a person would be shown: misspelt names are put right first, and a row that comes again says
nothing new. Rows are compared as a set; in order only where the question asks for an order. Columns may come in another
order and up to two more than asked may stand beside them, since "Vannes, 54 020" answers "which commune?" as well as
"Vannes" does. To a question that the register cannot answer, declining is right and any query is wrong. It never looks
at the wording of a query, nor at the text around it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from itertools import permutations
from typing import Any

from cornue.records.samples import Prompt
from cornue.sources.linking import link
from cornue.sources.register import Answer, QueryError, Register
from cornue.verify.base import Value, Verifier

DECLINE = re.compile(r"^\W*(hors (du )?registre|not in the register)\b", re.IGNORECASE)
REFUSAL = "-- hors registre"
FENCED = re.compile(r"```(?:sql)?\s*\n?(.*?)(?:```|$)", re.DOTALL | re.IGNORECASE)
BARE = re.compile(r"^\s*((?:SELECT|WITH)\b.*)", re.DOTALL | re.IGNORECASE | re.MULTILINE)
EXTRA_COLUMNS = 2


def find_query(text: str) -> str | None:
    """The query in an answer: the last fenced block, or all from the first line that begins one; None without one."""
    fenced = [block for block in FENCED.findall(text) if block.strip()]
    found = fenced[-1] if fenced else (BARE.search(text) or [None, None])[1]
    return found.strip().rstrip(";").strip() if found else None


def with_query(text: str, query: str) -> str:
    """An answer with another query in the place of its own; as it is, if it has none."""
    own = find_query(text)
    if own is None:
        return text
    before, _, after = text.rpartition(own)
    return before + query + after


def declines(text: str) -> bool:
    """Whether an answer says that the register does not know, and asks it nothing."""
    return bool(DECLINE.match(text)) and find_query(text) is None


class SqlVerifier(Verifier):
    """Equal results on a register.

    The truth of a prompt is ``{"sql": query, "ordered": bool}`` or ``{"decline": true}``.
    """

    name = "sql"

    def __init__(self, register: Register, seconds: float = 2.0, rows: int = 1000) -> None:
        self.register = register
        self.seconds = seconds
        self.rows = rows
        self._run = lru_cache(maxsize=20_000)(self._query)

    def weigh(self, prompt: Prompt, text: str) -> tuple[Value, str]:
        """See ``Verifier.weigh``."""
        truth = prompt.truth or {}
        query = find_query(text)
        if truth.get("decline"):
            if query is not None:
                return "wrong", "asks the register what it cannot know"
            return ("correct", "declined") if declines(text) else ("wrong", "neither a query nor a clear refusal")
        if query is None:
            return "wrong", "declined what the register knows" if declines(text) else "no query in the answer"
        wanted = self._run(truth["sql"])
        if isinstance(wanted, str):
            return "unknown", f"the true query fails: {wanted}"
        found = self._run(self._link(prompt, query))
        if isinstance(found, str):
            return "wrong", f"the query fails: {found}"
        return compare(wanted, found, bool(truth.get("ordered")))

    def put_right(self, prompt: Prompt, text: str) -> str:
        """The answer with the names in its query as the register has them."""
        query = find_query(text)
        return text if query is None else with_query(text, self._link(prompt, query))

    def gold(self, prompt: Prompt) -> str:
        """The true query, or a refusal."""
        truth = prompt.truth or {}
        return "Hors registre." if truth.get("decline") else f"```sql\n{truth['sql']};\n```"

    def spoilt(self, prompt: Prompt) -> str:
        """A query that finds something else; for a question to decline, a confident answer."""
        truth = prompt.truth or {}
        return "SELECT nom FROM communes LIMIT 1" if truth.get("decline") else "SELECT -271828"

    def _link(self, prompt: Prompt, query: str) -> str:
        return link(query, prompt.messages[-1].content, self.register)

    def _query(self, query: str) -> Answer | str:
        try:
            return self.register.query(query, seconds=self.seconds, rows=self.rows, once=True)
        except QueryError as error:
            return str(error)


def compare(wanted: Answer, found: Answer, ordered: bool) -> tuple[Value, str]:
    """Whether two results say the same."""
    if wanted.truncated or found.truncated:
        return "unknown" if wanted.truncated else "wrong", "more rows than may be shown"
    if len(wanted.rows) != len(found.rows):
        return "wrong", f"{len(found.rows)} rows instead of {len(wanted.rows)}"
    width = len(wanted.columns)
    if not width <= len(found.columns) <= width + EXTRA_COLUMNS:
        return "wrong", f"{len(found.columns)} columns instead of {width}"
    target = [_plain(row) for row in wanted.rows]
    rows = [_plain(row) for row in found.rows]
    for columns in permutations(range(len(found.columns)), width):
        picked = [tuple(row[column] for column in columns) for row in rows]
        if picked == target or (not ordered and Counter(picked) == Counter(target)):
            return "correct", "equal results"
    return "wrong", "other results"


def _plain(row: Sequence[Any]) -> tuple[Any, ...]:
    """Values as they are compared: numbers to six significant figures after rounding, text as it stands."""
    return tuple(float(f"{value:.9g}") if isinstance(value, (int, float)) else value for value in row)
