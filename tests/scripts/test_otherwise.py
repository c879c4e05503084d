"""Recipes run otherwise: what is changed, what is taken away, and that files are still found."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

import results
from cornue.job import Job
from otherwise import changed, starts_at, taught_by

RECIPE = results.ROOT / "recipes" / "communes.toml"


def test_a_recipe_elsewhere_still_finds_its_files(tmp_path: Path) -> None:
    job = Job.read(changed(RECIPE, tmp_path / "far" / "other.toml", {}))
    assert job.recipe.recipe.name == "other"
    assert all(job.file(name).exists() for name in (job.recipe.sources.prompts, job.recipe.capture.use))


def test_a_key_is_set_or_taken_away_and_a_section_replaced(tmp_path: Path) -> None:
    stage = {"method": "sft", "epochs": 2}
    path = changed(RECIPE, tmp_path / "other.toml", {("curate", "per_form"): None, ("train", ""): [stage]})
    found, own = tomllib.loads(path.read_text()), tomllib.loads(RECIPE.read_text())
    assert found["curate"] == {key: value for key, value in own["curate"].items() if key != "per_form"}
    assert found["train"] == [stage]


@pytest.mark.parametrize("changes", [starts_at, taught_by])
def test_a_student_takes_a_place_from_any_working_folder(tmp_path: Path, changes: object) -> None:
    student = tmp_path / "student"
    student.mkdir()
    path = changed(RECIPE, tmp_path / "deep" / "other.toml", changes(student))
    recipe = Job.read(path).recipe
    section = recipe.student if changes is starts_at else recipe.teacher
    assert (path.parent / section.model).resolve() == student
    assert not section.sha256
