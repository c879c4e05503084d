"""The register that answers are read from: tables in memory that anybody may query and nobody can change.

It opens SQLite and CSV files, plain or compressed, gives them a digest that does not depend on the container, and runs
one SELECT at a time under limits of time, rows and memory. Names match whatever their accents, case and hyphens. It
does not write SQL, and it knows nothing of what its tables are about.
"""

from __future__ import annotations

import json
import math
import re
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cornue.records.digests import canonical_json, digest_bytes, digest_json
from cornue.records.words import words
from cornue.sources.folding import compare, fold, like
from cornue.sources.tables import Cell, Table, damaged, quote, read_tables

FUNCTION_NAMES = """
abs avg ceil ceiling char coalesce count cume_dist dense_rank exp first_value floor group_concat hex ifnull iif instr
lag last_value lead length like ln log log10 log2 lower ltrim max min mod nth_value ntile nullif percent_rank pow power
quote rank replace round row_number rtrim sign sqrt string_agg substr substring sum total trim trunc typeof unicode
upper
"""
FUNCTIONS = frozenset(FUNCTION_NAMES.split())
LONGEST_QUERY = 4_000
LONGEST_TEXT = 10_000
MOST_COLUMNS = 64
MOST_CHARACTERS = 1_000_000
STEPS_BETWEEN_CHECKS = 250
ROWS_WORTH_AN_INDEX = 500
COLLATION = "name"
CODE = re.compile(r"(?:[0-9 ]|(?<![A-Za-z])[A-Za-z]{1,2}(?![A-Za-z]))*")
READS = re.compile(r"(?:\s|--[^\n]*(?:\n|$)|/\*.*?\*/)*(?:select|with|values)\b", re.IGNORECASE | re.DOTALL)


class QueryError(ValueError):
    """A query that cannot be answered, with a reason in plain words. It is data, not an exit."""


@dataclass(frozen=True)
class Answer:
    """What a query gave: at most the rows asked for, in the query's order; ``seconds`` is computing time.

    ``times`` says how often each row came, where each different row was asked for once.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    truncated: bool
    seconds: float
    times: tuple[int, ...] = ()


class _Clock:
    """Counts a query's own computing time: a busy machine must not turn a right answer into a wrong one.

    The thread's clock costs a system call, so it is read only once the wall clock says that time may be over.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._start = time.thread_time()
        self._look_again = time.monotonic() + seconds

    def used(self) -> float:
        return time.thread_time() - self._start

    def is_over(self) -> bool:
        if time.monotonic() < self._look_again:
            return False
        left = self._seconds - self.used()
        self._look_again = time.monotonic() + left
        return left <= 0


class Register:
    """Tables that are read and never written. Safe to use from several threads; queries take turns."""

    def __init__(self, name: str, tables: Sequence[Table]) -> None:
        self.name = name
        self.digest = digest_json([_describe(table) for table in sorted(tables, key=lambda table: table.name)])
        self.schema = "\n\n".join(_schema(table) for table in tables)
        cells = (cell for table in tables for row in table.rows for cell in row)
        self._texts = {cell for cell in cells if isinstance(cell, str)}
        self._spellings = {fold(text): text for text in sorted(self._texts, reverse=True)}
        self._columns = _count_texts(tables)
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
        try:
            return Register(path.name.partition(".")[0], read_tables(path))
        except (sqlite3.Error, OverflowError, UnicodeError) as error:
            raise damaged(path, str(error)) from error

    def query(self, sql: str, *, seconds: float = 2.0, rows: int = 1000, once: bool = False) -> Answer:
        """Runs one SELECT.

        Args:
            sql: the query; exactly one statement.
            seconds: it is stopped after so many seconds of computing time, however busy the machine is.
            rows: no more rows than this are fetched; ``Answer.truncated`` says whether there were more.
            once: give each different row once, and how often it came.

        Raises:
            QueryError: if it is no single SELECT, names what is not there, or needs too much time or room.
        """
        if len(sql) > LONGEST_QUERY or "\0" in sql:
            raise QueryError(words("the query is too long or holds NUL", "la requête est trop longue ou contient NUL"))
        if not READS.match(sql):
            raise QueryError(words("this is not a SELECT", "ce n'est pas un SELECT"))
        with self._turn:
            return self._run(sql, seconds, rows, once)

    def parses(self, sql: str) -> bool:
        """Whether a query can be read and names only what is there; it is not run."""
        try:
            with self._turn:
                self._connection.execute(f"EXPLAIN {sql}").close()
        except (sqlite3.Error, sqlite3.Warning, ValueError):
            return False
        return True

    def texts(self) -> list[str]:
        """Every different text that stands in a cell, in order."""
        return sorted(self._texts)

    def spelling(self, name: str) -> str | None:
        """A name as a cell spells it, whatever its accents, case and hyphens; None if no cell holds it."""
        return self._spellings.get(fold(name))

    def holds(self, name: str) -> bool:
        """Whether some cell is this name, however it is spelt."""
        return fold(name) in self._spellings

    def counts(self, column: str) -> Mapping[str, int]:
        """How often each text stands in the columns of a name, folded; nothing where no such column holds texts."""
        return self._columns.get(column.lower(), {})

    def columns(self) -> Sequence[str]:
        """The names of the columns that hold texts, in their order."""
        return list(self._columns)

    def close(self) -> None:
        """Gives the memory back."""
        with self._turn:
            self._connection.close()

    def _run(self, sql: str, seconds: float, rows: int, once: bool) -> Answer:
        clock = _Clock(seconds)
        self._connection.set_progress_handler(clock.is_over, STEPS_BETWEEN_CHECKS)
        try:
            cursor = self._connection.execute(sql)
            columns = tuple(column[0] for column in cursor.description or ())
            kept, truncated, times = _fetch(cursor, rows, once)
            cursor.close()
        except (sqlite3.Error, sqlite3.Warning, OverflowError, UnicodeError) as error:
            raise QueryError(_explain(error)) from error
        finally:
            self._connection.set_progress_handler(None, 0)
        return Answer(columns, kept, truncated, clock.used(), times)

    def _load(self, table: Table) -> None:
        columns = [f"{quote(column.name)} {_kind(table, place)}" for place, column in enumerate(table.columns)]
        self._connection.execute(f"CREATE TABLE {quote(table.name)} ({', '.join(columns)})")
        self._connection.execute("BEGIN")
        marks = ", ".join("?" for _ in table.columns)
        self._connection.executemany(f"INSERT INTO {quote(table.name)} VALUES ({marks})", table.rows)
        self._connection.execute("COMMIT")
        if len(table.rows) < ROWS_WORTH_AN_INDEX:
            return
        for place, column in enumerate(table.columns):
            index = quote(f"{table.name} {place}")
            self._connection.execute(f"CREATE INDEX {index} ON {quote(table.name)} ({quote(column.name)})")

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

    def _authorise(self, act: int, first: str | None, second: str | None, base: str | None, _by: str | None) -> int:
        if act in (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_RECURSIVE):
            return sqlite3.SQLITE_OK
        # Without a database the name is that of a WITH clause, never a stored table.
        if act == sqlite3.SQLITE_READ and (base is None or (first or "").lower() in self._tables):
            return sqlite3.SQLITE_OK
        if act == sqlite3.SQLITE_FUNCTION and (second or "").lower() in FUNCTIONS:
            return sqlite3.SQLITE_OK
        return sqlite3.SQLITE_DENY


def _count_texts(tables: Sequence[Table]) -> dict[str, Counter[str]]:
    """For every column of texts, by its name in small letters, how often each text stands there, folded."""
    found: dict[str, Counter[str]] = {}
    for table in tables:
        for place, column in enumerate(table.columns):
            texts = Counter(cell for row in table.rows if isinstance(cell := row[place], str))
            for text, number in texts.items():
                found.setdefault(column.name.lower(), Counter())[fold(text)] += number
    return found


def _kind(table: Table, place: int) -> str:
    """A column's type and how it compares: codes by SQLite's own quick rule, other texts as names."""
    kind = table.columns[place].kind
    if kind != "TEXT":
        return kind
    texts = (cell for row in table.rows if isinstance(cell := row[place], str))
    codes = all(CODE.fullmatch(text) for text in texts)
    return f"TEXT COLLATE {'NOCASE' if codes else COLLATION}"


def _fetch(cursor: sqlite3.Cursor, most: int, once: bool) -> tuple[tuple[tuple[Cell, ...], ...], bool, tuple[int, ...]]:
    """The first rows, whether there were more, and how often each came where each is wanted once.

    Texts count too, so that a few huge rows stop as well.
    """
    kept: list[tuple[Cell, ...]] = []
    times: Counter[tuple[Cell, ...]] = Counter()
    room, truncated = MOST_CHARACTERS, False
    for row in cursor:
        if once and row in times:
            times[row] += 1
            continue
        room -= sum(len(cell) for cell in row if isinstance(cell, (str, bytes)))
        if len(kept) >= most or room < 0:
            truncated = True
            break
        times[row] += 1
        kept.append(tuple(_speakable(cell) for cell in row))
    return tuple(kept), truncated, tuple(times.values()) if once else ()


def _speakable(cell: Cell) -> Cell:
    """A cell that JSON can say."""
    if isinstance(cell, bytes):
        return cell.hex()
    return str(cell) if isinstance(cell, float) and not math.isfinite(cell) else cell


def _on_text(change: Callable[[str], str]) -> Callable[[Cell], str | None]:
    return lambda cell: None if cell is None else change(str(cell))


def _describe(table: Table) -> dict[str, object]:
    """What the digest is taken over; the order of the rows does not count."""
    rows = sorted(_encode(row) for row in table.rows)
    return {
        "table": table.name,
        "columns": [[column.name, column.kind] for column in table.columns],
        "rows": digest_bytes(b"\n".join(rows)),
    }


def _encode(row: tuple[Cell, ...]) -> bytes:
    """A row as canonical JSON, by the quick encoder where the two agree."""
    if all(cell is None or isinstance(cell, str) or (isinstance(cell, int) and abs(cell) < 1 << 53) for cell in row):
        return json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    return canonical_json([["blob", cell.hex()] if isinstance(cell, bytes) else _speakable(cell) for cell in row])


def _schema(table: Table) -> str:
    columns = ",\n".join(f"  {_bare(column.name)} {column.kind}" for column in table.columns)
    text = f"CREATE TABLE {_bare(table.name)} (\n{columns}\n);"
    if not table.rows:
        return text
    example = next((row for row in table.rows if None not in row), table.rows[0])
    return f"{text}\n-- {' | '.join('NULL' if cell is None else str(cell) for cell in example)}"


def _bare(name: str) -> str:
    return name if name.isidentifier() and name.isascii() else quote(name)


def _explain(error: Exception) -> str:
    text = str(error)
    if "interrupted" in text:
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
