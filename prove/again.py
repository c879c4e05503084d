"""The capture in the repository, made again: does the teacher still say what the capture holds?

The first measuring prompts of the recipe, by their ids, are asked again as ``cornue capture --fresh`` asks: greedily,
many at once; and the first of them one at a time, in the order of sums that no neighbour disturbs. Of answers that
differ it is told how far they go together, and whether they are judged alike. It asks nothing that training uses and
changes no capture.

Run it with ``make prove-again`` after ``make demo``; ``scripts/assemble_teacher.py`` fetches the teacher's file.
"""

from __future__ import annotations

import argparse
import os.path
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import results
from cornue.capture.budget import Purse
from cornue.capture.teacher import Ask, Sampling, Teacher, seed_of
from cornue.capture.teachers import open_teacher
from cornue.job import Job
from cornue.records.samples import Prompt, Sample
from cornue.verify.base import Verifier
from cornue.verify.run import make_verifier

EQUAL, ALIKE = 0.9, 0.95


def main() -> int:
    """Ask again and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--together", type=int, default=160, help="prompts asked many at once")
    parser.add_argument("--alone", type=int, default=40, help="prompts asked one at a time")
    parser.add_argument("--recipe", type=Path, default=results.ROOT / "recipes" / "communes.toml")
    options = parser.parse_args()
    job = Job.read(options.recipe)
    recipe = job.recipe
    capture = job.capture
    held = {sample.prompt_id: sample for sample in capture.samples()}
    measuring = sorted((p for p in capture.prompts() if p.split != "train"), key=lambda prompt: prompt.id)
    verifier = make_verifier(recipe.verify, job.base, job.register)
    sampling = Sampling(temperature=0.0, max_tokens=recipe.capture.max_tokens, seed=recipe.recipe.seed)
    figures: dict[str, Any] = {"answers held": len(held), "capture": capture.digest}
    bars: list[dict[str, Any]] = []
    for how, number in (("together", options.together), ("alone", options.alone)):
        section = recipe.teacher if how == "together" else recipe.teacher.model_copy(update={"slots": 1})
        chosen = measuring[:number]
        with open_teacher(section, job.base, job.schema) as teacher:
            same = teacher.identity() == capture.identity
            teacher.prepare(chosen, Purse())
            again = ask(teacher, chosen, sampling)
        told = compare(chosen, held, again, verifier)
        figures |= {f"{how}: {name}": value for name, value in told.items()}
        figures[f"{how}: the same teacher by its identity"] = same
        bars += [
            results.bar(f"asked {how}: share of answers with the same text", told["same text"] / number, EQUAL),
            results.bar(f"asked {how}: share judged alike", told["judged alike"] / number, ALIKE),
        ]
    results.write("prove-again", figures, bars)
    return 0 if all(bar["holds"] for bar in bars) else 1


def ask(teacher: Teacher, prompts: Sequence[Prompt], sampling: Sampling) -> dict[str, Sample]:
    """The teacher's answers, by prompt."""
    asks = [Ask(prompt, 0, seed_of(sampling.seed, prompt, 0)) for prompt in prompts]
    return {sample.prompt_id: sample for sample in teacher.sample(asks, sampling)}


def compare(
    prompts: Sequence[Prompt], held: Mapping[str, Sample], again: Mapping[str, Sample], verifier: Verifier
) -> dict[str, Any]:
    """How many answers are the same, and how those that differ do."""
    same = alike = right_before = right_again = 0
    shared: list[float] = []
    for prompt in prompts:
        before, after = held[prompt.id], again[prompt.id]
        verdicts = verifier.judge(prompt, before).value, verifier.judge(prompt, after).value
        same += before.text == after.text
        alike += verdicts[0] == verdicts[1]
        right_before += verdicts[0] == "correct"
        right_again += verdicts[1] == "correct"
        if before.text != after.text:
            common = os.path.commonprefix([before.text, after.text])
            shared.append(len(common) / max(1, len(before.text)))
    return {
        "asked": len(prompts),
        "same text": same,
        "judged alike": alike,
        "right in the capture": right_before,
        "right again": right_again,
        "of others, mean share of the text before they part": sum(shared) / len(shared) if shared else 1.0,
    }


if __name__ == "__main__":
    sys.exit(main())
