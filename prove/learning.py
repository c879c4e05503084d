"""Proves that the two methods in which the student writes make it better at the main job, in an hour each.

``grpo``: SmolLM2-135M has seen a few of the teacher's answers, and learns on from verdicts alone. ``on_policy_kd``: the
demo's student teaches a copy of itself that lacks layers, and that writes the text itself. The same held-out questions,
about places that none has met and most in forms that none has met, are put to each student before and after, as it is
served.

An answer is tidy when it is a query that runs or a plain refusal. A method that only taught the form of an answer would
gain nothing on those questions that were answered tidily both before and after; they are counted apart.

Run it with ``make prove-learning`` after ``make demo``; what is finished stays. ``--part validation`` puts other
questions and writes no result: settings are chosen by it, and never by the proof.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import results
from cornue import pipeline
from cornue.evaluate.statistics import paired, share
from cornue.job import Job
from cornue.models.student import prepare
from cornue.records import recipe as recipes
from cornue.records.digests import digest_file
from cornue.records.samples import Example, Verdict
from cornue.screen import Screen
from cornue.seal.manifest import read_manifest
from cornue.seal.tables import read_records
from otherwise import Changes, asked, changed, starts_at, taught_by

NAME = "prove-learning"
WORK = results.ROOT / ".cache" / "learning"
MINUTES = 60
# Answers that the student of grpo has seen before, and passes over them.
COLD: Changes = {("curate", "examples"): 200, ("train", "epochs"): 3}
# Layers of thirty that the copy keeps.
LAYERS = 24
GRPO = {
    "method": "grpo",
    "group": 8,
    "prompts_per_step": 8,
    "max_steps": 60,
    "learning_rate": 5e-5,
    "temperature": 1.0,
    "max_tokens": 80,
    "validate_every": 20,
}
ON_POLICY = {
    "method": "on_policy_kd",
    "objective": "reverse_kl",
    "prompts_per_step": 16,
    "max_steps": 120,
    "learning_rate": 1e-4,
    "max_tokens": 80,
}
# What the verifier's reasons begin with where an answer has no proper form.
UNTIDY = ("cut", "empty answer", "no query", "neither a query", "the query fails")


def main() -> int:
    """Let both learn, ask, and write the result; exits with 1 if a bar does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", type=Path, default=results.ROOT / "recipes" / "communes.toml")
    parser.add_argument("--run", type=Path, help="the folder of a finished run; by default the recipe's own")
    parser.add_argument("--only", choices=("grpo", "on_policy_kd"), action="append", default=[])
    parser.add_argument("--part", choices=("heldout", "validation"), default="heldout")
    options = parser.parse_args()
    run = options.run or results.ROOT / "runs" / Job.read(options.recipe).name
    # All questions of the part, not only those that the recipe takes: more of them tell a small gain from none.
    job = Job.read(changed(options.recipe, WORK / "questions.toml", {("sources", "take"): {}}))
    prompts = [prompt for prompt in job.prompts if prompt.split == options.part]
    ways: dict[str, Callable[[], tuple[Path, Path, Path]]] = {
        "grpo": lambda: raised(options.recipe, screen),
        "on_policy_kd": lambda: taught(options.recipe, run, screen),
    }
    rows, bars = [], []
    with Screen() as screen:
        for method in options.only or ways:
            before, after, learnt = ways[method]()
            verdicts = [
                asked(job, student, prompts, WORK / f"{learnt.name}-{when}-{options.part}", screen)
                for when, student in (("before", before), ("after", after))
            ]
            rows.append({"method": method, **compare(*verdicts), **spent(learnt)})
            bars += bars_of(rows[-1])
    whole = options.part == "heldout" and not options.only
    figures = {"questions": len(prompts), "methods": rows, "settings": [GRPO, ON_POLICY], "layers_of_the_copy": LAYERS}
    outcome = results.write(NAME, figures, bars, folder=results.RESULTS if whole else None)
    return 0 if all(one["holds"] for one in outcome["bars"]) else 1


def raised(recipe: Path, screen: Screen) -> tuple[Path, Path, Path]:
    """A student with a cold start and then ``grpo``: its folders before and after, and the run of the latter.

    Verdicts need no teacher, so ``grpo`` learns from all training questions that there are, asked of it or not.
    """
    cold = pipeline.run(changed(recipe, WORK / "cold.toml", COLD), until="train", runs=WORK / "runs", progress=screen)
    before = cold / "4-train" / "student"
    limits = recipes.read_recipe(recipe).sources.take.items()
    every: Changes = {("sources", "take"): {name: most for name, most in limits if not name.startswith("train/")}}
    recipe = changed(recipe, WORK / "grpo.toml", {**starts_at(before), **every, ("train", ""): [GRPO]})
    learnt = pipeline.run(recipe, until="train", runs=WORK / "runs", progress=screen)
    return before, learnt / "4-train" / "student", learnt


def taught(recipe: Path, run: Path, screen: Screen) -> tuple[Path, Path, Path]:
    """A copy of a run's student that lacks layers, before and after the student has taught it, and the run of that."""
    teacher = run / "4-train" / "student"
    copy = WORK / f"{digest_file(teacher / 'model.safetensors')[7:19]}-{LAYERS}-layers"
    section = recipes.Student(model=str(teacher), template="own", trim=False, layers=LAYERS)
    prepare(copy, teacher, section, read_records(run / "3-curate" / "train.parquet", Example), ())
    changes = {**starts_at(copy), **taught_by(teacher), ("train", ""): [ON_POLICY]}
    recipe = changed(recipe, WORK / "on-policy.toml", changes)
    learnt = pipeline.run(recipe, until="train", runs=WORK / "runs", progress=screen)
    return copy, learnt / "4-train" / "student", learnt


def compare(before: Sequence[Verdict], after: Sequence[Verdict]) -> dict[str, Any]:
    """Right answers before and after, over all questions and over those answered tidily both times."""
    both = [index for index, pair in enumerate(zip(before, after, strict=True)) if all(map(is_tidy, pair))]
    row: dict[str, Any] = {}
    for part, indexes in (("all", range(len(before))), ("tidy", both)):
        first, second = ([found[index].value == "correct" for index in indexes] for found in (before, after))
        gain = paired(second, first) if indexes else {}
        row |= {
            f"{part}_asked": len(indexes),
            f"{part}_before": share(sum(first), len(first))["share"],
            f"{part}_after": share(sum(second), len(second))["share"],
            f"{part}_gain": gain.get("difference", 0.0),
            f"{part}_gain_low": gain.get("difference_low", 0.0),
            f"{part}_gain_high": gain.get("difference_high", 0.0),
        }
    return {
        **row,
        "tidy_share_before": sum(map(is_tidy, before)) / len(before),
        "tidy_share_after": sum(map(is_tidy, after)) / len(after),
    }


def is_tidy(verdict: Verdict) -> bool:
    """Whether an answer has the form of one, right or wrong."""
    return not verdict.reason.startswith(UNTIDY)


def spent(run: Path) -> dict[str, Any]:
    """What learning took, by its curve, so that a run that went on says the same."""
    (stage,) = read_manifest(run / "4-train").facts["stages"]
    return {"steps": stage["steps"], "minutes": stage["seconds"] / 60, "tokens": stage["tokens"]}


def bars_of(row: dict[str, Any]) -> list[dict[str, Any]]:
    """Intervals that exclude zero, and the hour."""
    method = row["method"]
    return [
        # An interval that begins at zero does not exclude it.
        results.bar(f"{method}: gain, lower bound", row["all_gain_low"], 1e-6),
        results.bar(f"{method}: gain among tidy answers, lower bound", row["tidy_gain_low"], 1e-6),
        results.bar(f"{method}: minutes", row["minutes"], MINUTES, at_most=True),
    ]


if __name__ == "__main__":
    sys.exit(main())
