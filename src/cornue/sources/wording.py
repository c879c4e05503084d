"""How people really write: numbers in several ways, capitals and accents left out, slips of the pen.

It changes how a question looks and never what it asks.
"""

from __future__ import annotations

import random
import re
import unicodedata

FRENCH = ("", "un", "deux", "trois", "quatre", "cinq", "six", "sept", "huit", "neuf", "dix", "onze", "douze")
ENGLISH = ("", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
WORD = re.compile(r"\{[^}]*\}|[^\W\d_]{6,}")
TYPO_SHARE = 0.07
PLAIN, NO_MARK, LOWER, NO_ACCENT, BARE = range(5)
STYLES, WEIGHTS = (PLAIN, NO_MARK, LOWER, NO_ACCENT, BARE), (54, 16, 12, 7, 11)


def say_number(value: int, english: bool, draw: random.Random) -> str:
    """A number as somebody types it: ``10 000``, ``10000``, ``10.000``, ``cinq``."""
    names = ENGLISH if english else FRENCH
    if value < 1000:
        return names[value] if value < len(names) and draw.random() < 0.35 else str(value)
    grouped = f"{value:,}"
    if english:
        return grouped if draw.random() < 0.6 else str(value)
    shape = draw.random()
    if shape < 0.5:
        return grouped.replace(",", " ")
    return str(value) if shape < 0.92 else grouped.replace(",", ".")


def add_typo(phrasing: str, draw: random.Random) -> str:
    """Sometimes swaps, drops or doubles one letter inside a long word; never in a slot."""
    found = [match for match in WORD.finditer(phrasing) if not match[0].startswith("{")]
    if not found or draw.random() >= TYPO_SHARE:
        return phrasing
    chosen = draw.choice(found)
    place = chosen.start() + draw.randrange(1, len(chosen[0]) - 2)
    pair = phrasing[place : place + 2]
    return phrasing[:place] + draw.choice((pair[::-1], pair[0], pair[0] + pair)) + phrasing[place + 2 :]


def disguise(text: str, draw: random.Random) -> str:
    """The question as it is, or without mark, capitals, accents or hyphens."""
    style = draw.choices(STYLES, WEIGHTS)[0]
    if style == PLAIN:
        return text
    if style != NO_ACCENT:
        text = text.rstrip(" ?.!")
    if style in (LOWER, BARE):
        text = text.lower()
    if style in (NO_ACCENT, BARE):
        text = strip_accents(text)
    return text.replace("-", " ") if style == BARE else text


def strip_accents(text: str) -> str:
    """The text with plain letters."""
    text = text.replace("œ", "oe").replace("Œ", "Oe")
    return "".join(mark for mark in unicodedata.normalize("NFD", text) if not unicodedata.combining(mark))
