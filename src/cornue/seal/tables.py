"""Records in Parquet: one row per record, columns named after its fields.

Messages become lists of structures, so that any Parquet reader shows them; dictionaries become JSON text, since their
keys differ from row to row. The same records give the same bytes.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ValidationError

from cornue.records.errors import BadInput
from cornue.records.words import words
from cornue.seal.write import write_bytes

R = TypeVar("R", bound=BaseModel)


def write_records(path: Path, records: Iterable[BaseModel], kind: type[BaseModel]) -> int:
    """Write records of one kind; returns how many there were."""
    rows = [_flat(record) for record in records]
    columns = {name: [row[name] for row in rows] for name in kind.model_fields}
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns) if rows else pa.table({}), buffer, compression="zstd", compression_level=9)
    write_bytes(path, buffer.getvalue())
    return len(rows)


def read_records(path: Path, kind: type[R]) -> Sequence[R]:
    """Read records of one kind.

    Raises:
        BadInput: the file is missing, is not Parquet, or does not hold such records.
    """
    try:
        # Without threads of its own the library cannot bring down a process that ends while they are still alive.
        table = pq.ParquetFile(io.BytesIO(path.read_bytes()), pre_buffer=False).read(use_threads=False)
        rows = table.to_pylist()
        return [kind.model_validate(_deep(row)) for row in rows]
    except (OSError, pa.ArrowException, ValidationError, ValueError) as error:
        raise BadInput(
            words(
                en=f"{path} does not hold readable {kind.__name__} records: {str(error).splitlines()[0]}.",
                fr=f"{path} ne contient pas d'enregistrements {kind.__name__} lisibles : {str(error).splitlines()[0]}.",
            ),
            words(
                en="Delete the folder it lies in and run again; what came before it is kept.",
                fr="Supprimez le dossier qui le contient et relancez ; ce qui précède est conservé.",
            ),
        ) from None


def _flat(record: BaseModel) -> dict[str, Any]:
    row = record.model_dump(mode="json")
    return {name: json.dumps(v, ensure_ascii=False) if isinstance(v, dict) else v for name, v in row.items()}


def _deep(row: dict[str, Any]) -> dict[str, Any]:
    is_json = {"truth", "facts", "detail"}
    return {name: json.loads(v) if name in is_json and isinstance(v, str) else v for name, v in row.items()}
