"""How two spellings of a name count as the same: case, accents, hyphens, apostrophes and spaces do not matter.

It compares and matches texts; it does not correct misspellings.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

LIGATURES = str.maketrans({"œ": "oe", "æ": "ae", "ß": "ss", "ø": "o"})
SEPARATORS = re.compile(r"[\s\-‐‑‒–—'’ʼ`´]+")
SAINTS = re.compile(r"\bst(e?) ")
LONGEST_CACHED = 80
LONGEST_PATTERN = 200


def fold(text: str) -> str:
    """The form under which a name is compared: ``fold("ST-ÉTIENNE") == fold("Saint Etienne")``."""
    return _fold_short(text) if len(text) <= LONGEST_CACHED else _fold(text).strip()


@lru_cache(maxsize=1 << 17)
def _fold_short(text: str) -> str:
    return _fold(text).strip()


def _fold(text: str) -> str:
    text = text.casefold().translate(LIGATURES)
    if not text.isascii():
        text = "".join(mark for mark in unicodedata.normalize("NFKD", text) if not unicodedata.combining(mark))
    text = SEPARATORS.sub(" ", text)
    return SAINTS.sub(r"saint\1 ", text) if "st" in text else text


def compare(left: str, right: str) -> int:
    """-1, 0 or 1, as SQLite wants of a collation."""
    a, b = fold(left), fold(right)
    return (a > b) - (a < b)


def like(pattern: object, value: object, escape: object = None) -> int | None:
    """SQL's ``value LIKE pattern ESCAPE escape`` on folded texts; NULL if either is NULL.

    It takes time proportional to the two lengths' product at worst: nothing backtracks.

    Raises:
        ValueError: for a pattern that is too long or an escape of more than one character.
    """
    if pattern is None or value is None:
        return None
    return int(_matches(_parse(_text(pattern), "" if escape is None else _text(escape)), fold(_text(value))))


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


@lru_cache(maxsize=256)
def _parse(pattern: str, escape: str) -> tuple[str, ...]:
    """The folded pieces between the ``%`` signs; ``_`` stands as NUL, which folding leaves alone."""
    if len(pattern) > LONGEST_PATTERN or len(escape) > 1:
        raise ValueError("this LIKE pattern cannot be used")
    pieces, piece, literal = [], "", False
    for mark in pattern:
        if literal or mark not in ("%", "_", escape):
            piece, literal = piece + mark, False
        elif mark == escape:
            literal = True
        elif mark == "_":
            piece += "\0"
        else:
            pieces.append(piece)
            piece = ""
    pieces.append(piece)
    folded = [_fold(piece) for piece in pieces]
    return (folded[0].lstrip(), *folded[1:-1], folded[-1].rstrip()) if len(folded) > 1 else (folded[0].strip(),)


def _matches(pieces: tuple[str, ...], value: str) -> bool:
    first, last = pieces[0], pieces[-1]
    if len(pieces) == 1:
        return len(value) == len(first) and _agrees(first, value, 0)
    if len(value) < len(first) + len(last):
        return False
    end = len(value) - len(last)
    if not (_agrees(first, value, 0) and _agrees(last, value, end)):
        return False
    # The leftmost place is always good enough for a piece between two ``%`` signs.
    start = len(first)
    for piece in pieces[1:-1]:
        found = _find(piece, value, start, end)
        if found < 0:
            return False
        start = found + len(piece)
    return True


def _agrees(piece: str, value: str, start: int) -> bool:
    if "\0" not in piece:
        return value.startswith(piece, start)
    return all(mark in ("\0", value[start + place]) for place, mark in enumerate(piece))


def _find(piece: str, value: str, start: int, end: int) -> int:
    if "\0" not in piece:
        return value.find(piece, start, end)
    return next((place for place in range(start, end - len(piece) + 1) if _agrees(piece, value, place)), -1)
