"""The prompts of the main job: nothing held out has been seen, and every truth is true."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from pathlib import Path

import pytest

from cornue.capture.reader import open_capture
from cornue.job import Job
from cornue.records.samples import Prompt
from cornue.sources.expand import is_sound
from cornue.sources.folding import fold
from cornue.sources.forms import read_forms
from cornue.sources.prompts import read_prompts
from cornue.sources.register import Register
from cornue.sources.tables import Table
from cornue.verify.sql import SqlVerifier

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "communes"
CONDITION = re.compile(r"(\w+) (?:=|IN|LIKE) (\((?:'(?:[^']|'')*'(?:, )?)+\)|'(?:[^']|'')*')")
NUMBER = re.compile(r"(?:[<>]|BETWEEN|AND|LIMIT) (\d+)\b")


@pytest.fixture(scope="module")
def prompts() -> list[Prompt]:
    return read_prompts(RECIPE / "prompts.jsonl.xz")


def sql(prompt: Prompt) -> str:
    return str((prompt.truth or {}).get("sql", ""))


def values(prompt: Prompt) -> set[tuple[str, str]]:
    """The (column, folded value) pairs that a true query names."""
    found = CONDITION.findall(sql(prompt))
    return {(column, fold(one)) for column, text in found for one in re.findall(r"'((?:[^']|'')*)'", text)}


def numbers(prompt: Prompt) -> set[str]:
    return set(NUMBER.findall(sql(prompt))) - {"1"}


def test_places_of_heldout_questions_are_never_trained_on(prompts: list[Prompt]) -> None:
    seen = set().union(*(values(prompt) for prompt in prompts if prompt.split != "heldout"))
    asked = set().union(*(values(prompt) for prompt in prompts if prompt.split == "heldout"))
    assert not seen & asked


def test_heldout_places_are_named_in_no_training_question(prompts: list[Prompt]) -> None:
    heldout = read_forms(RECIPE / "forms.toml").reserved["heldout"]
    names = {fold(name) for column in heldout.values() for name in column}
    places = {value for prompt in prompts if prompt.split != "heldout" for _, value in values(prompt)}
    assert not names & places


def test_numbers_of_formed_heldout_questions_are_never_trained_on(prompts: list[Prompt]) -> None:
    seen = set().union(*(numbers(prompt) for prompt in prompts if prompt.split == "train"))
    asked = set().union(*(numbers(p) for p in prompts if p.stratum in ("unseen", "known") and p.split == "heldout"))
    assert not seen & asked


def test_unseen_forms_are_seen_nowhere_else(prompts: list[Prompt]) -> None:
    unseen = {prompt.form for prompt in prompts if prompt.stratum == "unseen"}
    assert len(unseen) >= 30
    assert not unseen & {prompt.form for prompt in prompts if prompt.stratum != "unseen"}


def test_no_question_comes_twice(prompts: list[Prompt]) -> None:
    asked = Counter(fold(prompt.messages[0].content).rstrip(" ?.!") for prompt in prompts)
    assert asked.most_common(1)[0][1] == 1


def test_there_are_enough_questions_of_every_kind(prompts: list[Prompt]) -> None:
    counts = Counter((prompt.split, prompt.stratum) for prompt in prompts)
    declines = Counter((prompt.split, prompt.stratum) for prompt in prompts if (prompt.truth or {}).get("decline"))
    assert counts["heldout", "unseen"] >= 300
    assert counts["heldout", "free"] >= 120
    assert declines["heldout", "free"] >= 30
    assert 0.12 <= declines["train", ""] / counts["train", ""] <= 0.16


def test_no_form_dominates_training(prompts: list[Prompt]) -> None:
    counts = Counter(prompt.form for prompt in prompts if prompt.split == "train")
    assert len(counts) >= 130
    assert counts.most_common(1)[0][1] <= 20


def test_free_questions_are_in_the_prompts_as_written(prompts: list[Prompt]) -> None:
    for name, split in (("free.jsonl", "heldout"), ("free-dev.jsonl", "validation")):
        rows = [json.loads(line) for line in (RECIPE / name).read_text(encoding="utf-8").splitlines()]
        kept = [prompt for prompt in prompts if (prompt.split, prompt.stratum) == (split, "free")]
        assert {row["ask"]: row.get("sql", "") for row in rows} == {p.messages[0].content: sql(p) for p in kept}


def test_truths_are_sound(communes: Register, prompts: list[Prompt]) -> None:
    answerable = [prompt for prompt in prompts if sql(prompt)]
    for prompt in random.Random(7).sample(answerable, 60):
        assert is_sound(communes, sql(prompt), bool((prompt.truth or {})["ordered"]), zero=True), sql(prompt)


def test_the_register_is_whole(communes: Register, table: Table) -> None:
    assert communes.query(
        "SELECT COUNT(*), COUNT(DISTINCT departement), COUNT(DISTINCT region) FROM communes"
    ).rows == ((34875, 101, 18),)
    assert communes.query("SELECT COUNT(*) FROM communes WHERE prefecture = 1").rows == ((101,),)
    assert communes.query("SELECT population FROM communes WHERE nom = 'Vannes'").rows == ((55790,),)
    assert [column.name for column in table.columns][:3] == ["nom", "departement", "numero_departement"]


def test_the_data_travels_small() -> None:
    assert sum((RECIPE / name).stat().st_size for name in ("register.sqlite.xz", "prompts.jsonl.xz")) < 2_500_000


def test_true_queries_are_right_already_and_linking_leaves_their_answers_alone(prompts: list[Prompt]) -> None:
    register = Register.open(RECIPE / "register.sqlite.xz")
    verifier = SqlVerifier(register)
    for prompt in prompts[::3]:
        query = (prompt.truth or {}).get("sql")
        if query and verifier.put_right(prompt, query) != query:
            assert verifier.weigh(prompt, query)[0] == "correct", prompt.messages[-1].content


@pytest.mark.parametrize("path", sorted(RECIPE.parent.glob("*.toml")), ids=lambda path: path.stem)
def test_every_recipe_names_the_capture_that_lies_there(path: Path) -> None:
    job = Job.read(path)
    capture = job.recipe.capture
    if capture.use:
        found = open_capture(job.file(capture.use), capture.digest)
        assert {prompt.id for prompt in job.prompts} <= {prompt.id for prompt in found.prompts()}
