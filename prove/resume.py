"""Proves that a run killed at random moments ends like one that nobody disturbed, and repeats nothing finished.

One run goes through undisturbed (or is given with ``--reference``); another is killed with SIGKILL at random moments
and started again each time. Both must end with the same model digest. Repeated work is counted from what the killed run
left on disk: answers asked for twice, steps learnt twice. It does not simulate a power cut: the disk is trusted.

Run it with ``make prove-resume``; ``--recipe`` and ``--kills`` choose another journey.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import results
from cornue.job import Job
from cornue.pack.open import open_pack

SHORTEST = 3.0
# Runs are let live a little longer than their share on average, since each loses its start-up.
AIR = 1.5


def main() -> int:
    """Runs the proof; exits with 1 if a bar does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", type=Path, default=results.ROOT / "recipes" / "communes.toml")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--reference", type=Path, help="the folder of an undisturbed run of the same recipe")
    parser.add_argument("--name", default="prove-resume")
    options = parser.parse_args()
    work = results.ROOT / ".cache" / options.name
    shutil.rmtree(work, ignore_errors=True)
    job = Job.read(options.recipe)
    reference = options.reference or undisturbed(options.recipe, work / "whole") / job.name
    whole = spent(reference)
    killed = work / "killed" / job.name
    report = disturbed(options.recipe, killed, options.kills, whole, random.Random(options.seed))
    digests = [open_pack(run / "6-pack").facts.model_digest for run in (reference, killed)]
    report |= {
        "model_digest_undisturbed": digests[0],
        "model_digest_killed": digests[1],
        "undisturbed_seconds": whole,
        "killed_seconds": spent(killed),
    }
    bars = [
        results.bar("runs that end with the same model digest", float(digests[0] == digests[1]), 1),
        results.bar("kills", report["kills"], options.kills),
        results.bar("steps on the curve twice", steps_twice(killed), 0, at_most=True),
        results.bar("answers asked for twice", report["answers_asked_twice"], 0, at_most=True),
        results.bar("most steps repeated after one kill", report["most_steps_repeated"], cadence(job), at_most=True),
    ]
    outcome = results.write(options.name, report, bars)
    return 0 if all(item["holds"] for item in outcome["bars"]) else 1


def undisturbed(recipe: Path, runs: Path) -> Path:
    """One run from beginning to end."""
    subprocess.run(command(recipe, runs), check=True, stdout=subprocess.DEVNULL)
    return runs


def disturbed(recipe: Path, run: Path, kills: int, whole: float, draw: random.Random) -> dict[str, Any]:
    """A run that is killed at random moments, then left to end; what each kill cost is read from the disk."""
    where: list[str] = []
    lost: list[int] = []
    twice = 0
    while len(where) < kills:
        process = subprocess.Popen(
            command(recipe, run.parent), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            process.wait(max(SHORTEST, draw.expovariate(1 / (AIR * whole / kills))))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            where.append(current_step(run))
            lost.append(unsaved_steps(run))
            twice += answers_twice(run)
            print(f"kill {len(where)} during {where[-1]}: {lost[-1]} steps to repeat", flush=True)
            continue
        if process.returncode:
            raise RuntimeError(f"the run failed by itself with {process.returncode}")
        # It ended before the kills were spent: the last two steps are taken away and done again.
        for place in ("6-pack", "5-evaluate"):
            shutil.rmtree(run / place, ignore_errors=True)
    subprocess.run(command(recipe, run.parent), check=True, stdout=subprocess.DEVNULL)
    return {
        "kills": len(where),
        "killed_during": ", ".join(f"{step} {where.count(step)}" for step in sorted(set(where))),
        "steps_repeated": sum(lost),
        "most_steps_repeated": max(lost),
        "answers_asked_twice": twice,
    }


def command(recipe: Path, runs: Path) -> list[str]:
    """The command line of a run."""
    return [sys.executable, "-m", "cornue.cli", "run", str(recipe), "--runs", str(runs)]


def current_step(run: Path) -> str:
    """The step that was at work when a run was killed."""
    partial = sorted(path.name for path in run.glob("*.partial"))
    return partial[-1].split("-")[1].removesuffix(".partial") if partial else "between steps"


def unsaved_steps(run: Path) -> int:
    """Steps that were learnt and are on no checkpoint: they will be learnt again."""
    lost = 0
    for curve in run.glob("4-train.partial/stages/*/curve.jsonl"):
        learnt = len(curve.read_text(encoding="utf-8").splitlines())
        saved = [int(path.name.split("-")[1]) for path in curve.parent.glob("checkpoints/step-*")]
        lost += max(0, learnt - max(saved, default=0))
    return lost


def answers_twice(run: Path) -> int:
    """Requests that stand in an unfinished journal more than once."""
    twice = 0
    for folder in {path.parent for path in run.glob("*.partial/**/samples-*.jsonl.partial")}:
        lines = [line for path in folder.glob("samples-*.partial") for line in path.read_text().splitlines()]
        asked = [line.split('"', 4)[3] for line in lines]
        twice += len(asked) - len(set(asked))
    return twice


def steps_twice(run: Path) -> int:
    """Steps that stand on a finished curve more than once."""
    twice = 0
    for path in run.glob("4-train/stages/*/curve.jsonl"):
        numbers = [json.loads(line)["step"] for line in path.read_text(encoding="utf-8").splitlines()]
        twice += len(numbers) - len(set(numbers))
    return twice


def cadence(job: Job) -> int:
    """The most steps between two checkpoints, which is the most that a kill may cost."""
    return max(stage.checkpoint_every for stage in job.recipe.train)


def spent(run: Path) -> float:
    """Wall seconds that a run's ledger counts."""
    lines = (run / "ledger.jsonl").read_text(encoding="utf-8").splitlines()
    return float(sum(json.loads(line)["numbers"].get("wall", {}).get("value", 0.0) for line in lines))


if __name__ == "__main__":
    sys.exit(main())
