"""Was the teacher worth having? The same student, made by other ways and asked the same held-out questions.

Besides the run of the recipe itself: the true answers of all training prompts instead of the teacher's, for as many
steps; random weights instead of pretrained ones, for as many steps; and fewer of the teacher's examples. All are asked
the held-out questions of unseen forms, once, as the run's own student was. It changes nothing in the run.

Run it with ``make bench-worth`` after ``make demo``, or both with ``make demo-full``; what is finished stays.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

import results
from cornue import pipeline
from cornue.evaluate.statistics import paired, share
from cornue.job import Job
from cornue.records.samples import Prompt, Verdict
from cornue.screen import Screen
from cornue.seal.tables import read_records
from otherwise import Changes, asked, changed

WORK = results.ROOT / ".cache" / "worth"
OWN = "the teacher's answers"
TRUTH, SCRATCH = "the truth alone", "random weights"
FEWER = (50, 200, 800)
# Few examples are seen several times, or nothing would be learnt from them at all.
PASSES = {50: 4, 200: 3, 800: 1}


def main() -> int:
    """Make the students, ask them, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", type=Path, default=results.ROOT / "recipes" / "communes.toml")
    parser.add_argument("--run", type=Path, help="the folder of a finished run; by default the recipe's own")
    parser.add_argument("--without", action="append", default=[], help="a way that is not run, by its name")
    options = parser.parse_args()
    job = Job.read(options.recipe)
    run = options.run or results.ROOT / "runs" / job.name
    examined = read_records(run / "5-evaluate" / "prompts.parquet", Prompt)
    prompts = [prompt for prompt in examined if prompt.stratum == "unseen"]
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
            recipe = changed(options.recipe, WORK / f"worth-{number}.toml", changes)
            made = pipeline.run(recipe, until="train", runs=WORK / "runs", progress=screen)
            verdicts = asked(job, made / "4-train" / "student", prompts, WORK / f"{made.name}-asked", screen)
            found[way] = [verdict.value == "correct" for verdict in verdicts]
            learnt[way] = lessons(made)
    return report(found, learnt, [way for way in ways if way not in found])


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


def report(found: dict[str, list[bool]], learnt: dict[str, tuple[int, int]], not_run: Sequence[str]) -> int:
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
    left_out = [{"name": way, "reason": "left out (--without)"} for way in not_run]
    outcome = results.write("bench-worth", figures, bars, left_out)
    return 0 if all(one["holds"] for one in outcome["bars"]) else 1


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
