"""The register that answers are read from: tables in memory that anybody may query and nobody can change.

It opens SQLite and CSV files, plain or compressed, gives them a digest that does not depend on the container, and runs
one SELECT at a time under limits of time, rows and memory. Names match whatever their accents, case and hyphens. It does
not write SQL, and it knows nothing of what its tables are about.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cornue.records.digests import digest_json, digest_text
from cornue.records.words import words
from cornue.sources.folding import compare, like
from cornue.sources.tables import Cell, Table, read_tables

FUNCTIONS = frozenset(
    "abs avg ceil ceiling char coalesce count cume_dist dense_rank exp first_value floor glob group_concat hex "
    "ifnull iif instr lag last_value lead length like ln log log10 log2 lower ltrim max min mod nth_value ntile nullif "
    "percent_rank pow power quote rank replace round row_number rtrim sign sqrt string_agg substr substring sum "
    "total trim trunc typeof unicode unistr upper".split()
)
LONGEST_QUERY = 4_000
LONGEST_TEXT = 20_000
MOST_COLUMNS = 64
MOST_CHARACTERS = 1_000_000
STEPS_BETWEEN_CHECKS = 1_000
ROWS_WORTH_AN_INDEX = 500
COLLATION = "name"


class QueryError(ValueError):
    """A query that cannot be answered, with a reason in plain words. It is data, not an exit."""


@dataclass(frozen=True)
class Answer:
    """What a query gave: at most the rows asked for, in the query's order."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    truncated: bool
    seconds: float


class Register:
    """Tables that are read and never written. Safe to use from several threads; queries take turns."""

    def __init__(self, name: str, tables: Sequence[Table]) -> None:
        self.name = name
        self.digest = digest_json([_describe(table) for table in sorted(tables, key=lambda table: table.name)])
        self.schema = "\n\n".join(_schema(table) for table in tables)
        self._tables = frozenset(table.name.lower() for table in tables)
        self._turn = threading.Lock()
        self._connection = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        self._connection.create_collation(COLLATION, compare)
        for table in tables:
            self._load(table)
        self._lock_down()

    @staticmethod
    def open(path: str | Path) -> Register:
        """The register in a file: ``.sqlite`` or ``.csv``, plain or with ``.xz`` or ``.gz``.

        Raises:
            BadInput: if the file is missing, damaged, too large, or of a kind that is not known.
        """
        path = Path(path)
        return Register(path.name.partition(".")[0], read_tables(path))

    def query(self, sql: str, *, seconds: float = 2.0, rows: int = 1000) -> Answer:
        """Runs one SELECT.

        Args:
            sql: the query; exactly one statement.
            seconds: after this time it is stopped.
            rows: no more rows than this are fetched; ``Answer.truncated`` says whether there were more.

        Raises:
            QueryError: if it is no single SELECT, names what is not there, or needs too much time or room.
        """
        if len(sql) > LONGEST_QUERY or "\0" in sql:
            raise QueryError(words("the query is too long or holds a NUL", "la requête est trop longue ou contient NUL"))
        with self._turn:
            return self._run(sql, seconds, rows)

    def close(self) -> None:
        """Gives the memory back."""
        with self._turn:
            self._connection.close()

    def _run(self, sql: str, seconds: float, rows: int) -> Answer:
        start = time.monotonic()
        deadline = start + seconds
        self._connection.set_progress_handler(lambda: int(time.monotonic() > deadline), STEPS_BETWEEN_CHECKS)
        try:
            cursor = self._connection.execute(sql)
            if cursor.description is None:
                raise QueryError(words("this is not a SELECT", "ce n'est pas un SELECT"))
            columns = tuple(column[0] for column in cursor.description)
            kept, room = [], MOST_CHARACTERS
            truncated = False
            for row in cursor:
                room -= sum(len(cell) for cell in row if isinstance(cell, (str, bytes)))
                truncated = len(kept) >= rows or room < 0
                if truncated:
                    break
                kept.append(tuple(cell.hex() if isinstance(cell, bytes) else cell for cell in row))
            cursor.close()
        except (sqlite3.Error, sqlite3.Warning, OverflowError, UnicodeError) as error:
            raise QueryError(_explain(error, time.monotonic() >= deadline)) from error
        finally:
            self._connection.set_progress_handler(None, 0)
        return Answer(columns, tuple(kept), truncated, time.monotonic() - start)

    def _load(self, table: Table) -> None:
        columns = ", ".join(
            f"{_quote(column.name)} {column.kind}{f' COLLATE {COLLATION}' if column.kind == 'TEXT' else ''}"
            for column in table.columns
        )
        self._connection.execute(f"CREATE TABLE {_quote(table.name)} ({columns})")
        self._connection.execute("BEGIN")
        marks = ", ".join("?" for _ in table.columns)
        self._connection.executemany(f"INSERT INTO {_quote(table.name)} VALUES ({marks})", table.rows)
        self._connection.execute("COMMIT")
        if len(table.rows) < ROWS_WORTH_AN_INDEX:
            return
        for place, column in enumerate(table.columns):
            index = _quote(f"{table.name} {place}")
            self._connection.execute(f"CREATE INDEX {index} ON {_quote(table.name)} ({_quote(column.name)})")

    def _lock_down(self) -> None:
        connection = self._connection
        connection.create_function("like", 2, like, deterministic=True)
        connection.create_function("like", 3, like, deterministic=True)
        for name, change in (("lower", str.lower), ("upper", str.upper)):
            connection.create_function(name, 1, _on_text(change), deterministic=True)
        connection.execute("PRAGMA query_only = ON")
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST_TEXT)
        connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, LONGEST_TEXT)
        connection.setlimit(sqlite3.SQLITE_LIMIT_COLUMN, MOST_COLUMNS)
        connection.setlimit(sqlite3.SQLITE_LIMIT_EXPR_DEPTH, 100)
        connection.setlimit(sqlite3.SQLITE_LIMIT_COMPOUND_SELECT, 20)
        connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        connection.set_authorizer(self._authorise)

    def _authorise(self, act: int, first: str | None, second: str | None, _base: str | None, _by: str | None) -> int:
        if act in (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_RECURSIVE):
            return sqlite3.SQLITE_OK
        if act == sqlite3.SQLITE_READ and (first or "").lower() in self._tables:
            return sqlite3.SQLITE_OK
        if act == sqlite3.SQLITE_FUNCTION and (second or "").lower() in FUNCTIONS:
            return sqlite3.SQLITE_OK
        return sqlite3.SQLITE_DENY


def _on_text(change):  # type: ignore[no-untyped-def]
    return lambda value: None if value is None else change(str(value))


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _describe(table: Table) -> dict[str, object]:
    """What the digest is taken over: rows count, their order does not."""
    rows = sorted(digest_json([_plain(cell) for cell in row]) for row in table.rows)
    return {
        "table": table.name,
        "columns": [[column.name, column.kind] for column in table.columns],
        "rows": digest_text("\n".join(rows)),
    }


def _plain(cell: Cell) -> Cell:
    return cell.hex() if isinstance(cell, bytes) else cell


def _schema(table: Table) -> str:
    columns = ",\n".join(f"  {_bare(column.name)} {column.kind}" for column in table.columns)
    text = f"CREATE TABLE {_bare(table.name)} (\n{columns}\n);"
    if not table.rows:
        return text
    example = next((row for row in table.rows if None not in row), table.rows[0])
    return f"{text}\n-- {' | '.join('NULL' if cell is None else str(cell) for cell in example)}"


def _bare(name: str) -> str:
    return name if name.isidentifier() and name.isascii() else _quote(name)


def _explain(error: Exception, late: bool) -> str:
    text = str(error)
    if late or "interrupted" in text:
        return words("the query took too long and was stopped", "la requête durait trop et a été arrêtée")
    if "no such" in text:
        name = text.rpartition(": ")[2]
        return words(f"the register has no {name!r}", f"le registre ne contient pas {name!r}")
    if "not authorized" in text or "prohibited" in text or "readonly" in text:
        return words("only reading the register's tables is allowed", "seule la lecture des tables est permise")
    if "one statement" in text:
        return words("only one statement is allowed", "une seule instruction est permise")
    if "too big" in text:
        return words("the query makes a text that is too long", "la requête produit un texte trop long")
    return words(f"this is no SQL that can be run: {text}", f"ce SQL ne peut pas être exécuté : {text}")
