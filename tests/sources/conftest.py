"""A small register and the real one, each opened once."""

from __future__ import annotations

from pathlib import Path

import pytest

from cornue.sources.register import Register
from cornue.sources.tables import Column, Table, read_tables

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "communes"
COLUMNS = (Column("nom", "TEXT"), Column("departement", "TEXT"), Column("population", "INTEGER"))
ROWS = (
    ("Saint-Étienne", "Loire", 173136),
    ("L'Haÿ-les-Roses", "Val-de-Marne", 31189),
    ("Œuilly", "Marne", 620),
    ("Lannion", "Côtes-d'Armor", 20040),
    ("Sans-Recensement", "Marne", None),
)


@pytest.fixture(scope="session")
def small() -> Register:
    """Five communes."""
    return Register("small", [Table("communes", COLUMNS, ROWS)])


@pytest.fixture(scope="session")
def table() -> Table:
    """The real table of communes."""
    return read_tables(RECIPE / "register.sqlite.xz")[0]


@pytest.fixture(scope="session")
def communes(table: Table) -> Register:
    """The real register."""
    return Register("register", [table])
