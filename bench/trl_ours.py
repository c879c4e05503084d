"""Our side of the comparison with TRL: one measurement in one process, as ``train_vs_trl`` asks for it.

The loop, the methods, the capture and the teacher are those of every run; only the order of the texts is given, so that
both sides learn the same texts in the same steps. It prints what it measured as one line of JSON.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import trl_materials as materials
from cornue.models import int8
from cornue.models.student import Student
from cornue.records.progress import Silent
from cornue.records.recipe import LogitKd as LogitKdStage
from cornue.records.recipe import OnPolicyKd as OnPolicyKdStage
from cornue.records.samples import Example, Prompt
from cornue.train.captured import CapturedDistributions
from cornue.train.logit_kd import LogitKd
from cornue.train.loop import Settings, learn
from cornue.train.materials import Materials
from cornue.train.on_policy_kd import OnPolicyKd
from cornue.train.weights import Weights


@dataclass(frozen=True)
class Given:
    """Steps that are given instead of drawn."""

    steps: Sequence[Sequence[Any]]

    def at(self, step: int) -> list[int]:
        """What is learnt in a step."""
        return list(self.steps[step])

    def take(self, first: int, count: int) -> list[Any]:
        """The prompts of a step."""
        return list(self.steps[first // count])


def main(side: str, name: str, seed: int, folder: Path, dtype: Any) -> dict[str, Any]:
    """Train the student; returns seconds, tokens, peak of memory and divergence."""
    texts = materials.SETS[name]
    place, batches = folder / name, texts.batches(seed)
    student = materials.open_model(folder / "student")
    examples = materials.read(place, materials.TRAIN)
    settings = Settings(dtype=dtype)
    with tempfile.TemporaryDirectory() as scratch:
        stage: LogitKdStage | OnPolicyKdStage
        method: LogitKd | OnPolicyKd
        if side == "on_policy":
            stage, method = on_policy(student, examples, batches, folder, settings, seed, Path(scratch))
        else:
            stage, method = offline(side, student, examples, batches, folder, place, settings, seed)
        weights = Weights(student.model, stage, getattr(torch, dtype), seed)
        steps: list[dict[str, float]] = []
        with materials.cores_at_work() as cores:
            learn(weights, method, stage, Path(scratch), settings=settings, progress=Silent(), on_step=steps.append)
        peak, model = materials.peak_bytes(), weights.finish()
    real = [sum(len(part) for one in batch for part in materials.ids_of(student, examples[one])) for batch in batches]
    read = [int(step["tokens"]) for step in steps]
    return {
        "seconds": [step["seconds"] for step in steps],
        "tokens": read if side == "on_policy" else real,
        "padding": 0.0 if side == "on_policy" else 1 - sum(real) / sum(read),
        "loss": [step["loss"] for step in steps],
        "peak": peak,
        "cores": cores[0],
        "divergence": materials.divergence(model, folder, materials.read(place, materials.HELD_OUT)),
    }


def offline(
    side: str,
    student: Student,
    examples: Sequence[Example],
    batches: list[list[int]],
    folder: Path,
    place: Path,
    settings: Settings,
    seed: int,
) -> tuple[LogitKdStage, LogitKd]:
    """Forward KL on given texts, to what a capture holds, to a live teacher, or to one rounded to 8-bit integers."""
    live = side != "cached"
    stage = LogitKdStage(method="logit_kd", live=live, batch_tokens=4096, **schedule(len(batches)))
    offered = Materials(
        distributions=None if live else CapturedDistributions(materials.open_taken(place / "capture")),
        teacher=materials.open_model(folder / "teacher") if live else None,
    )
    if offered.teacher and side == "live_int8":
        int8.freeze(offered.teacher.model)
    method = LogitKd(stage, student, examples, (), offered, settings, seed)
    if method.without:
        raise RuntimeError(f"{method.without} texts have no distributions")
    method.order, method.steps = Given(batches), len(batches)  # type: ignore[assignment]
    return stage, method


def on_policy(
    student: Student,
    examples: Sequence[Example],
    batches: list[list[int]],
    folder: Path,
    settings: Settings,
    seed: int,
    scratch: Path,
) -> tuple[OnPolicyKdStage, OnPolicyKd]:
    """Reverse KL on what the student writes."""
    prompts = [Prompt(id=example.prompt_id, messages=example.messages) for example in examples]
    stage = OnPolicyKdStage(
        method="on_policy_kd",
        max_tokens=materials.MAX_TOKENS,
        prompts_per_step=len(batches[0]),
        **schedule(len(batches)),
    )
    offered = Materials(teacher=materials.open_model(folder / "teacher"))
    method = OnPolicyKd(stage, student, examples, (), offered, settings, seed, scratch)
    method.turns = Given([[prompts[one] for one in batch] for batch in batches])  # type: ignore[assignment]
    return stage, method


def schedule(steps: int) -> dict[str, Any]:
    """What both sides set alike; see ``trl_theirs``."""
    return {
        "max_steps": steps,
        "epochs": 1000,
        "learning_rate": materials.RATE,
        "warmup": 0.0,
        "checkpoint_every": 1000,
    }


if __name__ == "__main__":
    found = main(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]), sys.argv[5])
    print(json.dumps(found))
