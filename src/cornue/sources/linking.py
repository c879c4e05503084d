"""Links names in a query to the register: a name that the register does not hold is replaced by the one that is meant.

Small models misspell what they copy: asked about Audenge they may write 'Audege'. The name that was meant stands in the
question, letter by letter, and in the register; only what stands in both may take the place of a name that stands in
neither. Names that the register holds, patterns and numbers are left alone. It guesses nothing that was not asked.
"""

from __future__ import annotations

import re
from difflib import SequenceMatcher

from cornue.sources.folding import fold
from cornue.sources.register import Register

LITERAL = re.compile(r"'((?:[^']|'')*)'")
WORD = re.compile(r"\w+")
MOST_WORDS = 8
LEAST_LIKENESS = 0.6


def link(query: str, question: str, register: Register) -> str:
    """The query with its misspelt names as the register spells them.

    Args:
        question: what was asked; every replacement stands in it.
    """
    held = [text for text in _texts(query) if register.holds(text)]
    meant = [name for name in _names(question, register) if fold(name) not in map(fold, held)]

    def put_right(match: re.Match[str]) -> str:
        text = match[1].replace("''", "'")
        if not any(map(str.isalpha, text)) or "%" in text or register.holds(text) or not meant:
            return match[0]
        likeness, name = max((SequenceMatcher(None, fold(text), fold(name)).ratio(), name) for name in meant)
        return "'" + name.replace("'", "''") + "'" if likeness >= LEAST_LIKENESS else match[0]

    return LITERAL.sub(put_right, query)


def _texts(query: str) -> list[str]:
    return [text.replace("''", "'") for text in LITERAL.findall(query)]


def _names(question: str, register: Register) -> list[str]:
    """Names of the register that stand in a question as whole words, whatever their accents; longer ones swallow
    those within them."""
    # Signs inside names, such as the full stop of an initial, are rare; words and what joins them are enough.
    words = WORD.findall(fold(question))
    found: list[str] = []
    place = 0
    while place < len(words):
        for count in range(min(MOST_WORDS, len(words) - place), 0, -1):
            name = register.spelling(" ".join(words[place : place + count]))
            if name and len(name) > 1:
                found.append(name)
                place += count - 1
                break
        place += 1
    return found
