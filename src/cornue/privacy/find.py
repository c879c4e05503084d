"""Finds personal data in a text before it leaves the machine, and refuses, replaces or flags it.

Identifiers with check digits are found by our own rules and are certain; phone numbers, addresses of mail, cards,
plates, dates of birth and more by euredact (the extra ``cornue[privacy]``), which can err. Names of people and street
addresses are not found: that wants a person's eye. No finding and no message holds the value that was found.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from typing import Literal

from pydantic import Field

from cornue.privacy.check_digits import Found, find_identifiers
from cornue.records.errors import BadInput, Refused
from cornue.records.samples import Record
from cornue.records.words import words

Mode = Literal["refuse", "replace", "flag"]
Finder = Callable[[str], Iterable[Found]]

# What tells of nobody by itself: a postal code stands for a town, an address of the web for a page.
NOT_PERSONAL = frozenset({"postal_code", "uuid", "url", "financial_amount", "organisation_name", "job_title", "other"})


class PersonalData(Record):
    """One piece of personal data in a text, without its value."""

    kind: str = Field(description="nir, iban, siret, email, phone …")
    start: int = Field(description="First character, from 0.")
    end: int = Field(description="Behind its last character.")
    certain: bool = Field(description="Its check digits are right.")


class Shielded(Record):
    """A text that may leave the machine, and what was found in the text as it came in."""

    text: str
    findings: tuple[PersonalData, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """How many of each kind were found."""
        return dict(Counter(finding.kind for finding in self.findings))


class Placeholders:
    """The words that stand for personal data in one document: the same value gets the same word, ``[IBAN_1]``.

    It holds the values, so it stays in memory and ends with the document.
    """

    def __init__(self) -> None:
        self._words: dict[tuple[str, str], str] = {}

    def word(self, kind: str, value: str) -> str:
        """The placeholder of a value, however it is spaced and whatever its case."""
        key = (kind, re.sub(r"\W", "", value).casefold())
        if key not in self._words:
            number = 1 + sum(of_kind == kind for of_kind, _ in self._words)
            self._words[key] = f"[{kind.upper()}_{number}]"
        return self._words[key]


def shield(
    text: str,
    mode: Mode,
    placeholders: Placeholders | None = None,
    finder: Finder | None = None,
    ignore: Collection[str] = NOT_PERSONAL,
) -> Shielded:
    """Look for personal data in a text and do with it what the mode says.

    Args:
        mode: ``refuse`` stops, ``replace`` puts placeholders, ``flag`` only reports.
        placeholders: those of the document, where it consists of several texts.
        finder: rules beside the check digits; euredact's where None is given.
        ignore: kinds that do not count; identifiers with check digits always count.

    Raises:
        Refused: in ``refuse`` mode, with kinds and places, never with values.
        BadInput: euredact is not installed.
    """
    findings = find(text, finder, ignore)
    if mode == "flag" or not findings:
        return Shielded(text=text, findings=findings)
    if mode == "refuse":
        raise _refusal(findings)
    known = placeholders or Placeholders()
    parts, last = [], 0
    for finding in findings:
        parts += [text[last : finding.start], known.word(finding.kind, text[finding.start : finding.end])]
        last = finding.end
    return Shielded(text="".join([*parts, text[last:]]), findings=findings)


def find(text: str, finder: Finder | None = None, ignore: Collection[str] = NOT_PERSONAL) -> tuple[PersonalData, ...]:
    """All personal data in a text, in its order; findings that overlap become one, of the surer kind."""
    certain = [
        PersonalData(kind=one.kind, start=one.start, end=one.end, certain=True) for one in find_identifiers(text)
    ]
    others = [
        PersonalData(kind=one.kind, start=one.start, end=one.end, certain=False)
        for one in (finder or find_by_rules)(text)
        if one.kind not in ignore
    ]
    merged: list[PersonalData] = []
    for one in sorted([*certain, *others], key=lambda finding: (finding.start, -finding.end)):
        if merged and one.start < merged[-1].end:
            merged[-1] = _union(merged[-1], one)
        else:
            merged.append(one)
    return tuple(merged)


def find_by_rules(text: str) -> list[Found]:
    """What euredact's French and European rules find; nothing is sent anywhere.

    Raises:
        BadInput: euredact is not installed.
    """
    try:
        import euredact
    except ImportError:
        raise BadInput(
            words(
                en="personal data cannot be looked for: euredact is not installed",
                fr="impossible de chercher les données personnelles : euredact n'est pas installé",
            ),
            'pip install "cornue[privacy]"',
        ) from None
    result = euredact.redact(text, countries=["FR"], mode="rules", detect_dates=True, cache=False)
    return [Found(one.entity_type.value.lower(), one.start, one.end) for one in result.detections]


def _union(one: PersonalData, other: PersonalData) -> PersonalData:
    surer = other if other.certain and not one.certain else one
    return surer.model_copy(update={"start": min(one.start, other.start), "end": max(one.end, other.end)})


def _refusal(findings: tuple[PersonalData, ...]) -> Refused:
    shown = [
        words(
            en=f"{one.kind} at characters {one.start + 1} to {one.end}",
            fr=f"{one.kind} aux caractères {one.start + 1} à {one.end}",
        )
        for one in findings[:5]
    ]
    more = words(en=f" and {len(findings) - 5} more", fr=f" et {len(findings) - 5} autres") if len(findings) > 5 else ""
    listed = "; ".join(shown) + more
    return Refused(
        words(
            en=f"personal data would leave this machine: {listed}",
            fr=f"des données personnelles quitteraient cette machine : {listed}",
        ),
        words(
            en='take it out, or set personal_data = "replace" in the recipe so that placeholders go out in its stead',
            fr='retirez-les, ou mettez personal_data = "replace" dans la recette : un mot neutre partira à leur place',
        ),
    )
