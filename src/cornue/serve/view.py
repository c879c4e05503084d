"""An answer as the pages show it: its text, its rows, and what it cost, in the reader's way of writing numbers.

It prepares; the templates draw. Nothing here is HTML but the rendered Markdown.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from cornue.serve.lookup import SHOWN, Lookup, shown
from cornue.serve.render import to_html
from cornue.serve.texts import Words
from cornue.verify.doubts import Doubt
from cornue.verify.sql import FENCED, declines, find_query

LEAST = 1e-5


@dataclass(frozen=True)
class AnswerView:
    """What a template needs to draw an answer."""

    text: str
    """As the model wrote it; goes back with the next question where a conversation is kept."""
    html: str
    """The words that are read first; empty where the rows say it all."""
    again: str
    """That the question was put again, and why."""
    reasoning: str
    working: str
    lookup: Lookup | None
    figure: str
    """The one value found, if there is but one."""
    figure_name: str
    columns: list[tuple[str, bool]]
    """Names, and whether the column holds numbers."""
    rows: list[list[str]]
    count: str
    more: bool
    receipt_id: str
    costs: list[str]


def view_answer(
    words: Words,
    text: str,
    reasoning: str,
    lookup: Lookup | None,
    receipt: dict[str, Any] | None,
    receipt_id: str = "",
    doubt: Doubt | None = None,
) -> AnswerView:
    """An answer prepared for a page."""
    french = words.language == "fr"
    single = lookup is not None and len(lookup.rows) == 1 and len(lookup.columns) == 1
    numeric = _numeric(lookup) if lookup else []
    rows = [[shown(cell, french) for cell in row] for row in lookup.rows[:SHOWN]] if lookup else []
    working = "" if lookup is None else FENCED.sub("", text).replace(find_query(text) or "", "").strip(" ;\n")
    html = "" if lookup is not None else to_html(words("declined") if declines(text) else text.strip() or "…")
    return AnswerView(
        text=text,
        html=html,
        again=doubt.told(french) if doubt else "",
        reasoning=reasoning.strip(),
        working=working,
        lookup=lookup,
        figure=rows[0][0] if single else "",
        figure_name=_caption(lookup.columns[0]) if single and lookup else "",
        columns=[(_title(name), number) for name, number in zip(lookup.columns, numeric, strict=True)]
        if lookup
        else [],
        rows=[] if single else rows,
        count=words("one_row") if len(rows) == 1 else words("many_rows", n=len(rows)),
        more=bool(lookup and (lookup.truncated or len(lookup.rows) > SHOWN)),
        receipt_id=receipt["id"] if receipt else receipt_id,
        costs=costs(words, receipt) if receipt else [],
    )


def costs(words: Words, receipt: dict[str, Any]) -> list[str]:
    """Tokens, seconds, energy and money of an answer, each in a few characters."""
    french = words.language == "fr"
    tokens = receipt["tokens"]["prompt"] + receipt["tokens"]["completion"]
    how = "≈ " if receipt["energy"]["how"] != "measured" else ""
    euros = receipt["money"]["value"]
    return [
        words("tokens", n=shown(tokens, french)),
        words("seconds", n=brief(receipt["seconds"]["answering"], french)),
        how + words("joules", n=brief(receipt["energy"]["value"], french)),
        money(euros, french) if euros < LEAST else how + money(euros, french),
    ]


def money(euros: float, french: bool) -> str:
    """Euros or cents with two digits that count, without exponents."""
    if euros >= 0.01 or euros == 0:
        return f"{brief(euros, french)}\u00a0€" if french else f"€{brief(euros, french)}"
    if euros < LEAST:
        return "moins de 0,001 centime" if french else "less than 0.001 cent"
    return f"{brief(euros * 100, french)} {'centime' if french else 'cent'}"


def brief(value: float, french: bool) -> str:
    """A number with two digits that count, never in exponents."""
    if value <= 0:
        return "0"
    digits = 0
    while value * 10**digits < 10 and digits < 9:
        digits += 1
    text = f"{value:,.{digits}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return text.replace(",", "\u202f").replace(".", ",") if french else text


def _caption(name: str) -> str:
    """A column's name beside its only value; nothing for a formula."""
    plain = re.sub(r"[_\s]+", " ", name).strip()
    return plain.lower() if re.fullmatch(r"[\w '-]+", plain) else ""


def _title(name: str) -> str:
    """A column's name as a heading."""
    plain = re.sub(r"[_\s]+", " ", name).strip()
    return plain[:1].upper() + plain[1:]


def _numeric(lookup: Lookup) -> list[bool]:
    return [
        bool(lookup.rows) and all(isinstance(row[place], (int, float)) or row[place] is None for row in lookup.rows)
        for place in range(len(lookup.columns))
    ]
