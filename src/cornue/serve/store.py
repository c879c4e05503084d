"""The small database of the service: SQLite by default, PostgreSQL by URL, behind the same three calls.

Statements are written once, with ``?`` for values, in the SQL that both understand. Each call is short and whole: a
process that is killed loses nothing that a call has returned from. It holds no question and no answer, except what a
person chose to send with a contest.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from cornue.records.errors import BadInput, OutsideFailure

TABLES = (
    """CREATE TABLE IF NOT EXISTS keys (id TEXT PRIMARY KEY, name TEXT NOT NULL, hash TEXT NOT NULL, role TEXT NOT NULL,
    requests_per_minute BIGINT NOT NULL, tokens_per_day BIGINT NOT NULL, created DOUBLE PRECISION NOT NULL,
    expires DOUBLE PRECISION, revoked DOUBLE PRECISION)""",
    """CREATE TABLE IF NOT EXISTS usage (key_id TEXT NOT NULL, day TEXT NOT NULL, requests BIGINT NOT NULL,
    prompt_tokens BIGINT NOT NULL, completion_tokens BIGINT NOT NULL, joules DOUBLE PRECISION NOT NULL,
    euros DOUBLE PRECISION NOT NULL, PRIMARY KEY (key_id, day))""",
    """CREATE TABLE IF NOT EXISTS answers (id TEXT PRIMARY KEY, owner TEXT NOT NULL, created DOUBLE PRECISION NOT NULL,
    process TEXT NOT NULL, intent TEXT NOT NULL, place BIGINT UNIQUE, receipt TEXT, digest TEXT, chain TEXT)""",
    """CREATE TABLE IF NOT EXISTS batches (last BIGINT PRIMARY KEY, first BIGINT NOT NULL, statement TEXT NOT NULL,
    signature TEXT NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS contests (id TEXT PRIMARY KEY, receipt_id TEXT NOT NULL,
    created DOUBLE PRECISION NOT NULL, note TEXT NOT NULL, question TEXT NOT NULL, answer TEXT NOT NULL,
    public BIGINT NOT NULL, reply TEXT NOT NULL, replied DOUBLE PRECISION)""",
    """CREATE TABLE IF NOT EXISTS sessions (hash TEXT PRIMARY KEY, owner TEXT NOT NULL, role TEXT NOT NULL,
    key_id TEXT NOT NULL, expires DOUBLE PRECISION NOT NULL)""",
    "CREATE TABLE IF NOT EXISTS secrets (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
)
INDEXES = (
    "CREATE INDEX IF NOT EXISTS answers_open ON answers (process) WHERE place IS NULL",
    "CREATE INDEX IF NOT EXISTS answers_created ON answers (created)",
)


class Store(Protocol):
    """What the rest of the room knows of a database."""

    def do(self, sql: str, *values: Any) -> int:
        """Run a statement; returns how many rows it changed."""

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """The rows of a query."""

    @contextmanager
    def together(self) -> Iterator[None]:
        """Statements inside happen all or not at all, and no other writer comes in between."""

    def close(self) -> None:
        """Let go of the database."""


def open_store(folder: Path, url: str = "") -> Store:
    """The database at a URL, or the SQLite file of a folder; its tables are made where they are missing.

    Raises:
        BadInput: the URL is of another kind.
        OutsideFailure: the database does not answer (boundary "database").
    """
    if url.startswith(("postgresql://", "postgres://")):
        return PostgresStore(url)
    if url:
        raise BadInput(f"The database {url.split('@')[-1]} is neither PostgreSQL nor empty.", "Use postgresql://…")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return SqliteStore(folder / "serve.sqlite")


class SqliteStore:
    """A SQLite file in write-ahead mode."""

    def __init__(self, path: Path | str) -> None:
        self._lock = threading.RLock()
        with _failures(sqlite3.Error):
            self._link = sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False)
            self._link.execute("PRAGMA journal_mode=WAL")
            # A killed process loses nothing; only a power cut may cost the last moments.
            self._link.execute("PRAGMA synchronous=NORMAL")
            for statement in TABLES + INDEXES:
                self._link.execute(statement)

    def do(self, sql: str, *values: Any) -> int:
        """Run a statement; returns how many rows it changed."""
        with self._lock, _failures(sqlite3.Error):
            return self._link.execute(sql, values).rowcount

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        with self._lock, _failures(sqlite3.Error):
            return self._link.execute(sql, values).fetchall()

    @contextmanager
    def together(self) -> Iterator[None]:
        """All or nothing, alone."""
        with self._lock, _failures(sqlite3.Error):
            self._link.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._link.execute("ROLLBACK")
                raise
            self._link.execute("COMMIT")

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._link.close()


class PostgresStore:
    """A PostgreSQL database, for several machines. Needs the package ``psycopg``."""

    def __init__(self, url: str) -> None:
        try:
            import psycopg
        except ImportError as error:
            raise BadInput("PostgreSQL needs the package psycopg.", "pip install 'psycopg[binary]'") from error
        self._errors, self._cut = psycopg.Error, psycopg.OperationalError
        self._connect: Callable[[], Any] = lambda: psycopg.connect(url, autocommit=True, connect_timeout=3)
        self._lock = threading.RLock()
        self._inside = False
        with _failures(self._errors):
            self._link: Any = self._connect()
        with self.together():
            for statement in TABLES + INDEXES:
                self.do(statement)

    def do(self, sql: str, *values: Any) -> int:
        """Run a statement; returns how many rows it changed."""
        return int(self._run(sql, values).rowcount)

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        return [tuple(row) for row in self._run(sql, values).fetchall()]

    def _run(self, sql: str, values: Sequence[Any]) -> Any:
        text = sql.replace("?", "%s")
        with self._lock, _failures(self._errors):
            try:
                return self._link.execute(text, values)
            except self._cut:
                # A restarted server cuts the link; within a transaction the caller must begin again.
                if self._inside:
                    raise
                self._link = self._connect()
                return self._link.execute(text, values)

    @contextmanager
    def together(self) -> Iterator[None]:
        """All or nothing, alone among all machines."""
        with self._lock, _failures(self._errors):
            if self._link.closed or self._link.broken:
                self._link = self._connect()
            self._inside = True
            try:
                with self._link.transaction():
                    self._link.execute("SELECT pg_advisory_xact_lock(66082)")
                    yield
            finally:
                self._inside = False

    def close(self) -> None:
        """Let go of the connection."""
        with self._lock:
            self._link.close()


@contextmanager
def _failures(kind: type[Exception]) -> Iterator[None]:
    """A database's own error as a failure of something outside."""
    try:
        yield
    except kind as error:
        raise OutsideFailure(f"The database does not do its work: {error}".strip(), boundary="database") from error
