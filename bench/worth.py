"""Was the teacher worth having? The same student, made by other ways and asked the same held-out questions.

Besides the run of the recipe itself: the true answers of all training prompts instead of the teacher's, for as many
steps; random weights instead of pretrained ones, for as many steps; and fewer of the teacher's examples. All are asked
the held-out questions of unseen forms, once, as the run's own student was. It changes nothing in the run.

Run it with ``make bench-worth`` after ``make demo``, or both with ``make demo-full``; what is finished stays.
"""

from __future__ import annotations

import argparse
import os
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import tomli_w

import results
from cornue import pipeline
from cornue.evaluate.answers import answer_all
from cornue.evaluate.score import judge_all
from cornue.evaluate.statistics import paired, share
from cornue.job import Job
from cornue.models.engine import Request
from cornue.models.export import export_gguf
from cornue.models.student import Student
from cornue.records.progress import Progress
from cornue.records.samples import Prompt, Verdict
from cornue.screen import Screen
from cornue.seal.tables import read_records
from cornue.verify.run import make_verifier

WORK = results.ROOT / ".cache" / "worth"
OWN = "the teacher's answers"
TRUTH, SCRATCH = "the truth alone", "random weights"
FEWER = (50, 200, 800)
# Few examples are seen several times, or nothing would be learnt from them at all.
PASSES = {50: 4, 200: 3, 800: 1}
PATHS = (
    *(("sources", "prompts"), ("sources", "table"), ("teacher", "model"), ("teacher", "instructions")),
    *(("student", "model"), ("capture", "use")),
)
Changes = dict[tuple[str, str], Any]


def main() -> int:
    """Make the students, ask them, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", type=Path, default=results.ROOT / "recipes" / "communes.toml")
    parser.add_argument("--run", type=Path, help="the folder of a finished run; by default the recipe's own")
    parser.add_argument("--without", action="append", default=[], help="a way that is not run, by its name")
    options = parser.parse_args()
    job = Job.read(options.recipe)
    run = options.run or results.ROOT / "runs" / job.name
    asked = read_records(run / "5-evaluate" / "prompts.parquet", Prompt)
    prompts = [prompt for prompt in asked if prompt.stratum == "unseen"]
    found = {OWN: own_verdicts(run, prompts)}
    learnt = {OWN: lessons(run)}
    ways: dict[str, Changes] = {
        TRUTH: {("curate", "keep"): "truth", ("curate", "per_form"): 0, ("train", "max_steps"): learnt[OWN][1]},
        **{f"{few} examples": {("curate", "examples"): few, ("train", "epochs"): PASSES[few]} for few in FEWER},
        SCRATCH: {("student", "scratch"): True},
    }
    with Screen() as screen:
        for number, (way, changes) in enumerate(ways.items()):
            if way in options.without:
                continue
            screen.say(f"{way} …")
            recipe = changed(options.recipe, f"worth-{number}", changes)
            made = pipeline.run(recipe, until="train", runs=WORK / "runs", progress=screen)
            found[way] = asked_now(job, made, prompts, screen)
            learnt[way] = lessons(made)
    report(found, learnt, [way for way in ways if way not in found])
    return 0


def changed(recipe: Path, name: str, changes: Changes) -> Path:
    """The recipe with another name and some keys changed, in a file of its own; ``train`` is its first stage."""
    content = tomllib.loads(recipe.read_text(encoding="utf-8"))
    content["recipe"]["name"] = name
    path = WORK / f"{name}.toml"
    for section, key in PATHS:
        if value := content[section].get(key):
            content[section][key] = os.path.relpath(recipe.parent / value, path.parent)
    for (section, key), value in changes.items():
        (content["train"][0] if section == "train" else content[section])[key] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(tomli_w.dumps(content), encoding="utf-8")
    return path


def lessons(run: Path) -> tuple[int, int]:
    """How many examples a student learnt from, and in how many steps."""
    examples = pq.read_metadata(run / "3-curate" / "train.parquet").num_rows
    return examples, sum(len(path.read_text().splitlines()) for path in run.glob("4-train/stages/*/curve.jsonl"))


def own_verdicts(run: Path, prompts: Sequence[Prompt]) -> list[bool]:
    """What the run itself found about its student, at once."""
    verdicts = {
        verdict.prompt_id: verdict for verdict in read_records(run / "5-evaluate" / "verdicts-student.parquet", Verdict)
    }
    return [verdicts[prompt.id].value == "correct" for prompt in prompts]


def asked_now(job: Job, run: Path, prompts: Sequence[Prompt], progress: Progress) -> list[bool]:
    """Whether the student of a run answers rightly, each prompt once, exported as the recipe serves it."""
    student = Student.read(run / "4-train" / "student")
    kind = job.recipe.pack.serve
    exported = WORK / f"{run.name}-{kind}.gguf"
    if not exported.exists():
        export_gguf(student.model, student.tokenizer, exported, kind=kind, name=run.name, facts={})
    how = Request("", job.recipe.evaluate.max_tokens)
    answered = answer_all(
        exported,
        prompts,
        lambda prompt: student.prompt_text(prompt.messages),
        WORK / f"{run.name}-asked",
        how,
        progress,
        run.name,
    )
    verifier = make_verifier(job.recipe.verify, job.base, job.register)
    verdicts = judge_all(verifier, prompts, answered.samples)
    return [verdicts[prompt.id].value == "correct" for prompt in prompts]


def report(found: dict[str, list[bool]], learnt: dict[str, tuple[int, int]], not_run: Sequence[str]) -> None:
    """The table, a sentence, and the bar that pretrained weights are worth having; what was not run is named."""
    rows = [
        {"way": way, "examples": learnt[way][0], "steps": learnt[way][1], **share(sum(right), len(right))}
        for way, right in found.items()
    ]
    against = {way: paired(found[OWN], right) for way, right in found.items() if way != OWN}
    figures = {
        "sentence": sentence(against[TRUTH]) if TRUTH in against else f"Not run: {TRUTH}.",
        "questions": len(found[OWN]),
        "ways": rows,
        "own_minus_other": [{"other": way, **row} for way, row in against.items()],
    }
    bars = [
        results.bar("the start's weights add something: lower bound", row["difference_low"], 0)
        for way, row in against.items()
        if way == SCRATCH
    ]
    results.write("bench-worth", figures, bars, [{"name": way, "reason": "left out (--without)"} for way in not_run])


def sentence(truth: dict[str, Any]) -> str:
    """Whether the teacher was worth having, from the paired comparison with the truth alone."""
    low, high = 100 * truth["difference_low"], 100 * truth["difference_high"]
    points = f"{100 * truth['difference']:+.0f} points ({low:+.0f} to {high:+.0f})"
    if truth["difference_low"] > 0:
        return f"The teacher was worth having: {points} against the truth alone at equal compute."
    if truth["difference_high"] < 0:
        return f"The teacher was not worth having where the truth is written already: {points} against it."
    return f"With the truth written already the teacher adds nothing that shows: {points} at equal compute."


if __name__ == "__main__":
    sys.exit(main())
