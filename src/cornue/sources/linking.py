"""Links names in a query to the register: what the register does not hold is replaced by what can only be meant.

Small models misspell what they copy: asked about Audenge they may write 'Audege'. The name that was meant stands in the
question, letter by letter, and in the register; only what stands in both may take the place of a name that stands in
neither. They also look for a name in the wrong column, a region among the departments: where a column does not hold
what it is compared with, and one other column does, that one is compared. Names that the register holds, patterns and
numbers are left alone. It guesses nothing that was not asked.
"""

from __future__ import annotations

import re
from difflib import SequenceMatcher

from cornue.sources.folding import fold
from cornue.sources.register import Register

LITERAL = re.compile(r"'((?:[^']|'')*)'")
COMPARED = re.compile(
    r"""(?<![\w."'])(?P<column>[a-z_]\w*)(?P<sign>\s*(?:=|<>|!=)\s*|\s+(?:NOT\s+)?IN\s*\(\s*)"""
    r"""(?P<values>'(?:[^']|'')*'(?:\s*,\s*'(?:[^']|'')*')*)""",
    re.IGNORECASE,
)
WORD = re.compile(r"\w+")
MOST_WORDS = 8
LEAST_LIKENESS = 0.6


def link(query: str, question: str, register: Register) -> str:
    """The query with its misspelt names as the register spells them.

    Args:
        question: what was asked; every replacement stands in it.
    """
    written = _texts(query)
    strange = {text for text in written if _is_name(text) and not register.holds(text)}
    # Most queries name nothing strange, and looking through the question is what takes time.
    held = {fold(text) for text in written if register.holds(text)} if strange else set()
    meant = [name for name in _names(question, register) if fold(name) not in held] if strange else []

    def put_right(match: re.Match[str]) -> str:
        text = match[1].replace("''", "'")
        if text not in strange or not meant:
            return match[0]
        likeness, name = max((SequenceMatcher(None, fold(text), fold(name)).ratio(), name) for name in meant)
        return "'" + name.replace("'", "''") + "'" if likeness >= LEAST_LIKENESS else match[0]

    return COMPARED.sub(lambda match: _in_its_column(match, register), LITERAL.sub(put_right, query))


def _in_its_column(match: re.Match[str], register: Register) -> str:
    """A comparison with the column that holds what is looked for, where its own holds none of it.

    Two columns that hold it equally often, such as a region that is one department, are as good as one.
    """
    folded = [fold(text) for text in _texts(match["values"])]
    own = register.counts(match["column"])
    if not own or any(text in own for text in folded):
        return match[0]
    holding = [name for name in register.columns() if all(text in register.counts(name) for text in folded)]
    found = {tuple(register.counts(name)[text] for text in folded) for name in holding}
    return holding[0] + match["sign"] + match["values"] if len(found) == 1 else match[0]


def _is_name(text: str) -> bool:
    return any(map(str.isalpha, text)) and "%" not in text


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
