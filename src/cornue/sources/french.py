"""How French names a place inside a sentence: "du Morbihan", "dans les Landes", "au Havre", "en Bretagne".

Articles of departments and regions come from a table; those of communes from their names. It knows places only.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

VOWELS = frozenset("aeiouy")


@dataclass(frozen=True)
class Place:
    """A place name with its small words. ``le``: as a subject; ``de``: of it; ``dans``: in it."""

    name: str
    le: str
    de: str
    dans: str


def places(table: Mapping[str, Sequence[str]]) -> dict[str, Place]:
    """The departments or regions of an articles table (keys le, la, elided, les, none, en), by name."""
    inside = frozenset(table["en"])
    found: dict[str, Place] = {}
    for name in table["le"]:
        found[name] = Place(name, f"le {name}", f"du {name}", f"dans le {name}")
    for name in table["la"]:
        found[name] = Place(name, f"la {name}", f"de la {name}", f"dans la {name}")
    for name in table["elided"]:
        found[name] = Place(name, f"l'{name}", f"de l'{name}", f"dans l'{name}")
    for name in table["les"]:
        found[name] = Place(name, f"les {name}", f"des {name}", f"dans les {name}")
    for name in table["none"]:
        found[name] = Place(name, name, f"de {name}", f"à {name}")
    return {
        name: Place(name, place.le, place.de, f"en {name}") if name in inside else place
        for name, place in found.items()
    }


def region(place: Place) -> Place:
    """Feminine and elided regions drop their article after "de": "de Bretagne", "d'Occitanie"."""
    if place.le.startswith(("la ", "l'")):
        return Place(place.name, place.le, _of(place.name), place.dans)
    return place


def commune(name: str) -> Place:
    """A commune; its own article contracts: "Le Havre" gives "du Havre" and "au Havre"."""
    if name.startswith("Le "):
        return Place(name, name, f"du {name[3:]}", f"au {name[3:]}")
    if name.startswith("Les "):
        return Place(name, name, f"des {name[4:]}", f"aux {name[4:]}")
    return Place(name, name, _of(name), f"à {name}")


def _of(name: str) -> str:
    first = unicodedata.normalize("NFKD", name.replace("Œ", "O"))[0].lower()
    return f"d'{name}" if first in VOWELS else f"de {name}"
