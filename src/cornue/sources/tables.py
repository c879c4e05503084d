"""Reads tables out of files: SQLite and CSV, plain or compressed with xz or gzip.

It gives plain columns and rows; it does not query them. A file that is damaged, or that unpacks to more than
``MOST_BYTES``, is refused.
"""

from __future__ import annotations

import csv
import gzip
import io
import lzma
import re
import sqlite3
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, cast

from cornue.records.errors import BadInput
from cornue.records.words import words

Cell = str | int | float | bytes | None
Kind = Literal["TEXT", "INTEGER", "REAL"]
MOST_BYTES = 1 << 30
MOST_COLUMNS = 60
LONGEST_CELL = 8_000
BLOCK = 1 << 20
WRITE_AHEAD = b"\x02\x02"
VIRTUAL = re.compile(r"\s*CREATE\s+VIRTUAL\b", re.IGNORECASE)


@dataclass(frozen=True)
class Column:
    """A column and what its cells are."""

    name: str
    kind: Kind


@dataclass(frozen=True)
class Table:
    """A named table, its rows in the file's order."""

    name: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]


def read_tables(path: Path) -> tuple[Table, ...]:
    """The tables of a file, in the file's order.

    Raises:
        BadInput: if the file is missing, damaged, too large, empty, or of a kind that is not known.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packing = suffixes.pop() if suffixes and suffixes[-1] in (".xz", ".gz") else ""
    kind = suffixes[-1] if suffixes else ""
    if kind not in (".sqlite", ".db", ".csv"):
        raise BadInput(
            words(f"{path} is no table that can be read", f"{path} n'est pas une table lisible"),
            words("give a .sqlite or .csv file, plain or .xz or .gz", "donnez un .sqlite ou .csv, seul ou en .xz, .gz"),
        )
    data = read_bytes(path, packing)
    tables = _read_csv(path, data) if kind == ".csv" else _read_sqlite(path, data)
    if not tables or not all(table.columns for table in tables):
        raise damaged(path, words("it holds no table", "il ne contient aucune table"))
    for table in tables:
        _check(path, table)
    return tables


def read_bytes(path: Path, packing: str) -> bytes:
    """A file's bytes, unpacked; ``packing`` is "", ".xz" or ".gz".

    Raises:
        BadInput: if the file is missing, damaged or unpacks to too much.
    """
    try:
        with path.open("rb") as file:
            return _read_all(path, _unpack(file, packing))
    except FileNotFoundError as error:
        raise BadInput(
            words(f"{path} is not there", f"{path} n'existe pas"), words("check the path", "vérifiez le chemin")
        ) from error
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise damaged(path, str(error)) from error


def _unpack(file: BinaryIO, packing: str) -> BinaryIO:
    if packing == ".xz":
        return cast(BinaryIO, lzma.open(file))
    return cast(BinaryIO, gzip.open(file)) if packing == ".gz" else file


def _read_all(path: Path, file: BinaryIO) -> bytes:
    blocks, size = [], 0
    while block := file.read(BLOCK):
        size += len(block)
        if size > MOST_BYTES:
            raise damaged(path, words("it unpacks to more than 1 GiB", "il dépasse 1 Gio une fois décompressé"))
        blocks.append(block)
    return b"".join(blocks)


def _read_sqlite(path: Path, data: bytes) -> tuple[Table, ...]:
    if not data.startswith(b"SQLite format 3\0"):
        raise damaged(path, words("it is no SQLite file", "ce n'est pas un fichier SQLite"))
    if data[18:20] == WRITE_AHEAD:
        raise BadInput(
            words(f"{path} keeps a write-ahead log", f"{path} a un journal d'écriture (WAL)"),
            words("run PRAGMA journal_mode = DELETE on it first", "exécutez d'abord PRAGMA journal_mode = DELETE"),
        )
    connection = sqlite3.connect(":memory:")
    try:
        connection.deserialize(data)
        connection.execute("PRAGMA trusted_schema = OFF")
        if connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
            raise damaged(path, words("its pages do not fit together", "ses pages ne s'accordent pas"))
        # Views, triggers and virtual tables of the file are never run.
        listed = connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'table' ORDER BY rowid"
        ).fetchall()
        plain = [name for name, sql in listed if not name.startswith("sqlite_") and not VIRTUAL.match(sql)]
        return tuple(_read_table(connection, name) for name in plain)
    except (sqlite3.Error, UnicodeError, OverflowError) as error:
        raise damaged(path, str(error)) from error
    finally:
        connection.close()


def _read_table(connection: sqlite3.Connection, name: str) -> Table:
    described = connection.execute(f"PRAGMA table_info({quote(name)})").fetchall()
    selected = ", ".join(quote(row[1]) for row in described)
    rows = tuple(connection.execute(f"SELECT {selected} FROM {quote(name)}"))
    columns = []
    for place, (_, column, declared, *_) in enumerate(described):
        columns.append(Column(column, _declared(declared, [row[place] for row in rows])))
    return Table(name, tuple(columns), rows)


def quote(name: str) -> str:
    """A name as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'


def _declared(declared: str, cells: list[Cell]) -> Kind:
    """The kind that a column declares; where it says something else or nothing, the kind that its cells have."""
    declared = declared.upper()
    if "INT" in declared:
        return "INTEGER"
    if any(word in declared for word in ("CHAR", "CLOB", "TEXT")):
        return "TEXT"
    found = {type(cell) for cell in cells} - {type(None)}
    if found == {int}:
        return "INTEGER"
    return "REAL" if found and found <= {int, float} else "TEXT"


def _read_csv(path: Path, data: bytes) -> tuple[Table, ...]:
    try:
        text = data.decode("utf-8-sig")
        dialect = ";" if text.partition("\n")[0].count(";") > text.partition("\n")[0].count(",") else ","
        lines = [line for line in csv.reader(io.StringIO(text, newline=""), delimiter=dialect, strict=True) if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise damaged(path, str(error)) from error
    if not lines:
        return ()
    head, *body = lines
    for number, line in enumerate(body, start=2):
        if len(line) != len(head):
            raise damaged(
                path,
                words(
                    f"row {number} has {len(line)} cells, the header has {len(head)}",
                    f"la ligne {number} a {len(line)} cellules, l'en-tête en a {len(head)}",
                ),
            )
    kinds = [_kind([line[place] for line in body]) for place in range(len(head))]
    columns = tuple(Column(name.strip(), kind) for name, kind in zip(head, kinds, strict=True))
    rows = tuple(tuple(_cell(cell, kind) for cell, kind in zip(line, kinds, strict=True)) for line in body)
    return (Table(_table_name(path), columns, rows),)


def _table_name(path: Path) -> str:
    """The file's name as a table's: letters, digits and underscores, beginning with a letter."""
    name = re.sub(r"\W+", "_", path.name.partition(".")[0])
    return name if name[:1].isalpha() and not name.lower().startswith("sqlite_") else f"table_{name}"


def _kind(cells: list[str]) -> Kind:
    """Numbers only where nothing is lost: "01000" stays a text."""
    filled = [cell for cell in cells if cell]
    if filled and all(_is_integer(cell) for cell in filled):
        return "INTEGER"
    return "REAL" if filled and all(_is_real(cell) for cell in filled) else "TEXT"


def _is_integer(cell: str) -> bool:
    digits = cell.removeprefix("-")
    return digits.isascii() and digits.isdigit() and len(digits) < 19 and (digits == "0" or digits[0] != "0")


def _is_real(cell: str) -> bool:
    whole, point, fraction = cell.partition(".")
    return _is_integer(whole) and (not point or (fraction.isascii() and fraction.isdigit()))


def _cell(cell: str, kind: Kind) -> Cell:
    if kind == "TEXT":
        return cell
    if not cell:
        return None
    return int(cell) if kind == "INTEGER" else float(cell)


def _check(path: Path, table: Table) -> None:
    names = [column.name.lower() for column in table.columns]
    odd = any(not name or not name.isprintable() for name in (table.name, *names))
    if odd or len(set(names)) != len(names) or len(names) > MOST_COLUMNS:
        raise damaged(
            path,
            words(
                "it needs 1 to 60 columns with different names",
                "il faut 1 à 60 colonnes aux noms différents",
            ),
        )
    for number, row in enumerate(table.rows, start=1):
        if any(isinstance(cell, (str, bytes)) and len(cell) > LONGEST_CELL for cell in row):
            raise damaged(path, words(f"row {number} has a very long cell", f"ligne {number} : cellule très longue"))


def damaged(path: Path, why: str) -> BadInput:
    """The refusal of a file that holds no sound tables."""
    return BadInput(
        words(f"{path} cannot be read as a register: {why}", f"{path} n'est pas lisible comme registre : {why}"),
        words("take a sound copy of the file", "prenez une copie saine du fichier"),
    )
