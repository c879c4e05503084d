"""Tables come out of every container alike, and damaged files are refused with a sentence."""

from __future__ import annotations

import csv
import gzip
import lzma
import sqlite3
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cornue.records.errors import BadInput
from cornue.sources.register import Register
from cornue.sources.tables import read_tables

ROWS = [("Ain", "01", 3, 1.5), ("Gard", "30", None, None)]


def write_sqlite(path: Path) -> Path:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE places (nom TEXT, code TEXT, count INTEGER, ratio REAL)")
    connection.executemany("INSERT INTO places VALUES (?, ?, ?, ?)", ROWS)
    connection.commit()
    connection.close()
    return path


def write_csv(path: Path, delimiter: str = ",") -> Path:
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([("nom", "code", "count", "ratio"), *ROWS])
    return path


def test_one_content_has_one_digest_in_every_container(tmp_path: Path) -> None:
    plain = write_sqlite(tmp_path / "places.sqlite")
    packed = tmp_path / "places.sqlite.xz"
    packed.write_bytes(lzma.compress(plain.read_bytes()))
    text = write_csv(tmp_path / "places.csv")
    semicolons = write_csv(tmp_path / "places.csv.gz", ";")
    semicolons.write_bytes(gzip.compress(semicolons.read_bytes()))
    digests = {Register.open(path).digest for path in (plain, packed, text, semicolons)}
    assert len(digests) == 1


def test_leading_zeros_stay(tmp_path: Path) -> None:
    table = read_tables(write_csv(tmp_path / "places.csv"))[0]
    assert [column.kind for column in table.columns] == ["TEXT", "TEXT", "INTEGER", "REAL"]
    assert table.rows[0] == ("Ain", "01", 3, 1.5)


def test_views_and_triggers_of_a_file_are_left_behind(tmp_path: Path) -> None:
    path = write_sqlite(tmp_path / "places.sqlite")
    connection = sqlite3.connect(path)
    connection.execute("CREATE VIEW everything AS SELECT * FROM places")
    connection.execute("CREATE TRIGGER t AFTER INSERT ON places BEGIN DELETE FROM places; END")
    connection.commit()
    connection.close()
    assert [table.name for table in read_tables(path)] == ["places"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("absent.csv", None, "absent.csv"),
        ("a.txt", b"x", "a.txt"),
        ("a.sqlite", b"not sqlite", "SQLite"),
        ("a.sqlite.xz", b"not xz", "a.sqlite.xz"),
        ("a.csv.gz", gzip.compress(b"a,b\n1,2\n", mtime=0)[:-9], "a.csv.gz"),
        ("a.csv", b"", "table"),
        ("a.csv", b"a,b\n1\n", "2"),
        ("a.csv", b"a,a\n1,2\n", "60"),
        ("a.csv", b"a,\n1,2\n", "60"),
        ("a.csv", b"\xff\xfe", "a.csv"),
        ("a.csv", b"a\n" + b"x" * 9000 + b"\n", "a.csv"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(tmp_path: Path, name: str, content: bytes | None, said: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadInput, match=said) as caught:
        Register.open(path)
    assert caught.value.remedy


def test_a_write_ahead_log_is_named_with_its_remedy(tmp_path: Path) -> None:
    path = write_sqlite(tmp_path / "places.sqlite")
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
    with pytest.raises(BadInput, match="journal_mode"):
        Register.open(path)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_a_damaged_file_is_refused_or_read_and_never_crashes(tmp_path: Path, data: st.DataObject) -> None:
    sound = (
        write_sqlite(tmp_path / "sound.sqlite")
        if not (tmp_path / "sound.sqlite").exists()
        else tmp_path / "sound.sqlite"
    )
    content = bytearray(sound.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged.sqlite"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        register = Register.open(path)
    except BadInput as error:
        assert error.remedy
    else:
        assert register.digest.startswith("sha256:")


@pytest.mark.parametrize("name", ["sqlite_x.csv", "1 table-au.csv", "select.csv"])
def test_any_file_name_gives_a_table_that_can_be_asked(tmp_path: Path, name: str) -> None:
    register = Register.open(write_csv(tmp_path / name))
    named = read_tables(tmp_path / name)[0].name
    assert register.query(f'SELECT COUNT(*) FROM "{named}"').rows == ((2,),)
