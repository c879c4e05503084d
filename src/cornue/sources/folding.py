"""How two spellings of a name count as the same: case, accents, hyphens, apostrophes and spaces do not matter.

It compares and matches texts; it does not correct misspellings.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache

LIGATURES = str.maketrans({"œ": "oe", "æ": "ae", "ß": "ss", "ø": "o"})
SEPARATORS = re.compile(r"[\s\-‐‑‒–—'’ʼ`´]+")
SAINTS = re.compile(r"\bst(e?) ")
LONGEST_CACHED = 80
MOST_CACHED = 1 << 17
LONGEST_PATTERN = 200
GAP = "\0"  # stands for "_": folding leaves it alone, and no stored text holds it


class _Folded(dict[str, str]):
    """Folded forms by spelling; short ones are kept, so that sorting a register is quick."""

    def __missing__(self, text: str) -> str:
        folded = _fold(text).strip()
        if len(text) <= LONGEST_CACHED and len(self) < MOST_CACHED:
            self[text] = folded
        return folded


_FOLDED = _Folded()


def fold(text: str) -> str:
    """The form under which a name is compared: ``fold("ST-ÉTIENNE") == fold("Saint Etienne")``."""
    return _FOLDED[text]


def _fold(text: str) -> str:
    text = text.casefold().translate(LIGATURES)
    # Twice, since what is taken apart may be in capitals: "℠" is "SM".
    for _ in range(2):
        if not text.isascii():
            text = "".join(mark for mark in unicodedata.normalize("NFKD", text) if not unicodedata.combining(mark))
            text = text.casefold().translate(LIGATURES)
    text = SEPARATORS.sub(" ", text)
    return SAINTS.sub(r"saint\1 ", text) if "st" in text else text


def compare(left: str, right: str) -> int:
    """-1, 0 or 1, as SQLite wants of a collation."""
    if left == right:
        return 0
    a, b = _FOLDED[left], _FOLDED[right]
    return (a > b) - (a < b)


def like(pattern: object, value: object, escape: object = None) -> int | None:
    """SQL's ``value LIKE pattern ESCAPE escape`` on folded texts; NULL if either is NULL.

    It takes time proportional to the two lengths' product at worst: nothing backtracks.

    Raises:
        ValueError: for a pattern that is too long or an escape of more than one character.
    """
    if pattern is None or value is None:
        return None
    matches = _matcher(_text(pattern), "" if escape is None else _text(escape))
    return int(matches(_FOLDED[_text(value)]))


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


@lru_cache(maxsize=256)
def _matcher(pattern: str, escape: str) -> Callable[[str], bool]:
    """What decides for one pattern; the common shapes, begins with and contains, are quick."""
    pieces = _pieces(pattern, escape)
    plain = not any(GAP in piece for piece in pieces)
    if plain and len(pieces) == 2 and not pieces[1]:
        return lambda value: value.startswith(pieces[0])
    if plain and len(pieces) == 3 and not pieces[0] and not pieces[2]:
        return lambda value: pieces[1] in value
    return lambda value: _matches(pieces, value)


def _pieces(pattern: str, escape: str) -> tuple[str, ...]:
    """The folded pieces between the ``%`` signs, with ``GAP`` for each ``_``."""
    if len(pattern) > LONGEST_PATTERN or len(escape) > 1:
        raise ValueError("this LIKE pattern cannot be used")
    pieces, piece, literal = [], "", False
    for mark in pattern:
        if literal or mark not in ("%", "_", escape):
            piece, literal = piece + mark, False
        elif mark == escape:
            literal = True
        elif mark == "_":
            piece += GAP
        else:
            pieces.append(piece)
            piece = ""
    pieces.append(piece)
    folded = [_fold(piece) for piece in pieces]
    folded[0] = folded[0].lstrip()
    folded[-1] = folded[-1].rstrip()
    return tuple(folded)


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
    if GAP not in piece:
        return value.startswith(piece, start)
    return all(mark in (GAP, value[start + place]) for place, mark in enumerate(piece))


def _find(piece: str, value: str, start: int, end: int) -> int:
    if GAP not in piece:
        return value.find(piece, start, end)
    found = _gapped(piece).search(value, start, end)
    return found.start() if found else -1


@lru_cache(maxsize=256)
def _gapped(piece: str) -> re.Pattern[str]:
    """A piece with gaps of one letter each; without repetitions a search cannot run away."""
    return re.compile(re.escape(piece).replace(re.escape(GAP), "."), re.DOTALL)
