"""Proves for each method of training that a stage killed at random moments ends with the weights of an undisturbed one.

A tiny student learns by each method in a child process that is killed with SIGKILL at random moments, twenty times, and
started again each time; the weights at the end must have the digest of a run that nobody disturbed. Everything is as in
a real run but for the size. It does not simulate a power cut: the disk is trusted.

Run it with ``make prove-resume``, which goes on to whole journeys, or alone with ``make prove-resume-methods``.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import results
from cornue.models.student import Student
from cornue.models.tiny import tiny_model, tiny_tokenizer
from cornue.records.digests import digest_file
from cornue.records.progress import Silent
from cornue.records.recipe import Grpo, LogitKd, OnPolicyKd, Sft, TrainStage
from cornue.records.samples import Example, Message, Prompt, Sample, Verdict
from cornue.train.loop import Settings
from cornue.train.materials import Materials
from cornue.train.run import run_stages

NAME = "prove-resume-methods"
QUESTIONS = [f"How many inhabitants has town {number}?" for number in range(24)]
PROMPTS = [Prompt.make((Message(role="user", content=text),)) for text in QUESTIONS]
EXAMPLES = [
    Example(prompt_id=prompt.id, messages=prompt.messages, completion=f"SELECT {number} FROM towns")
    for number, prompt in enumerate(PROMPTS)
]
STEPS: dict[str, Any] = {"max_steps": 120, "epochs": 1000, "checkpoint_every": 7, "validate_every": 30}
STAGES: dict[str, TrainStage] = {
    "sft": Sft(method="sft", batch_tokens=256, **STEPS),
    "logit_kd": LogitKd(method="logit_kd", live=True, truth=0.2, batch_tokens=256, **STEPS),
    "on_policy_kd": OnPolicyKd(method="on_policy_kd", max_tokens=12, prompts_per_step=6, teacher_share=0.3, **STEPS),
    "grpo": Grpo(method="grpo", max_tokens=3, prompts_per_step=3, group=4, **{**STEPS, "validate_every": 0}),
}


def student(seed: int) -> Student:
    """A tiny random student."""
    tokenizer = tiny_tokenizer()
    return Student(tiny_model(tokenizer, seed=seed), tokenizer)


def judge(prompt: Prompt, sample: Sample) -> Verdict:
    """Right is an answer with a letter of the first half of the alphabet."""
    right = any(letter in sample.text for letter in "abcdefghijklm")
    return Verdict(
        prompt_id=prompt.id,
        index=sample.index,
        value="correct" if right else "wrong",
        reason="letters",
        verifier="letters",
    )


def train(method: str, folder: Path) -> None:
    """The whole stage of a method, from wherever it was left."""
    run_stages(
        [STAGES[method]],
        student(0),
        EXAMPLES,
        EXAMPLES[:4],
        folder,
        seed=1,
        settings=Settings(),
        progress=Silent(),
        on_step=lambda figures: None,
        materials=Materials(teacher=student(9), prompts=PROMPTS, judge=judge),
    )


def in_child(work: Callable[[], None], seconds: float | None) -> bool:
    """Do some work in a child that is killed after so many seconds; returns whether it ended by itself."""
    child = os.fork()
    if not child:
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    end = time.monotonic() + (seconds if seconds is not None else float("inf"))
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            if status:
                raise RuntimeError(f"the child failed with {status}")
            return True
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def prove(method: str, folder: Path, kills: int, draw: random.Random) -> dict[str, Any]:
    """One stage undisturbed and one that is killed, begun anew when it comes to its end before the kills are spent."""
    whole, killed = folder / "whole", folder / "killed"
    begin = time.monotonic()
    in_child(lambda: train(method, whole), None)
    seconds, done, ended = time.monotonic() - begin, 0, [whole]
    while done < kills:
        if in_child(lambda: train(method, killed), draw.uniform(0, seconds / 4)):
            ended.append(killed.rename(folder / f"killed-{len(ended)}"))
        else:
            done += 1
    in_child(lambda: train(method, killed), None)
    digests = {digest_file(place / "student" / "model.safetensors") for place in (*ended, killed)}
    return {
        "method": method,
        "kills": done,
        "runs": len(ended),
        "steps": STAGES[method].max_steps,
        "seconds_undisturbed": seconds,
        "digests": sorted(digests),
    }


def main() -> int:
    """Runs the proof; exits with 1 if a bar does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    draw, work = random.Random(options.seed), results.ROOT / ".cache" / NAME
    shutil.rmtree(work, ignore_errors=True)
    rows: list[dict[str, Any]] = []
    bars: list[dict[str, Any]] = []
    for method in STAGES:
        rows.append(prove(method, work / method, options.kills, draw))
        print(rows[-1], flush=True)
        bars.append(results.bar(f"{method}: different digests", len(rows[-1]["digests"]), 1, at_most=True))
        bars.append(results.bar(f"{method}: kills", rows[-1]["kills"], options.kills))
    figures = {"methods": rows}
    outcome = results.write(NAME, figures, bars)
    return 0 if all(item["holds"] for item in outcome["bars"]) else 1


if __name__ == "__main__":
    raise SystemExit(main())
