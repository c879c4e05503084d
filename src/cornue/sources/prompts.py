"""Prompts on disk: one JSON object a line, plain or compressed with xz or gzip.

It reads and writes; it neither makes prompts nor chooses among them. The same prompts give the same bytes.
"""

from __future__ import annotations

import gzip
import json
import lzma
from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from cornue.records.digests import canonical_json
from cornue.records.errors import BadInput
from cornue.records.samples import Prompt
from cornue.records.words import words
from cornue.sources.tables import read_bytes


def read_prompts(path: str | Path) -> list[Prompt]:
    """The prompts of a file, in its order.

    Raises:
        BadInput: if the file is missing or damaged, a line is no prompt, or two prompts have the same id.
    """
    path = Path(path)
    try:
        lines = read_bytes(path, _packing(path)).decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise _refuse(path, 0, str(error)) from error
    prompts: list[Prompt] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        prompt = _read_line(path, number, line)
        if prompt.id in seen:
            why = words("the same prompt as line {}", "la même question qu'à la ligne {}").format(seen[prompt.id])
            raise _refuse(path, number, why)
        seen[prompt.id] = number
        prompts.append(prompt)
    return prompts


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


def _read_line(path: Path, number: int, line: str) -> Prompt:
    try:
        return Prompt.model_validate(json.loads(line))
    except json.JSONDecodeError as error:
        raise _refuse(path, number, error.msg) from error
    except ValidationError as error:
        first = error.errors()[0]
        raise _refuse(path, number, f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from error
    except RecursionError as error:
        raise _refuse(path, number, words("nested too deeply", "imbrication trop profonde")) from error


def _refuse(path: Path, number: int, why: str) -> BadInput:
    return BadInput(
        words(f"{path}, line {number}: not a prompt: {why}", f"{path}, ligne {number} : pas une question : {why}"),
        words("correct or remove that line", "corrigez ou retirez cette ligne"),
    )
