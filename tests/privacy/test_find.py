"""Personal data is refused, replaced or flagged, and never repeated."""

from __future__ import annotations

import importlib.util

import pytest

from cornue.privacy.check_digits import Found, find_identifiers
from cornue.privacy.find import Placeholders, find, find_by_rules, shield
from cornue.records.errors import Refused

IBAN = "FR76 3000 6000 0112 3456 7890 189"
NIR = "1 85 05 78 006 084 91"
TEXT = f"Je suis Claire Martin, mon IBAN est {IBAN}, mon numéro {NIR}. Encore : fr7630006000011234567890189."

installed = pytest.mark.skipif(
    importlib.util.find_spec("euredact") is None, reason="the extra cornue[privacy] is absent"
)


def nothing(text: str) -> list[Found]:
    return []


def the_name(text: str) -> list[Found]:
    place = text.find("Claire Martin")
    return [Found("person_name", place, place + 13)] if place >= 0 else []


def test_a_refusal_names_kind_and_place_and_no_value() -> None:
    with pytest.raises(Refused) as caught:
        shield(TEXT, "refuse", finder=nothing)
    said = str(caught.value)
    assert "iban" in said and "nir" in said and str(TEXT.index(IBAN) + 1) in said
    assert "3000" not in said and "006" not in said


def test_the_same_value_gets_the_same_placeholder_however_written() -> None:
    shielded = shield(TEXT, "replace", finder=nothing)
    assert shielded.text == "Je suis Claire Martin, mon IBAN est [IBAN_1], mon numéro [NIR_1]. Encore : [IBAN_1]."
    assert shielded.counts == {"iban": 2, "nir": 1}


def test_placeholders_run_through_a_document() -> None:
    placeholders = Placeholders()
    shield(f"IBAN {IBAN}", "replace", placeholders, nothing)
    other = shield(f"IBAN BE68539007547034 et {IBAN}", "replace", placeholders, nothing)
    assert other.text == "IBAN [IBAN_2] et [IBAN_1]"


def test_nothing_with_a_right_key_is_left_after_replacing() -> None:
    assert find_identifiers(shield(TEXT * 3, "replace", finder=nothing).text) == []


def test_flagging_leaves_the_text_as_it_is() -> None:
    shielded = shield(TEXT, "flag", finder=nothing)
    assert shielded.text == TEXT
    assert [finding.certain for finding in shielded.findings] == [True, True, True]


def test_a_text_without_personal_data_passes_in_every_mode() -> None:
    text = "Combien de communes du Morbihan ont plus de 10 000 habitants ?"
    assert {shield(text, mode, finder=nothing).text for mode in ("refuse", "replace", "flag")} == {text}


def test_other_finders_add_to_the_check_digits() -> None:
    assert shield(TEXT, "replace", finder=the_name).text.startswith("Je suis [PERSON_NAME_1], mon IBAN est [IBAN_1]")


def test_overlapping_findings_become_one_of_the_surer_kind() -> None:
    def greedy(text: str) -> list[Found]:
        return [Found("phone", 2, 12), Found("tax_id", 5, 40)]

    (finding,) = find(IBAN + " et la suite", greedy)
    assert (finding.kind, finding.start, finding.end, finding.certain) == ("iban", 0, 40, True)


def test_a_postal_code_is_nobody() -> None:
    assert find("56000", lambda text: [Found("postal_code", 0, 5)]) == ()


@installed
def test_mail_phone_and_birth_are_found_by_rules() -> None:
    text = "Écrivez à jean@exemple.fr ou au 06 12 34 56 78 ; né le 3 mai 1990."
    kinds = {finding.kind for finding in find(text)}
    assert {"email", "phone", "dob"} <= kinds


@installed
def test_the_rules_find_nothing_in_a_question_about_communes() -> None:
    assert find("Quelle est la population de Vannes (56000), code INSEE 56260 ?") == ()


@installed
def test_the_rules_keep_no_text(capsys: pytest.CaptureFixture[str]) -> None:
    find_by_rules(TEXT)
    said = capsys.readouterr()
    assert "3000" not in said.out + said.err
