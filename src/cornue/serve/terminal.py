"""``cornue chat``: a sealed model in the terminal. The query is run read-only, and its rows are shown beside it.

One question at a time, each on its own: a student of a register has learnt single questions. It keeps nothing.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.table import Table

from cornue.models.engine import Engine
from cornue.pack.open import open_pack
from cornue.records.errors import OutsideFailure
from cornue.records.words import language, words
from cornue.serve.lookup import Lookup, look_up
from cornue.serve.texts import Words
from cornue.sources.register import Register
from cornue.verify.doubts import TEMPERATURE, Doubt, Hearing
from cornue.verify.sql import declines, with_query

LONGEST = 200


class Terminal:
    """A pack with its engine and register, between ``__enter__`` and ``__exit__``.

    Args:
        folder: the pack; its bytes are checked first.
        table: a register in place of the pack's own.

    Raises:
        BadInput, CheckFailed: the pack is missing or altered, or the register cannot be read.
        OutsideFailure: the engine does not start.
    """

    def __init__(self, folder: Path, table: Path | None = None) -> None:
        self.pack = open_pack(folder)
        self.register = Register.open(table) if table else self.pack.register()
        self.engine = Engine(self.pack.served_file, slots=1, context=1024)
        self.console = Console(highlight=False)

    def __enter__(self) -> Terminal:
        self.engine.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.engine.close()

    def answer(self, question: str, as_json: bool = False) -> None:
        """Ask and show; as a line of JSON with raw values, whose query and rows are empty where it declines."""
        first = self._ask(question)
        doubted, text = self._hear(question, first)
        found = look_up(self.register, text, question) if self.register else None
        if as_json:
            body: dict[str, Any] = {"answer": text, "query": "", "rows": []}
            if found:
                body |= found.body()
                body["register"] = body.pop("digest")
            if text != first:
                body["first_answer"] = first
            print(json.dumps(body | {"model": self.pack.facts.model_digest}, ensure_ascii=False))
            return
        if doubted and text != first:
            self.console.print(doubted.told(language() == "fr"), style="dim", markup=False)
        # The query that was run, with its names as the register spells them, not the one that was written.
        told = with_query(text, found.query) if found else text
        self.console.print(Words(language())("declined") if declines(text) else told.strip(), markup=False)
        if found:
            self._show(found)

    def converse(self) -> None:
        """Questions from standard input until it ends."""
        facts = self.pack.facts
        self.console.print(f"{facts.title or facts.name}\n{facts.purpose}", markup=False, style="bold")
        print(words(en="An empty line ends.", fr="Une ligne vide termine."), file=sys.stderr)
        while question := self._read():
            try:
                self.answer(question)
            except OutsideFailure as error:
                print(error, file=sys.stderr)
            print()

    def _ask(self, question: str, temperature: float = 0.0, seed: int = 0) -> str:
        drawn = {"temperature": temperature, "seed": seed}
        return self.engine.chat([{"role": "user", "content": question}], max_tokens=LONGEST, **drawn).text

    def _hear(self, question: str, text: str) -> tuple[Doubt | None, str]:
        """Why the register doubts the first answer, and the answer that stands."""
        if self.register is None:
            return None, text
        hearing = Hearing(question, self.register)
        while hearing.hear(text):
            text = self._ask(question, TEMPERATURE, hearing.attempt)
        return hearing.doubt, hearing.text

    def _read(self) -> str:
        try:
            return input("› ").strip()
        except EOFError:
            return ""

    def _show(self, found: Lookup) -> None:
        """The rows as a table, with the register that they come from."""
        if found.problem:
            self.console.print(found.problem, style="red", markup=False)
            return
        table = Table(show_edge=False, pad_edge=False)
        for column in found.columns:
            table.add_column(column)
        for row in found.rows:
            table.add_row(*("" if cell is None else str(cell) for cell in row))
        self.console.print(table)
        more = words(en=" (more rows are not shown)", fr=" (d'autres lignes ne sont pas affichées)")
        origin = words(en="register", fr="registre")
        self.console.print(f"{origin} {found.digest[:19]}…{more if found.truncated else ''}", style="dim", markup=False)
