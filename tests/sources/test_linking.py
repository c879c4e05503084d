"""Names in a query are put right by the question and the register, and by nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cornue.sources.linking import COMPARED, LITERAL, link
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
        ("Saint-Denis", "qui habite saint denis d'oleron", "Saint-Denis-d''Oléron"),
        ("Tarn-C''est-Audenge", "la plus grande du tarn c'est audenge ?", "Tarn"),
    ],
)
def test_a_misspelt_name_becomes_the_one_that_was_asked_about(written: str, question: str, meant: str) -> None:
    assert link(where(written), question, REGISTER) == where(meant)


@pytest.mark.parametrize(
    ("written", "question"),
    [
        ("audenge", "Combien d'habitants à Audenge ?"),
        ("Audege", "Combien d'habitants à Arcachon ?"),
        ("Lutèce", "Combien d'habitants à Lutèce, près d'Audenge ?"),
        ("Lutèce", "Combien d'habitants à Audenge et dans le Var ?"),
        ("%Aud%", "communes avec Audenge dans le nom"),
        ("33020", "code 33019, Audenge"),
    ],
)
def test_what_is_held_or_was_not_asked_stays(written: str, question: str) -> None:
    assert link(where(written), question, REGISTER) == where(written)


def test_a_name_that_is_right_already_is_not_used_twice() -> None:
    query = "SELECT nom FROM communes WHERE nom IN ('Tarn', 'Vare')"
    assert link(query, "tarn ou var ?", REGISTER) == query.replace("Vare", "Var")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("code = 'Tarn'", "nom = 'Tarn'"),
        ("code IN ('tarn', 'Var')", "nom IN ('tarn', 'Var')"),
        ("nom <> '33019'", "code <> '33019'"),
        ("code = 'Audege'", "nom = 'Audenge'"),
    ],
)
def test_a_name_is_looked_for_in_the_column_that_holds_it(written: str, meant: str) -> None:
    asked = "Audenge, Tarn, Var"
    assert link(f"SELECT nom FROM communes WHERE {written}", asked, REGISTER) == (
        f"SELECT nom FROM communes WHERE {meant}"
    )


@pytest.mark.parametrize("written", ["nom = 'Tarn'", "code IN ('Tarn', '33019')", "code = 'Lutèce'", "area = 'Tarn'"])
def test_a_column_stays_where_it_holds_the_name_or_no_other_does(written: str) -> None:
    query = f"SELECT nom FROM communes WHERE {written}"
    assert link(query, "", REGISTER) == query


def test_of_several_columns_the_one_that_holds_a_name_most_often_is_meant() -> None:
    places = Table(
        "places",
        (Column("town", "TEXT"), Column("area", "TEXT"), Column("code", "TEXT")),
        (("Lot", "Lot", "1"), ("Aude", "Lot", "2")),
    )
    query = "SELECT town FROM places WHERE code = 'Lot'"
    assert link(query, "", Register("places", [places])) == query.replace("code", "area")


def test_a_question_that_names_one_thing_is_about_that() -> None:
    assert link(where("Lutèce"), "Combien d'habitants à Audenge ?", REGISTER) == where("Audenge")


def test_an_apostrophe_is_doubled_where_the_query_could_not_be_read() -> None:
    asked = "saint denis d'oléron et l'hay les roses"
    broken = "SELECT nom FROM communes WHERE nom IN ('Saint-Denis-d'Oléron', 'L'Haÿ-les-Roses')"
    assert len(REGISTER.query(link(broken, asked, REGISTER)).rows) == 2


@pytest.mark.parametrize("query", ["SELECT 'a'AS b", "SELECT nom FROM communes WHERE nom = 'd'Azur", "x'y'z"])
def test_an_apostrophe_stays_where_the_query_can_be_read_or_cannot_be_mended(query: str) -> None:
    assert link(query, "", REGISTER) == query


@given(st.text(max_size=80), st.text(max_size=80))
def test_nothing_but_literals_and_what_they_are_compared_with_ever_changes(query: str, question: str) -> None:
    def rest(text: str) -> str:
        return COMPARED.sub(lambda match: "?" + LITERAL.sub("?", match["sign"] + match["values"]), text)

    assert LITERAL.sub("?", rest(link(query, question, REGISTER))) == LITERAL.sub("?", rest(query))
