"""Identifiers with check digits are found however they are written."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cornue.privacy.check_digits import find_identifiers

FEW = settings(max_examples=40, deadline=None)
GAPS = st.sampled_from(["", " ", ".", "-", "\u00a0", "\u202f", " - ", "\u200b", "\n"])


@st.composite
def nirs(draw: st.DrawFn) -> str:
    """Social security numbers with a right key, of Corsica too."""
    department = draw(st.sampled_from(["01", "29", "56", "75", "97", "2A", "2B"]))
    body = draw(st.sampled_from("12")) + draw(st.from_regex(r"[0-9]{2}(0[1-9]|1[0-2])", fullmatch=True))
    body += department + draw(st.from_regex(r"[0-9]{6}", fullmatch=True))
    key = 97 - int(body.replace("2A", "19").replace("2B", "18")) % 97
    return f"{body}{key:02}"


@st.composite
def ibans(draw: st.DrawFn) -> str:
    """IBANs of a few countries with right check digits."""
    country, length = draw(st.sampled_from([("FR", 27), ("DE", 22), ("BE", 16), ("MC", 27)]))
    account = draw(st.text("0123456789", min_size=length - 4, max_size=length - 4))
    numbers = "".join(str(int(character, 36)) for character in account + country + "00")
    return f"{country}{98 - int(numbers) % 97:02}{account}"


def apart(draw: st.DrawFn, code: str) -> str:
    return "".join(character + draw(GAPS) for character in code[:-1]) + code[-1]


@st.composite
def written(draw: st.DrawFn) -> tuple[str, str]:
    """An identifier with gaps anywhere, in any case, and its kind."""
    kind = draw(st.sampled_from(["nir", "iban"]))
    text = apart(draw, draw(nirs() if kind == "nir" else ibans()))
    change = draw(st.sampled_from([str, str.lower, wide]))
    return kind, change(text)


def wide(text: str) -> str:
    return "".join(chr(ord(one) + 0xFEE0) if re.match(r"[0-9A-Z]", one) else one for one in text)


@FEW
@given(
    written(), st.sampled_from(["", "IBAN:", "Mon numéro est ", "n°"]), st.sampled_from(["", " merci", ", voilà.", ")"])
)
def test_an_identifier_is_found_however_it_is_written(one: tuple[str, str], before: str, after: str) -> None:
    kind, code = one
    found = find_identifiers(before + code + after)
    assert [item.kind for item in found] == [kind]
    assert (found[0].start, found[0].end) == (len(before), len(before) + len(code))


@FEW
@given(nirs(), st.integers(0, 14), st.integers(1, 9))
def test_a_number_with_one_wrong_digit_is_none(nir: str, place: int, step: int) -> None:
    if not nir[place].isdigit() or place in (5, 6):
        return
    wrong = nir[:place] + str((int(nir[place]) + step) % 10) + nir[place + 1 :]
    assert [one for one in find_identifiers(wrong) if one.kind == "nir"] == []


@pytest.mark.parametrize("siret", ["73282932000074", "732 829 320 00074", "732.829.320.00074", "356 000 000 00048"])
def test_a_siret_is_found(siret: str) -> None:
    assert [(one.kind, one.start, one.end) for one in find_identifiers(f"SIRET {siret}.")] == [
        ("siret", 6, 6 + len(siret))
    ]


@pytest.mark.parametrize(
    "text",
    [
        "Combien de communes du Morbihan ont plus de 10 000 habitants ?",
        "SELECT COUNT(*) FROM communes WHERE population > 10000 AND code = '56260'",
        "Le 12/03/1985 à 14:35, version 1.2.3, 35 000 communes, 2A004, 97411",
        "1 85 05 78 006 084 37",
        "2023-01-01 12:30:40 ; 10 000, 20 000, 3000",
        "FR76 3000 6000 0112 3456 7890 180",
        "732 829 320 00075",
        "1234567890123456789012345678901234567890",
        "",
    ],
)
def test_ordinary_numbers_and_wrong_keys_are_left_alone(text: str) -> None:
    assert find_identifiers(text) == []


def test_two_identifiers_in_a_row_are_two() -> None:
    text = "FR76 3000 6000 0112 3456 7890 189 FR76 3000 6000 0112 3456 7890 189"
    assert [one.kind for one in find_identifiers(text)] == ["iban", "iban"]


@FEW
@given(st.text(max_size=200))
def test_any_text_can_be_searched(text: str) -> None:
    assert all(0 <= one.start < one.end <= len(text) for one in find_identifiers(text))


def test_a_long_text_of_digits_is_searched_in_time() -> None:
    assert isinstance(find_identifiers("FR76 " * 4_000 + "1 " * 4_000), list)


def test_a_number_that_has_a_right_key_by_chance_hides_nothing_of_its_neighbour() -> None:
    # The first fourteen digits pass for a SIRET, the last fifteen are a social security number.
    numbers = (f"{before:09d} 1 85 05 78 006 084 91" for before in range(732829000, 732829100))
    texts = [text for text in numbers if any(len(find_identifiers(text[:end])) for end in (15, 16, 17, 18))]
    assert texts
    assert {find_identifiers(text)[0].end for text in texts} == {len(texts[0])}
    assert {(one.kind, len(find_identifiers(text))) for text in texts for one in find_identifiers(text)} == {("nir", 1)}
