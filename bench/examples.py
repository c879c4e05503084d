"""How good a student gets from how many of a teacher's answers by ``sft``, ``logit_kd`` and ``on_policy_kd``.

The teacher is the demo's student, so that both have one vocabulary: it is asked the training questions once, with its
distributions. The student is SmolLM2-135M with that vocabulary and none of its knowledge. Each method gets the same
questions and the same passes over them; then held-out questions of unseen forms are asked, as the student is served.

Run it with ``make bench-examples`` after ``make demo``; what is finished stays.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import results
from cornue import pipeline
from cornue.evaluate.statistics import paired, share
from cornue.job import Job
from cornue.models.student import prepare
from cornue.records.samples import Example
from cornue.screen import Screen
from cornue.seal.tables import read_records
from otherwise import Changes, asked, changed, starts_at, taught_by

NAME = "bench-examples"
WORK = results.ROOT / ".cache" / "examples"
# Questions, and passes over them: few are seen several times, or nothing would be learnt from them at all.
PASSES = {50: 4, 200: 3, 800: 2}
COMMON = {"learning_rate": 4e-4, "checkpoint_every": 1000}
STAGES: dict[str, dict[str, Any]] = {
    "sft": {"method": "sft", "batch_tokens": 384, **COMMON},
    "logit_kd": {"method": "logit_kd", "batch_tokens": 384, **COMMON},
    # Some 384 tokens, questions included.
    "on_policy_kd": {"method": "on_policy_kd", "prompts_per_step": 7, "max_tokens": 80, **COMMON},
}
DRAWS = 80


def main() -> int:
    """Make the students, ask them, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", type=Path, default=results.ROOT / "recipes" / "communes.toml")
    parser.add_argument("--run", type=Path, help="the folder of a finished run; by default the recipe's own")
    parser.add_argument("--few", type=int, action="append", help="only with so many questions, for a trial")
    options = parser.parse_args()
    job = Job.read(options.recipe)
    run = options.run or results.ROOT / "runs" / job.name
    prompts = [prompt for prompt in job.prompts if (prompt.split, prompt.stratum) == ("heldout", "unseen")]
    common: Changes = {
        **taught_by(run / "4-train" / "student"),
        **starts_at(start_of(job, run)),
        ("capture", ""): {"temperature": 0.7, "max_tokens": 96, "distributions": "sampled", "width": DRAWS},
        # Every answer stands for itself: of one that is carried over there are no probabilities.
        ("curate", ""): {"keep": "correct", "refusals": 0.08},
    }
    found: dict[tuple[int, str], list[bool]] = {}
    with Screen() as screen:
        capture = pipeline.run(
            changed(options.recipe, WORK / "capture.toml", common), until="capture", runs=WORK / "runs", progress=screen
        )
        used: Changes = {**common, ("capture", "use"): capture / "1-capture"}
        for few in options.few or PASSES:
            take = {**job.recipe.sources.take, "train/": few}
            for method, stage in STAGES.items():
                changes = {**used, ("sources", "take"): take, ("train", ""): [{**stage, "epochs": PASSES[few]}]}
                recipe = changed(options.recipe, WORK / f"{method.replace('_', '-')}-{few}.toml", changes)
                made = pipeline.run(recipe, until="train", runs=WORK / "runs", progress=screen)
                verdicts = asked(job, made / "4-train" / "student", prompts, WORK / f"{made.name}-asked", screen)
                found[few, method] = [verdict.value == "correct" for verdict in verdicts]
    figures = {"teacher": teacher_share(run), "questions": len(prompts), "students": rows(found)}
    results.write(NAME, figures, [], folder=None if options.few else results.RESULTS)
    return 0


def start_of(job: Job, run: Path) -> Path:
    """The start of a run with the vocabulary that the run gave it, before it learnt anything."""
    kept, examples = WORK / f"{run.name}-start", read_records(run / "3-curate" / "train.parquet", Example)
    names = job.register.texts() if job.register else []
    prepare(kept, job.student_start, job.recipe.student, examples, names)
    return kept


def teacher_share(run: Path) -> float:
    """What the teacher itself got right, as its own run measured it."""
    examined = json.loads((run / "5-evaluate" / "results.json").read_text(encoding="utf-8"))
    right: float = examined["answerers"]["student"]["unseen"]["share"]
    return right


def rows(found: dict[tuple[int, str], list[bool]]) -> list[dict[str, Any]]:
    """One line for each student, with its difference to ``sft`` on the same questions."""
    lines = []
    for (few, method), right in found.items():
        against = paired(right, found[few, "sft"])
        more = {name: against[f"difference{part}"] for name, part in (("more", ""), ("low", "_low"), ("high", "_high"))}
        lines.append(
            {
                "questions": few,
                "passes": PASSES[few],
                "method": method,
                **share(sum(right), len(right)),
                **{f"{name}_than_sft": value for name, value in more.items()},
            }
        )
    return lines


if __name__ == "__main__":
    sys.exit(main())
