"""Reads rows out of the files in which questions are kept: CSV, JSON lines, JSON, Parquet, Arrow.

Plain or compressed, it gives the rows of one file with the place of each. It does not know what a question is. It
unpacks nothing without a limit and unpickles nothing.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cornue.records.errors import BadInput
from cornue.records.words import words
from cornue.sources.tables import MOST_BYTES, read_bytes

KINDS = (".csv", ".tsv", ".jsonl", ".json", ".parquet", ".arrow")
LONGEST_CELL = 1 << 20


def kind_of(path: Path) -> str:
    """The suffix that says what a file holds, without that of its packing."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    return next((suffix for suffix in reversed(suffixes) if suffix not in (".xz", ".gz")), "")


def read_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a file in its order, each with the place where it stands, for messages.

    Raises:
        BadInput: the file is missing, damaged, too large, or of a kind that is not known.
    """
    kind = kind_of(path)
    if kind not in KINDS:
        raise BadInput(
            words(f"{path} holds no questions that can be read", f"{path} ne contient pas de questions lisibles"),
            words(f"give a file of one of these kinds: {', '.join(KINDS)}", f"donnez un fichier {', '.join(KINDS)}"),
        )
    if kind in (".parquet", ".arrow"):
        yield from _arrow_rows(path, kind)
        return
    try:
        text = read_bytes(path, path.suffix.lower() if path.suffix.lower() in (".xz", ".gz") else "").decode(
            "utf-8-sig"
        )
    except UnicodeDecodeError as error:
        raise damaged(path, str(error)) from error
    if kind in (".csv", ".tsv"):
        yield from _csv_rows(path, text, kind)
    elif kind == ".json":
        yield from _json_rows(path, text)
    else:
        yield from _line_rows(path, text)


def _csv_rows(path: Path, text: str, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    head = text.partition("\n")[0]
    delimiter = "\t" if kind == ".tsv" else ";" if head.count(";") > head.count(",") else ","
    limit = csv.field_size_limit(LONGEST_CELL)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        names: list[str] = []
        for cells in reader:
            if not cells:
                continue
            where = _line(path, reader.line_num)
            if not names:
                names = [name.strip() for name in cells]
            elif len(cells) != len(names):
                counts = len(cells), len(names)
                why = words("{} cells, the header has {}", "{} cellules, l'en-tête en a {}").format(*counts)
                raise damaged(path, f"{where}: {why}")
            else:
                yield where, dict(zip(names, cells, strict=True))
    except csv.Error as error:
        raise damaged(path, str(error)) from error
    finally:
        csv.field_size_limit(limit)


def _line_rows(path: Path, text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield _line(path, number), _object(path, number, line)


def _json_rows(path: Path, text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise damaged(path, str(error)) from error
    if isinstance(rows, dict):
        rows = next((value for value in rows.values() if isinstance(value, list)), None)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise damaged(path, words("it is no list of objects", "ce n'est pas une liste d'objets"))
    for number, row in enumerate(rows, start=1):
        yield _row(path, number), row


def _arrow_rows(path: Path, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise damaged(path, words("it is larger than 1 GiB", "il dépasse 1 Gio"))
        if kind == ".parquet":
            # Without threads of its own the library cannot bring down a process that ends while they are still alive.
            with pq.ParquetFile(path, pre_buffer=False) as file:
                table = file.read(use_threads=False)
        else:
            with pa.memory_map(str(path)) as file:
                table = pa.ipc.open_stream(file).read_all()
        for number, row in enumerate(table.to_pylist(), start=1):
            yield _row(path, number), row
    except (OSError, pa.ArrowException, ValueError) as error:
        raise damaged(path, str(error).splitlines()[0]) from error


def _object(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except RecursionError:
        row = words("nested too deeply", "imbrication trop profonde")
    except ValueError as error:
        row = str(error)
    if not isinstance(row, dict):
        why = row if isinstance(row, str) else words("no object", "pas un objet")
        raise BadInput(
            words(f"{path}, line {number}: not a prompt: {why}", f"{path}, ligne {number} : pas une question : {why}"),
            words("correct or remove that line", "corrigez ou retirez cette ligne"),
        )
    return row


def _line(path: Path, number: int) -> str:
    return words(f"{path}, line {number}", f"{path}, ligne {number}")


def _row(path: Path, number: int) -> str:
    return words(f"{path}, row {number}", f"{path}, rang {number}")


def damaged(path: Path, why: str) -> BadInput:
    """The refusal of a file whose rows cannot be read."""
    return BadInput(
        words(
            f"{path} cannot be read as a file of questions: {why}", f"{path} n'est pas un fichier de questions : {why}"
        ),
        words("take a sound copy of the file", "prenez une copie saine du fichier"),
    )
