"""What the register alone tells of an answer, and what becomes of one that is in doubt. Run: pytest tests/verify"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cornue.sources.register import Register
from cornue.verify.doubts import TRIES, doubt, settle
from cornue.verify.sql import REFUSAL, declines

SOUND = "-- vannes\nSELECT population FROM communes WHERE nom = 'Vannes'"
FAILS = "SELECT habitants FROM communes WHERE nom = 'Vannes'"
ABSENT = "SELECT COUNT(*) FROM communes WHERE departement = 'Var-de-Calais'"
NOTHING = "SELECT nom FROM communes WHERE departement = 'Morbihan' AND population > 99999"
SILENT = "I wonder."
ASKED = "population de vannes"


@pytest.mark.parametrize(
    "text, kind",
    [
        (SOUND, None),
        (REFUSAL, None),
        (FAILS, "wrong"),
        (ABSENT, "wrong"),
        (SILENT, None),
        (NOTHING, "odd"),
        ("SELECT SUM(population) FROM communes WHERE population > 1000000", "odd"),
        ("SELECT COUNT(*) FROM communes WHERE nom = 'Brest' AND departement = 'Morbihan'", None),
        ("SELECT nom FROM communes WHERE nom IN ('Vannes', 'Berst')", "wrong"),
    ],
)
def test_the_register_tells_what_cannot_be_right(register: Register, text: str, kind: str | None) -> None:
    found = doubt(text, "combien ?", register)
    assert (found and found.kind) == kind


def test_a_name_that_the_question_spells_is_put_right_before_it_is_doubted(register: Register) -> None:
    assert doubt("SELECT population FROM communes WHERE nom = 'Vanne'", ASKED, register) is None


def test_an_answer_without_doubt_stays_and_nobody_is_asked(register: Register) -> None:
    def never(places: Sequence[int], attempt: int) -> list[str]:
        raise AssertionError((places, attempt))

    assert settle([ASKED, "le maire ?"], [SOUND, REFUSAL], never, register) == [SOUND, REFUSAL]


def test_only_what_is_in_doubt_is_asked_again_until_it_is_not(register: Register) -> None:
    asked: list[tuple[tuple[int, ...], int]] = []

    def again(places: Sequence[int], attempt: int) -> list[str]:
        asked.append((tuple(places), attempt))
        return [SOUND if attempt == place else FAILS for place in places]

    first = [SOUND, FAILS, ABSENT]
    assert settle([ASKED, ASKED, "combien ?"], first, again, register) == [SOUND, SOUND, SOUND]
    assert asked == [((1, 2), 1), ((2,), 2)]


def test_what_stays_wrong_becomes_a_refusal_and_what_is_merely_odd_stays(register: Register) -> None:
    texts = {0: ABSENT, 1: NOTHING, 2: FAILS}
    tries: list[int] = []

    def again(places: Sequence[int], attempt: int) -> list[str]:
        tries.append(attempt)
        return [NOTHING if (place, attempt) == (2, TRIES) else texts[place] for place in places]

    settled = settle(["combien ?"] * 3, list(texts.values()), again, register)
    assert settled == [REFUSAL, NOTHING, NOTHING]
    assert tries == list(range(1, TRIES + 1))


@given(st.lists(st.lists(st.sampled_from([SOUND, FAILS, ABSENT, NOTHING]), min_size=TRIES + 1), max_size=4))
def test_nothing_that_is_surely_wrong_is_ever_settled_on(register: Register, written: list[list[str]]) -> None:
    def again(places: Sequence[int], attempt: int) -> list[str]:
        return [written[place][attempt] for place in places]

    for text in settle([ASKED] * len(written), [texts[0] for texts in written], again, register):
        found = doubt(text, ASKED, register)
        assert declines(text) or found is None or found.kind == "odd"


@pytest.mark.parametrize("text", [FAILS, ABSENT, NOTHING])
def test_people_are_told_why_in_their_language(register: Register, text: str) -> None:
    found = doubt(text, "combien ?", register)
    assert found
    assert found.told(french=True).startswith("Question reposée")
    assert found.told(french=False).startswith("Asked again")
    assert "Var-de-Calais" in found.told(french=False) or text != ABSENT
