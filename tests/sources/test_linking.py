"""Names in a query are put right by the question and the register, and by nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cornue.sources.linking import LITERAL, link
from cornue.sources.register import Register
from cornue.sources.tables import Column, Table

NAMES = ("Audenge", "Le Puy-en-Velay", "L'Haÿ-les-Roses", "Saint-Denis", "Saint-Denis-d'Oléron", "Tarn", "Var")
TOWNS = Table("communes", (Column("nom", "TEXT"), Column("code", "TEXT")), tuple((name, "33019") for name in NAMES))
REGISTER = Register("towns", [TOWNS])


def where(name: str) -> str:
    return f"SELECT nom FROM communes WHERE nom = '{name}'"


@pytest.mark.parametrize(
    ("written", "question", "meant"),
    [
        ("Audege", "Combien d'habitants à Audenge ?", "Audenge"),
        ("Audege", "combien dhabitants a audenge", "Audenge"),
        ("Puy en Velai", "population du puy en velay, le puy en velay", "Le Puy-en-Velay"),
        ("L''Haye-les-Roses", "l'hay les roses : population", "L''Haÿ-les-Roses"),
        ("Saint-Deni", "qui habite saint denis d'oleron", "Saint-Denis-d''Oléron"),
    ],
)
def test_a_misspelt_name_becomes_the_one_that_was_asked_about(written: str, question: str, meant: str) -> None:
    assert link(where(written), question, REGISTER) == where(meant)


@pytest.mark.parametrize(
    ("written", "question"),
    [
        ("audenge", "Combien d'habitants à Audenge ?"),
        ("Audege", "Combien d'habitants à Arcachon ?"),
        ("Lutèce", "Combien d'habitants à Audenge ?"),
        ("%Aud%", "communes avec Audenge dans le nom"),
        ("33020", "code 33019, Audenge"),
    ],
)
def test_what_is_held_or_was_not_asked_stays(written: str, question: str) -> None:
    assert link(where(written), question, REGISTER) == where(written)


def test_a_name_that_is_right_already_is_not_used_twice() -> None:
    query = "SELECT nom FROM communes WHERE nom IN ('Tarn', 'Vare')"
    assert link(query, "tarn ou var ?", REGISTER) == query.replace("Vare", "Var")


@given(st.text(max_size=80), st.text(max_size=80))
def test_nothing_but_literals_ever_changes(query: str, question: str) -> None:
    assert LITERAL.sub("?", link(query, question, REGISTER)) == LITERAL.sub("?", query)
