"""Cuts documents in text, Markdown and HTML into passages, each short enough to be read with a question about it.

A passage never crosses a heading and never cuts a sentence if it can be helped; it knows its document and the headings
above it. Menus, scripts and footers of web pages are left out. It writes no questions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

from pydantic import Field

from cornue.records.digests import digest_json
from cornue.records.errors import BadInput
from cornue.records.samples import Record
from cornue.records.words import words

KINDS = (".txt", ".md", ".markdown", ".html", ".htm")
MOST_WORDS, LEAST_WORDS = 180, 25
MOST_BYTES = 1 << 26
HEADING = re.compile(r"(#{1,6})\s+(.*?)\s*#*\s*$")
UNDERLINE = re.compile(r"(=+|-+)\s*$")
FENCE = re.compile(r"\s*(```|~~~)")
SENTENCE = re.compile(r"(?<=[.!?…])\s+(?=[«“\"(]?[A-ZÀ-ÖØ-Þ0-9])")
FRONT = re.compile(r"\A---\r?\n.*?\r?\n---[ \t]*\r?$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")

SILENT = frozenset({"script", "style", "title", "nav", "footer", "aside", "noscript", "template", "svg", "form"})
BLOCKS = frozenset(
    {"p", "li", "dt", "dd", "tr", "div", "section", "article", "main", "pre", "blockquote", "figcaption", "caption"}
)
HEADINGS = {f"h{level}": level for level in range(1, 7)}
# Elements without an end.
VOID = frozenset({"br", "hr", "img", "input", "link", "meta", "source", "wbr", "col", "area", "base", "embed", "track"})

Block = tuple[int, str]
"""A heading of a level from 1, or a paragraph (0), with its text."""


class Passage(Record):
    """A piece of a document."""

    id: str = Field(description="Digest of document, headings and text.")
    document: str = Field(description="Path of the document within the folder that was given.")
    headings: tuple[str, ...] = Field(default=(), description="The headings above it, the widest first.")
    text: str

    @staticmethod
    def make(document: str, headings: tuple[str, ...], text: str) -> Passage:
        """A passage whose id is computed."""
        return Passage(
            id=digest_json([document, list(headings), text])[7:39], document=document, headings=headings, text=text
        )

    def shown(self) -> str:
        """The passage as a reader sees it: headings, then text."""
        return "\n\n".join(filter(None, (" › ".join(self.headings), self.text)))


def read_passages(path: Path) -> list[Passage]:
    """The passages of a document, or of all documents of a folder in the order of their names; each text once.

    Raises:
        BadInput: a document is missing, is no UTF-8 text or is too large, or there is nothing to read.
    """
    root = path if path.is_dir() else path.parent
    files = [file for file in sorted(path.rglob("*")) if _is_document(file, root)] if path.is_dir() else [path]
    passages: dict[str, Passage] = {}
    for file in files:
        for passage in passages_of(_read(file), file.suffix.lower(), file.relative_to(root).as_posix()):
            passages.setdefault(passage.text, passage)
    if not passages:
        raise BadInput(
            words(f"{path} holds no text to ask about", f"{path} ne contient aucun texte à interroger"),
            words(f"give documents of these kinds: {', '.join(KINDS)}", f"donnez des documents {', '.join(KINDS)}"),
        )
    return list(passages.values())


def passages_of(text: str, kind: str, document: str) -> list[Passage]:
    """The passages of one document.

    Args:
        kind: its suffix.
        document: its name.
    """
    if kind in (".html", ".htm"):
        blocks = _html_blocks(text)
    else:
        blocks = _text_blocks(text) if kind == ".txt" else _text_blocks(FRONT.sub("", text), marked=True)
    found: list[Passage] = []
    headings: list[tuple[int, str]] = []
    waiting: list[str] = []

    def close() -> None:
        above = tuple(title for _, title in headings)
        found.extend(Passage.make(document, above, piece) for piece in _pieces(waiting))
        waiting.clear()

    for level, block in blocks:
        if not level:
            waiting.append(block)
            continue
        close()
        headings = [one for one in headings if one[0] < level] + [(level, block)]
    close()
    return found


def _pieces(paragraphs: list[str]) -> Iterator[str]:
    """Neighbouring paragraphs joined, and long ones cut between sentences; what is very short joins its neighbour."""
    pieces: list[str] = []
    for paragraph in paragraphs:
        for part in _shortened(paragraph):
            size = len(part.split())
            held = len(pieces[-1].split()) if pieces else MOST_WORDS
            if held + size <= MOST_WORDS or (pieces and min(held, size) < LEAST_WORDS and held + size < 2 * MOST_WORDS):
                pieces[-1] += "\n\n" + part
            else:
                pieces.append(part)
    yield from pieces


def _shortened(paragraph: str) -> Iterator[str]:
    """A paragraph in parts of at most ``MOST_WORDS``, cut between sentences; a longer sentence is cut between words."""
    part: list[str] = []
    for sentence in SENTENCE.split(paragraph):
        told = sentence.split()
        if part and len(part) + len(told) > MOST_WORDS:
            yield " ".join(part)
            part = []
        while len(told) > MOST_WORDS:
            yield " ".join(told[:MOST_WORDS])
            told = told[MOST_WORDS:]
        part += told
    if part:
        yield " ".join(part)


def _text_blocks(text: str, marked: bool = False) -> Iterator[Block]:
    """Paragraphs apart by empty lines; headings where the text is Markdown."""
    lines: list[str] = []
    fenced = False
    for line in [*text.splitlines(), ""]:
        fenced ^= marked and bool(FENCE.match(line))
        heading = HEADING.match(line) if marked and not fenced else None
        underline = UNDERLINE.match(line) if marked and not fenced and len(lines) == 1 else None
        if underline:
            yield (1 if line[0] == "=" else 2), lines.pop().strip()
        elif heading or (not line.strip() and not fenced):
            if lines:
                yield 0, _paragraph(lines, marked)
                lines = []
            if heading and heading[2]:
                yield len(heading[1]), heading[2]
        elif not (marked and FENCE.match(line)):
            lines.append(line)
    if lines:
        yield 0, _paragraph(lines, marked)


def _paragraph(lines: list[str], marked: bool) -> str:
    text = " ".join(line.strip() for line in lines)
    if marked:
        text = LINK.sub(r"\1", text)
        text = re.sub(r"(\*\*|__|`)(.+?)\1", r"\2", text)
    return text


def _html_blocks(text: str) -> Iterator[Block]:
    reader = _Page()
    reader.feed(text)
    reader.close()
    reader.end_block()
    yield from reader.blocks


class _Page(HTMLParser):
    """Collects the blocks of a web page that people read."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.blocks: list[Block] = []
        self._text: list[str] = []
        self._level = 0
        self._silent: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._silent:
            if tag == self._silent[-1]:
                self._silent.append(tag)
        elif tag in SILENT or (tag not in VOID and any(name == "hidden" for name, _ in attrs)):
            self._silent.append(tag)
        elif tag in BLOCKS or tag in HEADINGS:
            self.end_block()
            self._level = HEADINGS.get(tag, 0)
        elif tag in ("br", "td", "th"):
            self._text.append(" ")

    def handle_endtag(self, tag: str) -> None:
        if self._silent:
            if tag == self._silent[-1]:
                self._silent.pop()
        elif tag in BLOCKS or tag in HEADINGS:
            self.end_block()

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self._text.append(data)

    def end_block(self) -> None:
        """What was collected is a block."""
        text = " ".join("".join(self._text).split())
        if text:
            self.blocks.append((self._level, text))
        self._text, self._level = [], 0


def _is_document(path: Path, root: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
    return path.is_file() and path.suffix.lower() in KINDS and not hidden


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise _unreadable(path, words("it is larger than 64 MiB", "il dépasse 64 Mio"))
        if path.suffix.lower() not in KINDS:
            raise _unreadable(path, words(f"kinds are {', '.join(KINDS)}", f"les genres sont {', '.join(KINDS)}"))
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, str(error)) from None


def _unreadable(path: Path, why: str) -> BadInput:
    return BadInput(
        words(f"The document {path} cannot be read: {why}", f"Le document {path} ne se lit pas : {why}"),
        words("save it as UTF-8 text, Markdown or HTML", "enregistrez-le en texte UTF-8, Markdown ou HTML"),
    )
