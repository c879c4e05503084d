"""Question forms: hand-written sentences with slots, and the true query of each.

It reads a forms file (TOML): slots, the values reserved for a split, and the forms themselves, with the small words of
places beside it. It fills no slot; ``expand`` does.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cornue.records.errors import BadInput
from cornue.records.samples import Split
from cornue.records.words import words
from cornue.sources.french import Place, commune, places, region

GRAMMARS = ("commune", "departements", "regions")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Slot(_Part):
    """Where a slot's values come from: a column of the register, or lists."""

    column: str = Field(default="", description="Column whose value is taken from the row that was drawn.")
    grammar: str = Field(default="", description="How its small words are found: commune, departements or regions.")
    several: bool = Field(default=False, description="The cell holds several values with spaces; one is taken.")
    unique: bool = Field(default=False, description="Only values that one row alone bears, spelling aside.")
    often: str = Field(default="", description="SQL condition that half of the drawn rows meet.")
    number: bool = Field(default=False, description="Values are numbers, which people write in several ways.")
    train: tuple[str | int, ...] = Field(default=(), description="Values for training and validation.")
    heldout: tuple[str | int, ...] = Field(default=(), description="Values for held-out questions; none of the above.")


class Form(_Part):
    """One way to ask one thing, in several phrasings."""

    id: str
    ask: tuple[str, ...] = Field(min_length=1, description="French phrasings with slots in braces.")
    ask_en: tuple[str, ...] = Field(default=(), description="English phrasings.")
    sql: str = Field(default="", description="The true query, with the same slots; empty for forms that decline.")
    declines: bool = Field(default=False, description="The register cannot answer: saying so is right.")
    ordered: bool = Field(default=False, description="The question asks for an order.")
    split: Split = Field(default="train", description="Where all of its questions belong; only train is learnt from.")
    homonyms: bool = Field(default=False, description="Its communes share their name with others.")
    zero: bool = Field(default=False, description="0 is a sensible answer.")


class FormsFile(_Part):
    """A forms file as written."""

    articles: str = Field(default="", description="Articles of departments and regions: a TOML file beside this one.")
    reserved: dict[str, dict[str, tuple[str, ...]]] = Field(
        default={},
        description="Values kept for a split: heldout and validation, each by column, the coarsest column first; "
        "without them, what a slot names is held back by its digest.",
    )
    slots: dict[str, Slot]
    form: tuple[Form, ...]


@dataclass(frozen=True)
class Forms:
    """Forms with their slots and the small words of places."""

    slots: dict[str, Slot]
    forms: tuple[Form, ...]
    reserved: dict[str, dict[str, tuple[str, ...]]]
    places: dict[str, dict[str, Place]] = field(default_factory=dict)

    def place(self, grammar: str, name: str) -> Place:
        """A place with its small words."""
        if grammar == "commune":
            return commune(name)
        place = self.places[grammar].get(name)
        if place is None:
            raise BadInput(
                words(f"{name!r} has no article", f"{name!r} n'a pas d'article"),
                words(f"add it under [{grammar}] to the articles file", f"ajoutez-le sous [{grammar}] aux articles"),
            )
        return region(place) if grammar == "regions" else place


def read_forms(path: str | Path) -> Forms:
    """The forms of a file.

    Raises:
        BadInput: if it is missing, no TOML, has unknown keys, a form twice, or a form without truth.
    """
    path = Path(path)
    raw = _read_toml(path)
    try:
        file = FormsFile.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        raise _refuse(path, f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from error
    seen: set[str] = set()
    for form in file.form:
        if form.id in seen:
            raise _refuse(path, words(f"form {form.id!r} comes twice", f"la forme {form.id!r} vient deux fois"))
        if form.declines == bool(form.sql):
            why = words("needs either sql or declines = true", "demande sql ou declines = true, l'un des deux")
            raise _refuse(path, f"{form.id!r} {why}")
        seen.add(form.id)
    for name, slot in file.slots.items():
        if set(slot.train) & set(slot.heldout) or slot.grammar not in ("", *GRAMMARS):
            raise _refuse(path, words(f"slot {name!r} is wrong", f"le champ {name!r} est faux"))
    articles = _read_toml(path.parent / file.articles) if file.articles else {}
    tables = {name: places(articles[name]) for name in ("departements", "regions") if articles}
    return Forms(file.slots, file.form, {"heldout": {}, "validation": {}} | file.reserved, tables)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise _refuse(path, str(error)) from error


def _refuse(path: Path, why: str) -> BadInput:
    return BadInput(
        words(f"{path} is no forms file: {why}", f"{path} n'est pas un fichier de formes : {why}"),
        words("correct the file", "corrigez le fichier"),
    )
