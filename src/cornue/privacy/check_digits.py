"""Finds the identifiers that carry check digits: French social security numbers, IBANs, SIRETs.

Here certainty is possible: whatever spacing, case or digits of another script it is written in, an identifier with a
right key is found, and little else passes for one. It knows no identifier without a key.

Sources: NIR key 97 - n mod 97, Corsica 2A as 19 and 2B as 18 (INSEE); IBAN mod 97 (ISO 13616); SIRET by Luhn's formula,
La Poste's by the sum of its digits (INSEE).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

IBANS = (
    "AD24 AT20 BE16 BG22 CH21 CY28 CZ24 DE22 DK18 EE20 ES24 FI18 FR27 GB22 GI23 GR27 HR21 HU28 IE22 IS26 IT27 LI21 "
    "LT20 LU20 LV21 MA28 MC27 MT31 NL18 NO15 PL28 PT25 RO24 SE24 SI19 SK24 SM27 TN24 TR26 UA29 VA22"
)
LA_POSTE = "356000000"
SUREST = ("iban", "nir", "siret")

# Spaces of all kinds, dots, dashes, strokes and marks without width, as people and copies put them between the digits.
# A SIRET has a weaker key, so only what people put into one may stand in it: dates and rows of numbers would pass.
MARKS = r"\u00ad\u200b-\u200f\u2060\ufeff"
GAP = rf"[\s.\-_/\u2010-\u2015\u2212{MARKS}]{{0,3}}"
NARROW = rf"[ .\u00a0\u2009\u202f{MARKS}]?"


class Found(NamedTuple):
    """An identifier in a text, from ``start`` to before ``end``, in characters."""

    kind: str
    start: int
    end: int


def find_identifiers(text: str) -> list[Found]:
    """All identifiers with a right key, in their order.

    Those that overlap become one, of the surer kind: a number that has a right key by chance must not hide half of
    another.
    """
    plain = "".join(map(_plain, text))
    merged: list[Found] = []
    for one in sorted([*_ibans(plain), *_nirs(plain), *_sirets(plain)], key=lambda one: one.start):
        if merged and one.start < merged[-1].end:
            kind = min(merged[-1].kind, one.kind, key=SUREST.index)
            merged[-1] = Found(kind, merged[-1].start, max(merged[-1].end, one.end))
        else:
            merged.append(one)
    return merged


def _ibans(plain: str) -> Iterator[Found]:
    for match in _iban_pattern().finditer(plain):
        code = _bare(match[1])
        moved = code[4:] + code[:4]
        if int("".join(str(int(character, 36)) for character in moved)) % 97 == 1:
            yield Found("iban", *match.span(1))


def _nirs(plain: str) -> Iterator[Found]:
    for match in NIR.finditer(plain):
        number = _bare(match[1]).replace("2A", "19").replace("2B", "18")
        if 97 - int(number[:13]) % 97 == int(number[13:]):
            yield Found("nir", *match.span(1))


def _sirets(plain: str) -> Iterator[Found]:
    for match in SIRET.finditer(plain):
        number = _bare(match[1])
        la_poste = number.startswith(LA_POSTE) and sum(map(int, number)) % 5 == 0
        if _luhn(number) or la_poste:
            yield Found("siret", *match.span(1))


def _luhn(number: str) -> bool:
    doubled = [int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(number))]
    return sum(value - 9 * (value > 9) for value in doubled) % 10 == 0


def _plain(character: str) -> str:
    """The ASCII digit or capital letter that a character stands for; one character always gives one."""
    decimal = unicodedata.decimal(character, None)
    if decimal is not None:
        return str(decimal)
    folded = unicodedata.normalize("NFKC", character).upper()
    return folded if len(folded) == 1 else character


def _bare(code: str) -> str:
    return re.sub(r"[^0-9A-Z]", "", code)


def _iban_of(country: str, length: int) -> str:
    return rf"{country[0]}{GAP}{country[1]}(?:{GAP}[0-9]){{2}}(?:{GAP}[0-9A-Z]){{{length - 4}}}"


@cache
def _iban_pattern() -> re.Pattern[str]:
    return re.compile(f"(?=({'|'.join(_iban_of(word[:2], int(word[2:])) for word in IBANS.split())}))")


# Lookaheads, so that a match that fails its key hides none that begins within it.
NIR = re.compile(
    rf"(?<![0-9])(?=([1-478](?:{GAP}[0-9]){{4}}{GAP}(?:[0-9]{GAP}[0-9]|2{GAP}[AB])(?:{GAP}[0-9]){{8}})(?![0-9]))"
)
SIRET = re.compile(rf"(?<![0-9])(?=([0-9](?:{NARROW}[0-9]){{13}})(?![0-9]))")
