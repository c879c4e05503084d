"""The small words before the names of places."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from cornue.sources.french import commune, places, region
from cornue.sources.tables import Table

ARTICLES = Path(__file__).resolve().parents[2] / "recipes" / "communes" / "articles.toml"
TABLES = tomllib.loads(ARTICLES.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("name", "of", "inside"),
    [
        ("Morbihan", "du Morbihan", "dans le Morbihan"),
        ("Gironde", "de la Gironde", "en Gironde"),
        ("Sarthe", "de la Sarthe", "dans la Sarthe"),
        ("Ain", "de l'Ain", "dans l'Ain"),
        ("Landes", "des Landes", "dans les Landes"),
        ("Paris", "de Paris", "à Paris"),
    ],
)
def test_departments_have_their_articles(name: str, of: str, inside: str) -> None:
    place = places(TABLES["departements"])[name]
    assert (place.de, place.dans) == (of, inside)


@pytest.mark.parametrize(
    ("name", "of", "inside"),
    [
        ("Bretagne", "de Bretagne", "en Bretagne"),
        ("Île-de-France", "d'Île-de-France", "en Île-de-France"),
        ("Hauts-de-France", "des Hauts-de-France", "dans les Hauts-de-France"),
        ("Grand Est", "du Grand Est", "dans le Grand Est"),
        ("La Réunion", "de La Réunion", "à La Réunion"),
    ],
)
def test_regions_drop_the_feminine_article(name: str, of: str, inside: str) -> None:
    place = region(places(TABLES["regions"])[name])
    assert (place.de, place.dans) == (of, inside)


@pytest.mark.parametrize(
    ("name", "of", "inside"),
    [
        ("Vannes", "de Vannes", "à Vannes"),
        ("Le Havre", "du Havre", "au Havre"),
        ("Les Abymes", "des Abymes", "aux Abymes"),
        ("La Rochelle", "de La Rochelle", "à La Rochelle"),
        ("Évreux", "d'Évreux", "à Évreux"),
        ("Œuilly", "d'Œuilly", "à Œuilly"),
    ],
)
def test_articles_of_communes_contract(name: str, of: str, inside: str) -> None:
    assert (commune(name).de, commune(name).dans) == (of, inside)


def test_every_place_of_the_register_has_its_article(table: Table) -> None:
    names = [column.name for column in table.columns]
    for column, key in (("departement", "departements"), ("region", "regions")):
        assert set(places(TABLES[key])) == {row[names.index(column)] for row in table.rows}
