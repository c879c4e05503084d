"""A register of three towns. Run: pytest tests/verify"""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from cornue.sources.register import Register

ROWS = [("Vannes", "Morbihan", 54020), ("Lorient", "Morbihan", 57246), ("Brest", "Finistère", 139619)]


@pytest.fixture(scope="module")
def register(tmp_path_factory: pytest.TempPathFactory) -> Register:
    path: Path = tmp_path_factory.mktemp("register") / "towns.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE communes (nom TEXT, departement TEXT, population INTEGER)")
        connection.executemany("INSERT INTO communes VALUES (?, ?, ?)", ROWS)
    connection.close()
    return Register.open(path)
