"""Links names in a query to the register: what the register does not hold is replaced by what can only be meant.

Small models misspell what they copy: asked about Audenge they may write 'Audege', and 'Savoie' for Haute-Savoie. The
name that was meant stands in the question, letter by letter, and in the register; only what stands in both may take the
place of a name that stands not in the question. They also look for a name in the wrong column, a region among the
departments: where a column does not hold what it is compared with, and one other column does, that one is compared.
Patterns and numbers are left alone. It guesses nothing that was not asked.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from functools import lru_cache

from cornue.sources.folding import fold
from cornue.sources.register import Register

LITERAL = re.compile(r"'((?:[^']|'')*)'")
COMPARED = re.compile(
    r"""(?<![\w."'])(?P<column>[a-z_]\w*)(?P<sign>\s*(?:=|<>|!=)\s*|\s+(?:NOT\s+)?IN\s*\(\s*)"""
    r"""(?P<values>'(?:[^']|'')*'(?:\s*,\s*'(?:[^']|'')*')*)""",
    re.IGNORECASE,
)
APOSTROPHE = re.compile(r"(?<=\w)'(?=\w)")
WORD = re.compile(r"\w+")
ARTICLE = re.compile(r"^(?:la|le|les|l) ")
MOST_WORDS = 8
LEAST_LIKENESS = 0.6


def link(query: str, question: str, register: Register) -> str:
    """The query with its names as the question means them and as the register spells them.

    Args:
        question: what was asked; every replacement stands in it.
    """
    query = _closed(query, register)
    written = {fold(text) for text in _texts(query)}
    names = _names(question, register)
    meant = [name for name in names if fold(name) not in written]

    def put_right(match: re.Match[str]) -> str:
        text = match[1].replace("''", "'")
        if not meant or "%" in text or not any(map(str.isalpha, text)):
            return match[0]
        held, asked = register.holds(text), _is_asked(text, question, names)
        name = "" if held and asked else _meant(text, meant, held, asked)
        return "'" + name.replace("'", "''") + "'" if name else match[0]

    def compare(match: re.Match[str]) -> str:
        values = LITERAL.sub(put_right, match["values"])
        return _column(match["column"], values, register) + match["sign"] + values

    return COMPARED.sub(compare, query)


def absent(query: str, register: Register) -> list[str]:
    """What a query compares a column of texts with, and no cell of that column holds."""
    return [
        text
        for match in COMPARED.finditer(query)
        if (held := register.counts(match["column"]))
        for text in _texts(match["values"])
        if fold(text) not in held
    ]


def _closed(query: str, register: Register) -> str:
    """The query with its apostrophes doubled, where it cannot be read otherwise."""
    doubled = APOSTROPHE.sub("''", query)
    return doubled if doubled != query and not register.parses(query) and register.parses(doubled) else query


def _is_asked(text: str, question: str, names: Sequence[str]) -> bool:
    """Whether a name stands in the question, and not merely as a part of a longer name; articles do not count."""
    bare = f" {_bare(text)} "
    swallowed = any(bare in f" {fold(name)} " and bare.strip() != _bare(name) for name in names)
    return not swallowed and bare in f" {_words(question)} "


def _bare(name: str) -> str:
    """A name without its article: to live "au Havre" is to live in Le Havre."""
    return ARTICLE.sub("", _words(name))


def _words(text: str) -> str:
    """A folded text without the rare signs inside names, such as the full stop of an initial."""
    return " ".join(WORD.findall(fold(text)))


def _meant(text: str, names: Sequence[str], held: bool, asked: bool) -> str:
    """The name that was meant by a text, which the register does not hold or nobody asked about; empty if that cannot
    be told.

    A text that is neither held nor asked about is a name gone wrong. One in which a name of the question stands whole
    was begun rightly and led astray, 'Tarn-C'est-Castres'; and a question that names but one thing more is about that.
    Otherwise names are compared letter by letter.
    """
    if not held:
        words = f" {fold(text)} "
        inside = [(words.find(f" {fold(name)} "), -len(name), name) for name in names]
        begun = min(((place, size, name) for place, size, name in inside if place >= 0), default=None)
        if begun:
            return begun[2]
        if not asked and len(set(names)) == 1:
            return names[0]
    likeness, name = max((SequenceMatcher(None, fold(text), fold(name)).ratio(), name) for name in names)
    return name if likeness >= LEAST_LIKENESS else ""


def _column(written: str, values: str, register: Register) -> str:
    """The column that holds what is looked for, where the one that is written holds none of it.

    Of several columns the one that holds it most often: who asks about Brittany asks not about the two villages of that
    name. A region that is one department stands equally often in both, and either will do.
    """
    folded = [fold(text) for text in _texts(values)]
    own = register.counts(written)
    if not own or any(text in own for text in folded):
        return written
    holding = [name for name in register.columns() if all(text in register.counts(name) for text in folded)]
    return max(holding, key=lambda name: sum(register.counts(name)[text] for text in folded), default=written)


def _texts(query: str) -> list[str]:
    return [text.replace("''", "'") for text in LITERAL.findall(query)]


@lru_cache(maxsize=64)
def _names(question: str, register: Register) -> tuple[str, ...]:
    """Names of the register that stand in a question as whole words, whatever their accents; longer ones swallow
    those within them."""
    words = _words(question).split()
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
    return tuple(found)
