"""The verifier of queries: what finds the same is right, however it is written. Run: pytest tests/verify"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cornue.records.errors import CheckFailed
from cornue.records.samples import Message, Prompt, Sample
from cornue.sources.register import Register
from cornue.verify.sql import SqlVerifier, declines, find_query


@pytest.fixture(scope="module")
def verifier(register: Register) -> SqlVerifier:
    return SqlVerifier(register)


def ask(sql: str = "", *, ordered: bool = False) -> Prompt:
    truth = {"sql": sql, "ordered": ordered} if sql else {"decline": True}
    return Prompt.make((Message(role="user", content="?"),), truth)


def value(verifier: SqlVerifier, prompt: Prompt, text: str, **rest: str) -> str:
    return verifier.judge(prompt, Sample(prompt_id=prompt.id, text=text, **rest)).value


def test_another_query_with_equal_rows_is_correct(verifier: SqlVerifier) -> None:
    prompt = ask("SELECT nom FROM communes WHERE population > 100000")
    assert (
        value(verifier, prompt, "-- la plus grande\nSELECT nom FROM communes WHERE departement = 'finistere'")
        == "correct"
    )


def test_other_rows_are_wrong(verifier: SqlVerifier) -> None:
    assert value(verifier, ask("SELECT nom FROM communes"), "SELECT nom FROM communes LIMIT 2") == "wrong"


def test_order_counts_only_where_it_is_asked(verifier: SqlVerifier) -> None:
    truth = "SELECT nom FROM communes ORDER BY population DESC"
    reversed_rows = "SELECT nom FROM communes ORDER BY population"
    assert value(verifier, ask(truth), reversed_rows) == "correct"
    assert value(verifier, ask(truth, ordered=True), reversed_rows) == "wrong"


def test_a_row_that_comes_again_says_nothing_new(verifier: SqlVerifier) -> None:
    truth = ask("SELECT DISTINCT departement FROM communes")
    assert value(verifier, truth, "SELECT departement FROM communes") == "correct"
    assert value(verifier, truth, "SELECT departement FROM communes LIMIT 2") == "wrong"


def test_what_is_judged_is_what_would_be_shown(verifier: SqlVerifier) -> None:
    truth = ask("SELECT nom FROM communes WHERE departement = 'Morbihan'")
    text = "-- Morbihan\nSELECT nom FROM communes WHERE nom = 'Morbihan'"
    assert value(verifier, truth, text) == "correct"
    assert verifier.put_right(truth, text) == "-- Morbihan\nSELECT nom FROM communes WHERE departement = 'Morbihan'"
    assert verifier.put_right(truth, "-- hors registre") == "-- hors registre"


def test_two_more_columns_may_stand_beside_the_answer(verifier: SqlVerifier) -> None:
    truth = ask("SELECT nom FROM communes WHERE population > 100000")
    assert value(verifier, truth, "SELECT population, nom FROM communes WHERE nom = 'Brest'") == "correct"
    assert value(verifier, truth, "SELECT nom, 1, 2, 3 FROM communes WHERE nom = 'Brest'") == "wrong"


def test_declining_is_right_only_where_the_register_does_not_know(verifier: SqlVerifier) -> None:
    assert value(verifier, ask(), "-- hors registre") == "correct"
    assert value(verifier, ask("SELECT nom FROM communes"), "-- hors registre") == "wrong"


def test_a_query_to_an_unanswerable_question_is_wrong(verifier: SqlVerifier) -> None:
    assert value(verifier, ask(), "-- hors registre\nSELECT nom FROM communes") == "wrong"


@pytest.mark.parametrize(
    "text",
    [
        "DROP TABLE communes",
        "SELECT nom FROM communes; DELETE FROM communes",
        "SELECT nom FROM communes WHERE nom = ''; DROP TABLE communes; --'",
        "ATTACH DATABASE 'x' AS y",
        "SELECT load_extension('x')",
        "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT COUNT(*) FROM c",
    ],
)
def test_what_is_not_a_small_reading_query_is_wrong_and_changes_nothing(verifier: SqlVerifier, text: str) -> None:
    before = verifier.register.query("SELECT * FROM communes").rows
    verifier.seconds = 0.3
    assert value(verifier, ask("SELECT nom FROM communes"), text) == "wrong"
    assert verifier.register.query("SELECT * FROM communes").rows == before


def test_a_failed_answer_is_unknown_and_a_cut_one_wrong(verifier: SqlVerifier) -> None:
    prompt = ask("SELECT nom FROM communes")
    assert value(verifier, prompt, "", error="engine: gone", finish="error") == "unknown"
    assert value(verifier, prompt, "SELECT nom FROM communes", finish="length") == "wrong"


def test_a_truth_that_does_not_run_makes_the_verdict_unknown(verifier: SqlVerifier) -> None:
    assert value(verifier, ask("SELECT maire FROM communes"), "SELECT nom FROM communes") == "unknown"


def test_the_verifier_proves_itself_on_sound_truths_and_refuses_a_broken_one(verifier: SqlVerifier) -> None:
    sound = [ask("SELECT nom FROM communes"), ask()]
    assert verifier.prove(sound) == 2
    with pytest.raises(CheckFailed, match="sql"):
        verifier.prove([ask("SELECT maire FROM communes")])


@given(st.text(max_size=200))
def test_no_text_breaks_the_reader(text: str) -> None:
    found = find_query(text)
    assert found is None or found in text
    assert not (declines(text) and found)
