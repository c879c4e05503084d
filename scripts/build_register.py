"""Builds the register of French communes from the npm package @etalab/decoupage-administratif 6.0.0.

    python scripts/build_register.py etalab-decoupage-administratif-6.0.0.tgz

It reads the package file, checks its digest, and writes one flat table. It downloads nothing, and it leaves out former
communes, municipal arrondissements and the overseas collectivities, which are not departments.
"""

from __future__ import annotations

import argparse
import json
import lzma
import sqlite3
import sys
import tarfile
from pathlib import Path
from typing import Any

from cornue.records.digests import digest_file

PACKAGE = "@etalab/decoupage-administratif 6.0.0"
PACKAGE_DIGEST = "sha256:c189ffd5b33fe40c2f19e1a923ce557f190622f39228745d3195d746dfe00c4a"
TARGET = Path(__file__).resolve().parent.parent / "recipes" / "communes" / "register.sqlite.xz"
TABLE = """CREATE TABLE communes (
  nom TEXT,
  departement TEXT,
  numero_departement TEXT,
  region TEXT,
  population INTEGER,
  codes_postaux TEXT,
  code_insee TEXT,
  prefecture INTEGER
)"""
# SQLite writes its own version into bytes 96-99 of the header; a constant keeps the bytes equal on every machine.
HEADER_VERSION = slice(96, 100)
WRITTEN_VERSION = (3040001).to_bytes(4, "big")


def read_package(path: Path) -> dict[str, list[dict[str, Any]]]:
    """The package's tables by name, after its digest has been checked."""
    found = digest_file(path)
    if found != PACKAGE_DIGEST:
        sys.exit(f"{path} is not {PACKAGE}: its digest is {found}, expected {PACKAGE_DIGEST}")
    tables = {}
    with tarfile.open(path) as archive:
        for name in ("communes", "departements", "regions"):
            member = archive.extractfile(f"package/data/{name}.json")
            if member is None:
                sys.exit(f"{path} holds no {name}.json")
            tables[name] = json.load(member)
    return tables


def make_rows(tables: dict[str, list[dict[str, Any]]]) -> list[tuple[str | int | None, ...]]:
    """One row per current commune of a department, in the order of INSEE codes."""
    departements = {row["code"]: row for row in tables["departements"] if row["zone"] != "com"}
    regions = {row["code"]: row["nom"] for row in tables["regions"]}
    seats = {row["chefLieu"] for row in departements.values()}
    rows: list[tuple[str | int | None, ...]] = []
    for commune in tables["communes"]:
        departement = departements.get(commune["departement"])
        if commune["type"] != "commune-actuelle" or departement is None:
            continue
        rows.append(
            (
                commune["nom"],
                departement["nom"],
                departement["code"],
                regions[departement["region"]],
                commune.get("population"),
                " ".join(sorted(commune.get("codesPostaux", []))),
                commune["code"],
                int(commune["code"] in seats),
            )
        )
    return sorted(rows, key=lambda row: str(row[6]))


def make_database(rows: list[tuple[str | int | None, ...]]) -> bytes:
    """A SQLite file with the rows, the same bytes on every machine."""
    connection = sqlite3.connect(":memory:")
    connection.execute("PRAGMA page_size = 4096")
    connection.execute(TABLE)
    connection.executemany("INSERT INTO communes VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
    connection.commit()
    data = bytearray(connection.serialize())
    data[HEADER_VERSION] = WRITTEN_VERSION
    return bytes(data)


def main() -> None:
    """Builds the register and says what it holds."""
    parser = argparse.ArgumentParser(description=f"Build the register of communes from {PACKAGE}.")
    parser.add_argument("package", type=Path, help="the package file (.tgz) as npm serves it")
    parser.add_argument("--to", type=Path, default=TARGET, help="where to write (.sqlite.xz)")
    arguments = parser.parse_args()
    rows = make_rows(read_package(arguments.package))
    arguments.to.write_bytes(lzma.compress(make_database(rows), preset=9 | lzma.PRESET_EXTREME))
    print(f"{len(rows)} communes, {arguments.to.stat().st_size} bytes, {digest_file(arguments.to)}")


if __name__ == "__main__":
    main()
