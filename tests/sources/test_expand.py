"""Forms become questions whose truth is beyond doubt, the same for the same seed."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from cornue.records.errors import BadInput
from cornue.records.samples import Prompt
from cornue.sources.expand import Expander, is_sound
from cornue.sources.forms import Forms, read_forms
from cornue.sources.register import Register
from cornue.sources.tables import Column, Table
from cornue.sources.wording import add_typo, disguise, say_number

ARTICLES = '[departements]\nle = ["Gard"]\nla = []\nelided = ["Ain", "Aude"]\nles = []\nnone = []\nen = []\n'
FILE = """
articles = "articles.toml"
[reserved.heldout]
region = []
departement = ["Aude"]
[reserved.validation]
departement = []
[slots.commune]
column = "nom"
grammar = "commune"
unique = true
[slots.departement]
column = "departement"
grammar = "departements"
[slots.seuil]
number = true
train = [1000, 1500]
heldout = [1200]
"""
POPULATION = """
[[form]]
id = "population"
ask = ["Combien d'habitants {a_commune} ?", "population {de_commune}"]
sql = "SELECT population FROM communes WHERE nom = '{commune}'"
"""
COLUMNS = tuple(
    Column(name, "INTEGER" if name == "population" else "TEXT")
    for name in ("nom", "departement", "region", "population")
)
ROWS = tuple(
    [(f"Village-{number}", "Ain", "Sud", 900 + 10 * number) for number in range(40)]
    + [(f"L'Oeuf-{number}", "Aude", "Sud", 1000 + number) for number in range(20)]
    + [("Beaulieu", "Ain", "Sud", 50), ("Beaulieu", "Gard", "Sud", 60), ("Jumeau", "Gard", "Sud", 60)]
)
TABLE = Table("communes", COLUMNS, ROWS)
REGISTER = Register("r", [TABLE])


def load(folder: Path, forms: str) -> Forms:
    (folder / "articles.toml").write_text(ARTICLES + ARTICLES.replace("departements", "regions"))
    (folder / "forms.toml").write_text(FILE + forms)
    return read_forms(folder / "forms.toml")


def expand(folder: Path, forms: str, split: str = "train", count: int = 10, seed: int = 1) -> list[Prompt]:
    loaded = load(folder, forms)
    return Expander.make(loaded, REGISTER, TABLE).expand(loaded.forms[0], count, split, "", seed)  # type: ignore[arg-type]


def test_the_same_seed_gives_the_same_prompts(tmp_path: Path) -> None:
    assert expand(tmp_path, POPULATION) == expand(tmp_path, POPULATION)
    assert expand(tmp_path, POPULATION) != expand(tmp_path, POPULATION, seed=2)


def test_places_of_a_split_stay_in_it(tmp_path: Path) -> None:
    trained = {prompt.truth["sql"] for prompt in expand(tmp_path, POPULATION) if prompt.truth}
    heldout = {prompt.truth["sql"] for prompt in expand(tmp_path, POPULATION, "heldout") if prompt.truth}
    assert all("Oeuf" not in sql for sql in trained)
    assert all("L''Oeuf" in sql for sql in heldout)


def test_shared_names_are_left_to_forms_that_want_them(tmp_path: Path) -> None:
    assert all("Beaulieu" not in str(prompt.truth) for prompt in expand(tmp_path, POPULATION, count=30))


def test_numbers_of_a_split_stay_in_it(tmp_path: Path) -> None:
    form = """
[[form]]
id = "above"
ask = ["Combien de communes {du_departement} ont plus de {seuil} habitants ?"]
sql = "SELECT COUNT(*) FROM communes WHERE departement = '{departement}' AND population > {seuil}"
"""
    assert all("1200" not in str(prompt.truth) for prompt in expand(tmp_path, form))
    with pytest.raises(BadInput, match="above"):
        expand(tmp_path, form, "heldout")


@pytest.mark.parametrize(
    ("sql", "ordered", "sound"),
    [
        ("SELECT nom FROM communes ORDER BY population DESC LIMIT 2", False, True),
        ("SELECT nom FROM communes WHERE departement = 'Gard' ORDER BY population LIMIT 1", False, False),
        ("SELECT nom FROM communes WHERE departement = 'Gard' ORDER BY population LIMIT 2", False, True),
        ("SELECT nom FROM communes WHERE departement = 'Gard' ORDER BY population LIMIT 2", True, False),
        ("SELECT nom FROM communes WHERE departement = 'Gard' ORDER BY population LIMIT 1 OFFSET 1", False, False),
        ("SELECT nom FROM communes WHERE nom = 'Nowhere'", False, False),
        ("SELECT COUNT(*) FROM communes WHERE nom = 'Nowhere'", False, False),
        ("SELECT SUM(population) FROM communes WHERE nom = 'Nowhere'", False, False),
        ("SELECT nom FROM communes", False, False),
        ("SELECT mayor FROM communes", False, False),
    ],
)
def test_ties_and_empty_or_long_answers_are_not_sound(sql: str, ordered: bool, sound: bool) -> None:
    assert is_sound(REGISTER, sql, ordered, zero=False) is sound


@pytest.mark.parametrize(
    "form",
    [
        '[[form]]\nid = "a"\nask = ["x"]\n',
        '[[form]]\nid = "a"\nask = ["x"]\nsql = "SELECT 1"\ndeclines = true\n',
        '[[form]]\nid = "a"\nask = []\ndeclines = true\n',
        '[[form]]\nid = "a"\nask = ["x"]\ndeclines = true\nordred = true\n',
        '[[form]]\nid = "a"\nask = ["x"]\ndeclines = true\n' * 2,
        '[slots.bad]\ntrain = [1]\nheldout = [1]\n[[form]]\nid = "a"\nask = ["x"]\ndeclines = true\n',
        "[[form",
    ],
)
def test_a_wrong_forms_file_is_refused(tmp_path: Path, form: str) -> None:
    with pytest.raises(BadInput, match=r"forms\.toml"):
        load(tmp_path, form)


def test_an_unknown_slot_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="mayor"):
        expand(tmp_path, '[[form]]\nid = "a"\nask = ["Qui est {mayor} ?"]\ndeclines = true\n')


def test_typos_never_touch_slots() -> None:
    draw = random.Random(0)
    typed = {add_typo("Quelle population {de_commune} exactement ?", draw) for _ in range(400)}
    assert len(typed) > 5
    assert all("{de_commune}" in text for text in typed)


def test_numbers_are_said_in_several_ways_and_keep_their_value() -> None:
    draw = random.Random(0)
    said = {say_number(10000, False, draw) for _ in range(100)}
    assert said == {"10 000", "10000", "10.000"}
    assert {say_number(3, True, draw) for _ in range(50)} == {"3", "three"}


def test_disguises_keep_the_letters() -> None:
    draw = random.Random(0)
    assert {disguise("À Évry-Courcouronnes ?", draw) for _ in range(100)} == {
        "À Évry-Courcouronnes ?",
        "À Évry-Courcouronnes",
        "à évry-courcouronnes",
        "A Evry-Courcouronnes ?",
        "a evry courcouronnes",
    }
