"""The capture in the repository, made again: does the teacher still say what the capture holds?

The first measuring prompts of the recipe, by their ids, are asked again as ``cornue capture --fresh`` asks: greedily,
many at once. The first of them are asked one at a time as well, twice: alone, the teacher must say the same to the
letter. In company its sums are added in another order, so it may take another word where two are all but equally
likely; of each answer that parts from the capture's it is told how much less likely the new word is, by the teacher's
own weights, and whether the verdict changes. It asks nothing that training uses and changes no capture.

Run it with ``make prove-again`` after ``make demo``; ``scripts/assemble_teacher.py`` fetches the teacher's file.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import results
from cornue.capture.budget import Purse
from cornue.capture.score import text_of
from cornue.capture.teacher import Ask, Sampling, Teacher, Text, seed_of
from cornue.capture.teachers import open_teacher
from cornue.job import Job
from cornue.records.samples import Prompt, Sample
from cornue.verify.base import Verifier
from cornue.verify.run import make_verifier

ALIKE = 0.95
# A word that is nowhere near as likely would not come of rounding. The teacher computes in 8-bit integers, one part in
# a hundred: logits of some tens move by some tenths.
NEAR = 0.5


def main() -> int:
    """Ask again and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--together", type=int, default=160, help="prompts asked many at once")
    parser.add_argument("--alone", type=int, default=20, help="prompts asked one at a time, twice")
    parser.add_argument("--recipe", type=Path, default=results.ROOT / "recipes" / "communes.toml")
    options = parser.parse_args()
    job = Job.read(options.recipe)
    recipe, capture = job.recipe, job.capture
    held = {sample.prompt_id: sample for sample in capture.samples()}
    measuring = sorted((p for p in capture.prompts() if p.split != "train"), key=lambda prompt: prompt.id)
    many, few = measuring[: options.together], measuring[: options.alone]
    verifier = make_verifier(recipe.verify, job.base, job.register)
    sampling = Sampling(temperature=0.0, max_tokens=recipe.capture.max_tokens, seed=recipe.recipe.seed)
    with open_teacher(recipe.teacher, job.base, job.schema) as teacher:
        identity = teacher.identity()
        teacher.prepare(many, Purse())
        together = ask(teacher, many, sampling)
        gaps = partings(teacher, many, held, together)
    once, twice = (alone(job, few, sampling) for _ in range(2))
    told = {"together": compare(many, held, together, verifier), "alone": compare(few, held, once, verifier)}
    figures: dict[str, Any] = {"answers held": len(held), "capture": capture.digest}
    figures |= {f"{how}: {name}": value for how, facts in told.items() for name, value in facts.items()}
    figures["where they part: how much less likely the new word is, nats, median"] = statistics.median(gaps or [0.0])
    figures["where they part: the same, most"] = max(gaps, default=0.0)
    same = sum(once[prompt.id].text == twice[prompt.id].text for prompt in few)
    alike = told["together"]["judged alike"] / len(many)
    bars = [
        results.bar("the same teacher by its identity", int(identity == capture.identity), 1),
        results.bar("asked alone twice: share of answers with the same text", same / len(few), 1.0),
        results.bar("asked together: share judged as in the capture", alike, ALIKE),
        results.bar(
            "where they part: share of new words all but as likely",
            sum(gap <= NEAR for gap in gaps) / len(gaps) if gaps else 1.0,
            ALIKE,
        ),
    ]
    results.write("prove-again", figures, bars)
    return 0 if all(bar["holds"] for bar in bars) else 1


def alone(job: Job, prompts: Sequence[Prompt], sampling: Sampling) -> dict[str, Sample]:
    """The answers of a teacher that is opened anew and asked one prompt at a time."""
    with open_teacher(job.recipe.teacher.model_copy(update={"slots": 1}), job.base, job.schema) as teacher:
        teacher.prepare(prompts, Purse())
        return ask(teacher, prompts, sampling)


def ask(teacher: Teacher, prompts: Sequence[Prompt], sampling: Sampling) -> dict[str, Sample]:
    """The teacher's answers, by prompt."""
    asks = [Ask(prompt, 0, seed_of(sampling.seed, prompt, 0)) for prompt in prompts]
    return {sample.prompt_id: sample for sample in teacher.sample(asks, sampling)}


def partings(
    teacher: Teacher, prompts: Sequence[Prompt], held: Mapping[str, Sample], again: Mapping[str, Sample]
) -> list[float]:
    """How much less likely the new token is than the one of the capture, in nats, where two answers part."""
    texts, pairs = [], []
    for prompt in prompts:
        before, after = held[prompt.id].token_ids, again[prompt.id].token_ids
        place = next((i for i, (old, new) in enumerate(zip(before, after, strict=False)) if old != new), None)
        if place is not None:
            whole = text_of(teacher, prompt, held[prompt.id])
            texts.append(Text(whole.prompt, whole.completion[: place + 1]))
            pairs.append((before[place], after[place]))
    gaps = {}
    for index, rows, p_RV in teacher.scorer(1.0).whole(texts):
        if rows.stop == len(texts[index].completion):
            old, new = pairs[index]
            gaps[index] = math.log(float(p_RV[-1, old])) - math.log(float(p_RV[-1, new]))
    return [gaps[index] for index in range(len(texts))]


def compare(
    prompts: Sequence[Prompt], held: Mapping[str, Sample], again: Mapping[str, Sample], verifier: Verifier
) -> dict[str, Any]:
    """How many answers are the same, are judged alike, and are right."""
    same = alike = right_before = right_again = 0
    for prompt in prompts:
        before, after = held[prompt.id], again[prompt.id]
        verdicts = verifier.judge(prompt, before).value, verifier.judge(prompt, after).value
        same += before.text == after.text
        alike += verdicts[0] == verdicts[1]
        right_before += verdicts[0] == "correct"
        right_again += verdicts[1] == "correct"
    return {
        "asked": len(prompts),
        "same text as in the capture": same,
        "judged alike": alike,
        "right in the capture": right_before,
        "right again": right_again,
    }


if __name__ == "__main__":
    sys.exit(main())
