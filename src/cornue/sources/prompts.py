"""Prompts on disk: our own form, one JSON object a line, and the forms in which others keep questions.

Others are CSV, JSON lines, JSON, Parquet, a data set folder of the Hugging Face hub, and a list of tasks to be made. It
reads and writes; it does not choose among prompts. The same prompts give the same bytes.
"""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cornue.records.digests import canonical_json
from cornue.records.errors import BadInput
from cornue.records.samples import Prompt, Split
from cornue.records.words import words
from cornue.sources.files import kind_of, read_rows
from cornue.sources.hub_folder import read_folder
from cornue.sources.rows import prompts_of_rows
from cornue.sources.tasks import read_tasks

Placed = tuple[str, Split | None, dict[str, Any]]


def read_prompts(path: str | Path, columns: Mapping[str, str] | None = None) -> list[Prompt]:
    """The prompts of a file or folder, in its order.

    Args:
        columns: which columns hold what, where they are not called by a usual name; see ``prompts_of_rows``.

    Raises:
        BadInput: if something is missing or damaged, a row is no prompt, or two rows ask the same.
    """
    path, columns = Path(path), columns or {}
    if kind_of(path) == ".toml":
        return prompts_of_rows(read_tasks(path), {}, path.name)
    if path.is_dir():
        rows: Iterator[Placed] = read_folder(path)
    else:
        rows = ((place, None, row) for place, row in read_rows(path))
    first = next(rows, None)
    if first is None:
        return []
    rows = chain([first], rows)
    if not columns and "id" in first[2] and set(first[2]) <= set(Prompt.model_fields):
        return _own(rows)
    return prompts_of_rows(rows, columns, path.name)


def write_prompts(path: str | Path, prompts: Iterable[Prompt]) -> None:
    """Writes prompts, replacing the file at once; ``.xz`` and ``.gz`` compress."""
    path = Path(path)
    data = b"".join(canonical_json(prompt.model_dump()) + b"\n" for prompt in prompts)
    if _packing(path) == ".xz":
        data = lzma.compress(data, preset=9 | lzma.PRESET_EXTREME)
    elif _packing(path) == ".gz":
        data = gzip.compress(data, mtime=0)
    beside = path.with_name(path.name + ".part")
    beside.write_bytes(data)
    beside.replace(path)


def _packing(path: Path) -> str:
    return path.suffix if path.suffix in (".xz", ".gz") else ""


def _own(rows: Iterable[Placed]) -> list[Prompt]:
    """Prompts in our own form."""
    prompts: list[Prompt] = []
    seen: dict[str, str] = {}
    for place, _, row in rows:
        try:
            prompt = Prompt.model_validate(row)
        except ValidationError as error:
            first = error.errors()[0]
            raise _refuse(place, f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from error
        if prompt.id in seen:
            raise _refuse(place, words(f"the same prompt as {seen[prompt.id]}", f"la même que {seen[prompt.id]}"))
        seen[prompt.id] = place
        prompts.append(prompt)
    return prompts


def _refuse(place: str, why: str) -> BadInput:
    return BadInput(
        words(f"{place}: not a prompt: {why}", f"{place} : pas une question : {why}"),
        words("correct or remove that line", "corrigez ou retirez cette ligne"),
    )
