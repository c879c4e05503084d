"""Runs the stages of a recipe one after the other, each from where the one before ended, and writes the student.

::

    student/                 the trained student: safetensors, tokenizer, template
    stages/01-sft/           curve.jsonl, checkpoints/, best/, end/ (the weights after this stage)
    stages/02-on_policy_kd/  …

A stage whose ``end`` is there is never trained again; one that was killed goes on from its last checkpoint. It decides
neither what is learnt (the methods do) nor whether the student is good (that is ``evaluate``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from cornue.capture.reader import CaptureReader
from cornue.records import recipe
from cornue.records.progress import Progress
from cornue.records.recipe import Grpo as GrpoStage
from cornue.records.recipe import LogitKd as LogitKdStage
from cornue.records.recipe import OnPolicyKd as OnPolicyKdStage
from cornue.records.recipe import TrainStage
from cornue.records.samples import Example, Prompt, Sample, Verdict
from cornue.records.words import words
from cornue.seal.write import new_folder
from cornue.train import processes
from cornue.train.captured import CapturedDistributions
from cornue.train.grpo import Grpo
from cornue.train.logit_kd import LogitKd
from cornue.train.loop import Figures, Method, Settings, learn
from cornue.train.materials import Materials, Student
from cornue.train.on_policy_kd import OnPolicyKd
from cornue.train.sft import Sft
from cornue.train.sharded import ShardedWeights
from cornue.train.teacher import LoadedTeacher
from cornue.train.weights import Weights


@dataclass(frozen=True)
class StageResult:
    """What one stage did, from its curve, so that a resumed run says the same.

    Args:
        tokens: read by the student, repeated steps not counted.
        seconds: of the steps on the curve.
        chosen_step: the step whose weights were kept.
    """

    method: str
    steps: int
    tokens: int
    seconds: float
    first_loss: float
    last_loss: float
    chosen_step: int
    validation_loss: float | None


@dataclass(frozen=True)
class Trained:
    """The end of training.

    Args:
        student: folder of the trained student.
    """

    student: Path
    stages: tuple[StageResult, ...]


def run_stages(
    stages: Sequence[TrainStage],
    start: Student,
    examples: Sequence[Example],
    validation: Sequence[Example],
    folder: Path,
    *,
    seed: int,
    settings: Settings,
    progress: Progress,
    on_step: Callable[[Figures], None] = lambda figures: None,
    materials: Materials | None = None,
) -> Trained:
    """Train all stages that are not finished and write the student.

    Args:
        start: the student before training; its model is changed in place.
        examples: what is learnt; ``validation`` is what checkpoints are chosen by.
        on_step: called with the figures of every finished step; may raise to stop.
        materials: what methods other than ``sft`` need.

    Raises:
        BadInput: an example cannot be learnt under a stage's settings, or a material is missing.
        Refused: a stage uses a capture for what it does not serve.
        CheckFailed: the loss is no longer a number.
    """
    if settings.threads:
        torch.set_num_threads(settings.threads)
    processes.join()
    results = []
    for number, stage in enumerate(stages, start=1):
        place = folder / "stages" / f"{number:02d}-{stage.method}"
        if not (place / "end").exists():
            place.mkdir(parents=True, exist_ok=True)
            kind = ShardedWeights if processes.count() > 1 else Weights
            weights = kind(start.model, stage, getattr(torch, settings.dtype), seed)
            method = make_method(
                stage, start, examples, validation, materials or Materials(), settings, seed + number - 1, place
            )
            if isinstance(method, LogitKd) and method.without:
                progress.say(
                    words(
                        en=f"{method.without} texts without distributions are learnt as they stand",
                        fr=f"{method.without} textes sans distributions sont appris tels quels",
                    )
                )
            progress.begin(stage.method, method.steps)
            learn(weights, method, stage, place, settings=settings, progress=progress, on_step=on_step)
            start.model = weights.finish()
            if processes.is_first():
                with new_folder(place / "end") as new:
                    save_file(dict(start.model.named_parameters()), new / "weights.safetensors")
            processes.wait()
        else:
            _load(start.model, place / "end" / "weights.safetensors")
        results.append(_result(stage, place / "curve.jsonl"))
    student = folder / "student"
    if not student.exists() and processes.is_first():
        with new_folder(student) as new:
            start.save(new)
    processes.wait()
    return Trained(student, tuple(results))


def materials_for(
    whole: recipe.Recipe,
    capture: CaptureReader,
    base: Path,
    schema: str,
    prompts: Sequence[Prompt],
    judge: Callable[[Prompt, Sample], Verdict],
) -> Materials:
    """What the stages of a recipe need, and no more: weights are loaded only where a stage asks them.

    Args:
        capture: the finished capture that the examples come from.
        base: the recipe's folder; ``schema`` is what stands for ``{schema}`` in the teacher's instructions.

    Raises:
        BadInput: a stage reads distributions that the capture does not hold, or the teacher's weights are missing.
    """
    lives = [stage.live for stage in whole.train if isinstance(stage, LogitKdStage)]
    asked = any(lives) or any(isinstance(stage, OnPolicyKdStage) for stage in whole.train)
    return Materials(
        distributions=None if all(lives) else CapturedDistributions(capture),
        approximate=whole.capture.approximate,
        teacher=LoadedTeacher(whole.teacher, base, schema) if asked else None,
        prompts=prompts,
        judge=judge,
    )


def make_method(
    stage: TrainStage,
    student: Student,
    examples: Sequence[Example],
    validation: Sequence[Example],
    materials: Materials,
    settings: Settings,
    seed: int,
    folder: Path,
) -> Method:
    """The method of a stage; ``folder`` is where it may store what it must not do twice."""
    if isinstance(stage, LogitKdStage):
        return LogitKd(stage, student, examples, validation, materials, settings, seed)
    if isinstance(stage, OnPolicyKdStage):
        return OnPolicyKd(stage, student, examples, validation, materials, settings, seed, folder)
    if isinstance(stage, GrpoStage):
        return Grpo(stage, student, examples, materials, settings, seed, folder)
    return Sft.of(stage, student, examples, validation, settings, seed)


def _load(model: Any, path: Path) -> None:
    values = load_file(path)
    with torch.no_grad():
        for name, param in model.named_parameters():
            param.copy_(values[name])


def _result(stage: TrainStage, curve: Path) -> StageResult:
    lines = [json.loads(line) for line in curve.read_text(encoding="utf-8").splitlines()]
    validated = [line for line in lines if "validation_loss" in line]
    chosen = min(validated, key=lambda line: float(line["validation_loss"]), default=lines[-1])
    return StageResult(
        method=stage.method,
        steps=len(lines),
        tokens=sum(line["tokens"] for line in lines),
        seconds=sum(line["seconds"] for line in lines),
        first_loss=lines[0]["loss"],
        last_loss=lines[-1]["loss"],
        chosen_step=chosen["step"],
        validation_loss=chosen.get("validation_loss"),
    )


def as_record(trained: Trained) -> dict[str, Any]:
    """The stages' results as JSON."""
    return {"stages": [asdict(result) for result in trained.stages]}
