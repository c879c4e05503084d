"""The register answers, refuses everything but reading, and ends in time."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cornue.sources.register import QueryError, Register
from cornue.sources.tables import Column, Table

LONG = "REPLACE(REPLACE(REPLACE('aaaaaaaaaa','a','aaaaaaaaaa'),'a','aaaaaaaaaa'),'a','aaaaaaaaa')"
ENDLESS = f"WITH RECURSIVE a(x, n) AS (SELECT {LONG}, 1 UNION ALL SELECT x, n + 1 FROM a) SELECT"
LANGUAGE = """
SELECT WITH RECURSIVE x AS ( ) , * FROM communes nom population WHERE = LIKE '%a%' ; DELETE UPDATE SET INSERT INTO
VALUES DROP TABLE CREATE TEMP VIEW ATTACH ':memory:' PRAGMA writable_schema query_only OFF VACUUM REINDEX ALTER 1 UNION
ALL COUNT ORDER BY LIMIT RETURNING -- /* */ BEGIN COMMIT ROLLBACK EXPLAIN sqlite_master randomblob zeroblob
"""


def test_names_match_whatever_their_spelling(small: Register) -> None:
    assert small.query("SELECT nom FROM communes WHERE departement = 'cotes d armor'").rows == (("Lannion",),)
    assert small.query("SELECT population FROM communes WHERE nom = 'st etienne'").rows == ((173136,),)


def test_like_ignores_accents(small: Register) -> None:
    assert small.query("SELECT nom FROM communes WHERE nom LIKE 'oeu%'").rows == (("Œuilly",),)


def test_codes_ignore_case_and_keep_their_zeros() -> None:
    table = Table("t", (Column("code", "TEXT"), Column("nom", "TEXT")), (("2A004", "Ajaccio"), ("01001", "1er-Mai")))
    register = Register("r", [table])
    assert register.query("SELECT nom FROM t WHERE code = '2a004'").rows == (("Ajaccio",),)
    assert register.query("SELECT code FROM t WHERE nom = '1ER mai'").rows == (("01001",),)
    assert register.query("SELECT nom FROM t WHERE code = '1001'").rows == ()


def test_groups_and_columns_are_named(small: Register) -> None:
    answer = small.query("SELECT departement AS d, COUNT(*) FROM communes GROUP BY departement ORDER BY d LIMIT 1")
    assert answer.columns == ("d", "COUNT(*)")
    assert answer.rows == (("Côtes-d'Armor", 1),)


def test_rows_beyond_the_limit_are_cut_and_said_so(small: Register) -> None:
    answer = small.query("SELECT nom FROM communes", rows=2)
    assert (len(answer.rows), answer.truncated) == (2, True)
    assert not small.query("SELECT nom FROM communes", rows=5).truncated


def test_each_row_once_and_how_often_it_came(small: Register) -> None:
    every = small.query("SELECT departement FROM communes")
    once = small.query("SELECT departement FROM communes", once=True)
    counted = Counter(every.rows)
    assert dict(zip(once.rows, once.times, strict=True)) == counted
    assert list(once.rows) == list(counted)
    assert every.times == ()


def test_comments_before_the_query_are_allowed(small: Register) -> None:
    assert small.query("-- combien ?\n/* en tout */ SELECT COUNT(*) FROM communes").rows == ((5,),)


@pytest.mark.parametrize(
    "sql",
    [
        "",
        "DELETE FROM communes",
        "UPDATE communes SET population = 0",
        "DROP TABLE communes",
        "CREATE TABLE t (a)",
        "ATTACH ':memory:' AS other",
        "PRAGMA query_only = OFF",
        "VACUUM INTO '/nowhere/copy'",
        "EXPLAIN SELECT 1",
        "SELECT 1; DROP TABLE communes",
        "SELECT * FROM sqlite_master",
        "SELECT * FROM pragma_table_info('communes')",
        "SELECT load_extension('x')",
        "SELECT random()",
        "SELECT mayor FROM communes",
        "SELECT 'open",
        "SELECT '\0'",
        "SELECT '\ud800'",
        "WITH a AS (SELECT 1) DELETE FROM communes",
        "SELECT " + "1," * 3000 + "1",
    ],
)
def test_anything_but_one_select_is_refused_with_a_reason(small: Register, sql: str) -> None:
    with pytest.raises(QueryError) as caught:
        small.query(sql)
    assert str(caught.value)


@pytest.mark.parametrize(
    "sql",
    [
        "WITH RECURSIVE a(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM a) SELECT COUNT(*) FROM a",
        f"{ENDLESS} x || n AS y FROM a ORDER BY y",
        f"{ENDLESS} SUM(x LIKE '%a_a_a_a_a_a_ab%') FROM a",
        f"{ENDLESS} SUM(INSTR(x, SUBSTR(x, 9) || 'b')) FROM a",
        "WITH RECURSIVE a(x) AS (SELECT 'aaaaaaaaaa' UNION ALL SELECT x || x FROM a) SELECT LENGTH(x) FROM a",
        "SELECT zeroblob(1000000000)",
        "SELECT printf('%.1000000000c', 'a')",
    ],
)
def test_bombs_end_in_time(small: Register, sql: str) -> None:
    start = time.thread_time()
    with pytest.raises(QueryError):
        small.query(sql, seconds=0.1)
    assert time.thread_time() - start < 1.5


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.sampled_from(LANGUAGE.split()), max_size=14).map(" ".join) | st.text(max_size=30))
def test_no_query_changes_the_content(small: Register, sql: str) -> None:
    try:
        small.query(sql, seconds=0.02)
    except QueryError as error:
        assert str(error)
    assert small.query("SELECT COUNT(*), SUM(population) FROM communes").rows == ((5, 224985),)
    assert small.query("SELECT nom FROM communes WHERE population IS NULL").rows == (("Sans-Recensement",),)


def test_a_stopped_query_leaves_the_register_usable(small: Register) -> None:
    with pytest.raises(QueryError, match=r"too long|durait trop"):
        small.query(
            "WITH RECURSIVE a(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM a) SELECT x FROM a WHERE x < 0", seconds=0
        )
    assert small.query("SELECT COUNT(*) FROM communes").rows == ((5,),)


def test_threads_take_turns(small: Register) -> None:
    names = [row[0] for row in small.query("SELECT nom FROM communes").rows]
    ask = "SELECT nom FROM communes WHERE nom = '{}'"
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda name: small.query(ask.format(name.replace("'", "''"))).rows[0][0], names * 40))
    assert found == names * 40


def test_the_digest_does_not_depend_on_the_order_of_rows(small: Register) -> None:
    columns = (Column("a", "TEXT"), Column("b", "INTEGER"))
    rows = (("x", 1), ("y", None))
    one, other = (Register("r", [Table("t", columns, order)]) for order in (rows, rows[::-1]))
    assert one.digest == other.digest
    assert one.digest != Register("r", [Table("t", columns, (("x", 2), ("y", None)))]).digest
    assert one.digest != small.digest


def test_the_schema_shows_a_complete_example_row(small: Register) -> None:
    assert small.schema.startswith("CREATE TABLE communes (\n  nom TEXT,")
    assert small.schema.endswith("-- Saint-Étienne | Loire | 173136")


def test_numbers_that_json_cannot_say_become_texts(small: Register) -> None:
    assert small.query("SELECT 9e999, x'ff'").rows == (("inf", "ff"),)
