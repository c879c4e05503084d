"""One right answer serves a whole question form. Run: pytest tests/curate"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cornue.curate.carry import carry, exchange, skeleton
from cornue.records.samples import Message, Prompt, Sample
from cornue.verify.base import Value, Verifier

OLD = "-- communes du Morbihan de plus de 10 000 habitants\nSELECT nom FROM t WHERE d = 'Morbihan' AND p > 10000"


class Accepts(Verifier):
    """Finds right what equals the truth's query, in the last line."""

    name = "equal"

    def weigh(self, prompt: Prompt, text: str) -> tuple[Value, str]:
        right = text.splitlines()[-1] == (prompt.truth or {}).get("sql", "-- hors registre")
        return ("correct", "") if right else ("wrong", "")

    def gold(self, prompt: Prompt) -> str:
        return ""

    def spoilt(self, prompt: Prompt) -> str:
        return ""


def ask(text: str, sql: str = "", form: str = "f") -> Prompt:
    return Prompt.make((Message(role="user", content=text),), {"sql": sql} if sql else {"decline": True}, form=form)


def test_names_and_numbers_are_exchanged_in_words_and_query() -> None:
    new = exchange(OLD, ("Morbihan", "10000"), ("Côtes-d'Armor", "500"))
    assert new == (
        "-- communes du Côtes-d'Armor de plus de 500 habitants\n"
        "SELECT nom FROM t WHERE d = 'Côtes-d''Armor' AND p > 500"
    )


def test_an_answer_whose_words_name_something_else_is_not_carried() -> None:
    assert exchange(OLD.replace("10 000", "dix mille"), ("Morbihan", "10000"), ("Ain", "500")) is None


def test_an_answer_whose_query_lacks_a_name_is_not_carried() -> None:
    assert exchange("-- Morbihan, 10000\nSELECT 1", ("Morbihan", "10000"), ("Ain", "500")) is None


def test_two_names_may_change_places() -> None:
    text = "-- Lyon ou Nice\nSELECT nom FROM t WHERE nom IN ('Lyon', 'Nice')"
    assert exchange(text, ("Lyon", "Nice"), ("Nice", "Lyon")) == (
        "-- Nice ou Lyon\nSELECT nom FROM t WHERE nom IN ('Nice', 'Lyon')"
    )


def test_what_is_carried_has_been_judged_and_says_from_where() -> None:
    first = ask("Morbihan ?", "SELECT nom FROM t WHERE d = 'Morbihan' AND p > 10000")
    second = ask("Ain ?", "SELECT nom FROM t WHERE d = 'Ain' AND p > 7")
    other = ask("Ain !", "SELECT nom FROM t WHERE d = 'Ain' AND p < 7")
    found = list(carry([(first, Sample(prompt_id=first.id, text=OLD))], [second, other], Accepts()))
    assert [(example.prompt_id, example.carried_from) for example in found] == [(second.id, first.id)]
    assert found[0].completion.endswith("d = 'Ain' AND p > 7")


def test_a_refusal_is_carried_to_refusals_only() -> None:
    first, second, other = ask("maire de X"), ask("maire de Y"), ask("pop de Y", "SELECT 1")
    refusal = Sample(prompt_id=first.id, text="-- hors registre")
    assert [e.prompt_id for e in carry([(first, refusal)], [second, other], Accepts())] == [second.id]


@pytest.mark.parametrize("query, literals", [("SELECT 'a''b', 12 FROM t2", ("a'b", "12")), ("SELECT nom FROM t", ())])
def test_literals_are_read_as_sql_means_them(query: str, literals: tuple[str, ...]) -> None:
    assert skeleton(query).literals == literals


@given(st.text(max_size=60), st.lists(st.text(max_size=6), max_size=3))
def test_no_text_breaks_the_exchange(text: str, literals: list[str]) -> None:
    exchange(text + "\nSELECT 'x'", literals, literals[::-1])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("SELECT nom FROM t WHERE n > 5", "SELECT nom FROM t WHERE n < 5"),
        ("SELECT nom FROM t WHERE d IN ('a', 'b')", "SELECT nom FROM t WHERE d IN ('a', 'b', 'c')"),
    ],
)
def test_queries_that_compare_otherwise_are_no_siblings(one: str, other: str) -> None:
    assert skeleton(one).shape != skeleton(other).shape
