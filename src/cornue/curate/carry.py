"""Carries a teacher's right answer over to sibling questions: one answer serves all that ask for the same thing.

Two questions are siblings when their true queries differ in nothing but names and numbers. Where the teacher was right
on one of them, the same answer with the other's names and numbers is an answer to the other, which nobody need ask for.
It is judged like any other answer before it is used, and each says where it was carried from. It asks no model and
invents no wording.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from cornue.curate.choose import fold
from cornue.records.samples import Example, Prompt, Sample
from cornue.verify.base import Verifier
from cornue.verify.sql import find_query

LITERAL = re.compile(r"'((?:[^']|'')*)'|(?<![\w.])(\d+)(?![\w.])")
NUMBER = re.compile(r"\d{1,3}(?:[ \u00a0\u202f.,]\d{3})+(?!\d)|\d+")


class Skeleton(NamedTuple):
    """A query with its literals taken out, and the literals in their order; a refusal has neither."""

    shape: str
    literals: tuple[str, ...]


def skeleton(query: str) -> Skeleton:
    """What two queries of the same form share, and what differs."""
    literals = tuple(digits or text.replace("''", "'") for text, digits in LITERAL.findall(query))
    return Skeleton(" ".join(LITERAL.sub(" ? ", query).lower().split()), literals)


def carry(kept: Iterable[tuple[Prompt, Sample]], siblings: Iterable[Prompt], verifier: Verifier) -> Iterator[Example]:
    """Examples for prompts with a sibling that the teacher has answered rightly, in the order of ``siblings``.

    Args:
        kept: prompts with answers that were found correct.
        siblings: prompts without a correct answer of their own.
    """
    sources: dict[str, list[tuple[Prompt, Sample]]] = defaultdict(list)
    for prompt, sample in kept:
        sources[_truth(prompt).shape].append((prompt, sample))
    for sibling in siblings:
        # An answer to the same form first: its words fit best.
        same_shape = sources.get(_truth(sibling).shape, ())
        for prompt, sample in sorted(same_shape, key=lambda pair: pair[0].form != sibling.form):
            text = exchange(sample.text, _truth(prompt).literals, _truth(sibling).literals)
            if text is not None and verifier.weigh(sibling, text)[0] == "correct":
                yield Example(
                    prompt_id=sibling.id,
                    messages=sibling.messages,
                    completion=text.strip(),
                    form=sibling.form,
                    writer=sample.writer,
                    carried_from=prompt.id,
                )
                break


def exchange(text: str, old: Sequence[str], new: Sequence[str]) -> str | None:
    """An answer with other names and numbers; None where one that changes is missing from its words or its query."""
    query = find_query(text)
    if query is None:
        return text
    words = text[: text.index(query)]
    changed: dict[str, str] = {}
    for before, after in zip(old, new, strict=True):
        if changed.setdefault(before, after) != after:
            return None
    told = {_bare(before): _bare(after) for before, after in changed.items() if before != after}
    by_fold = {fold(before): after for before, after in changed.items()}
    found: set[str] = set()

    def in_query(match: re.Match[str]) -> str:
        quoted, digits = match.groups()
        literal = digits or quoted.replace("''", "'")
        after = by_fold.get(fold(literal))
        if after is None or ("%" in literal) != ("%" in after):
            return match[0]
        found.add(fold(literal))
        return after if digits else "'" + after.replace("'", "''") + "'"

    query = LITERAL.sub(in_query, query)
    if any(fold(before) not in found for before, after in changed.items() if before != after):
        return None
    words_after = _exchange_words(words, told)
    return None if words_after is None else words_after + query


def _exchange_words(words: str, told: dict[str, str]) -> str | None:
    """The line of working with other names and numbers; None where one of them is not in it."""
    numbers = {before: after for before, after in told.items() if before.isdigit()}
    names = {before: after for before, after in told.items() if not before.isdigit()}
    seen: set[str] = set()

    def number(match: re.Match[str]) -> str:
        digits = re.sub(r"\D", "", match[0])
        if digits not in numbers:
            return match[0]
        seen.add(digits)
        return numbers[digits]

    words = NUMBER.sub(number, words)
    if seen != set(numbers):
        return None
    # All names at once, longest first: a name may hold another one, and a new one may look like an old one.
    for before in sorted(names, key=len, reverse=True):
        if not re.search(rf"(?<!\w){re.escape(before)}(?!\w)", words, re.IGNORECASE):
            return None
    if not names:
        return words
    any_name = "|".join(re.escape(before) for before in sorted(names, key=len, reverse=True))
    lowered = {before.lower(): after for before, after in names.items()}
    return re.sub(rf"(?<!\w)({any_name})(?!\w)", lambda match: lowered[match[0].lower()], words, flags=re.IGNORECASE)


def _bare(literal: str) -> str:
    return literal.strip("%").strip()


def _truth(prompt: Prompt) -> Skeleton:
    query = (prompt.truth or {}).get("sql")
    return skeleton(query) if query else Skeleton("", ())
