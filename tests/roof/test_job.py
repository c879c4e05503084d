"""What a recipe takes of its prompts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from cornue.job import Job

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "communes.toml"


def test_every_form_is_taken_as_often_as_the_others() -> None:
    job = Job.read(RECIPE)
    there = Counter(prompt.form for prompt in job.all_prompts if (prompt.split, prompt.stratum) == ("train", ""))
    taken = Counter(prompt.form for prompt in job.prompts if prompt.split == "train")
    most = max(taken.values())
    assert sum(taken.values()) == job.recipe.sources.take["train/"]
    assert all(taken[form] >= min(most - 1, count) for form, count in there.items())


def test_more_is_taken_on_top_of_less() -> None:
    job = Job.read(RECIPE)
    few = job.recipe.sources.model_copy(update={"take": {"train/": 100, "train/said": 0}})
    smaller = Job(job.path, job.recipe.model_copy(update={"sources": few}))
    train = {prompt.id for prompt in job.prompts if prompt.split == "train"}
    assert {prompt.id for prompt in smaller.prompts if prompt.split == "train"} <= train
