"""What a recipe will need, before anything is spent: files, licences, vocabularies, time, electricity, disk.

Forecasts are made from counted tokens and parameters and a measured rate of this machine; they are estimates.
Licences are looked up in the oracle; a *no* refuses, an *unknown* warns.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from cornue.job import Asking, Job
from cornue.ledger.meters import watts_per_core
from cornue.ledger.numbers import estimated
from cornue.ledger.prices import electricity_cost
from cornue.models.gguf_file import read_gguf
from cornue.models.licences import Permission, may_start, may_teach, require_permission
from cornue.records.errors import BadInput
from cornue.records.recipe import LogitKd, OnPolicyKd, Recipe
from cornue.records.words import words

# Measured shares of the peak that each kind of work reaches; see docs/results.
TRAINING_SHARE = 0.5
SAMPLING_SHARE = 0.25
TOKENS_PER_WORD = 2.4
ANSWER_TOKENS = 32
BYTES_OF_A_CHECKPOINT = 12


def make_plan(path: Path, ask: Asking = "never") -> dict[str, Any]:
    """Everything that can be known of a recipe beforehand.

    Raises:
        BadInput: a file is missing, or teacher and student do not share the vocabulary that a method needs.
        Refused: a licence forbids it.
    """
    job = Job.read(path, ask)
    recipe = job.recipe
    files = job.files
    prompts = job.prompts
    teacher, student = recipe.teacher, recipe.student
    answers = {"teacher": may_teach(teacher.licence), "student": may_start(student.licence)}
    reasons = {"teacher": teacher.licence_reason, "student": student.licence_reason}
    found = (require_permission(permission, reasons[name]) for name, permission in answers.items())
    warnings = [warning for warning in found if warning]
    _same_vocabulary(job)
    trained = [prompt for prompt in prompts if prompt.split == "train"]
    words_asked = sum(len(message.content.split()) for prompt in trained for message in prompt.messages)
    tokens = int(words_asked * TOKENS_PER_WORD + len(trained) * ANSWER_TOKENS)
    parameters = read_gguf(job.student_start).parameters if job.student_start.suffix == ".gguf" else 0
    epochs = sum(stage.epochs for stage in recipe.train)
    work = 6.0 * parameters * tokens * epochs
    return {
        "recipe": recipe.recipe.name,
        "run": job.name,
        "files": files,
        "prompts": dict(sorted(Counter(prompt.split for prompt in prompts).items())),
        "teacher": _teacher(job, len(prompts)),
        "student": {"parameters": parameters},
        "train": {"tokens": int(tokens * epochs), "flops": work, **_time(work, TRAINING_SHARE)},
        "disk_bytes": parameters * BYTES_OF_A_CHECKPOINT * 4,
        "licences": {name: _say(permission) for name, permission in answers.items()},
        "warnings": warnings,
    }


def show_plan(plan: dict[str, Any]) -> str:
    """The plan for people."""
    train, teacher = plan["train"], plan["teacher"]
    lines = [
        words(en=f"{plan['recipe']}: nothing has been spent", fr=f"{plan['recipe']} : rien n'a été dépensé"),
        "prompts    " + ", ".join(f"{split} {count}" for split, count in plan["prompts"].items()),
        "teacher    " + (teacher["say"]),
        f"student    {plan['student']['parameters'] / 1e6:.0f} M",
        words(
            en=f"training   ≈ {train['tokens']:,} tokens, ≈ {train['minutes']:.0f} min, ≈ {train['euros']:.3f} €",
            fr=f"training   ≈ {train['tokens']} jetons, ≈ {train['minutes']:.0f} min, ≈ {train['euros']:.3f} €",
        ),
        words(
            en=f"disk       ≈ {plan['disk_bytes'] / 1e9:.1f} GB while it works",
            fr=f"disque     ≈ {plan['disk_bytes'] / 1e9:.1f} Go pendant le travail",
        ),
    ]
    for name, permission in plan["licences"].items():
        lines.append(f"licence    {name}: {permission['licence']}: {permission['answer']}")
        lines += [f"           – {duty}" for duty in permission["duties"]]
    return "\n".join(lines + [f"! {warning}" for warning in plan["warnings"]])


def _teacher(job: Job, asked: int) -> dict[str, Any]:
    """What asking will take; nothing where a finished capture stands in."""
    if job.uses_capture:
        counts = job.capture.counts
        say = words(
            en=f"asked before: {counts['samples']:.0f} answers are taken from {job.recipe.capture.use}",
            fr=f"déjà interrogé : {counts['samples']:.0f} réponses viennent de {job.recipe.capture.use}",
        )
        return {"asked": 0, "say": say}
    path = job.base / job.recipe.teacher.model
    answers = asked * job.recipe.capture.samples
    parameters = read_gguf(path).parameters if path.suffix == ".gguf" and path.is_file() else 0
    work = 2.0 * parameters * answers * 2 * ANSWER_TOKENS
    time = _time(work, SAMPLING_SHARE)
    return {"asked": answers, **time, "say": f"{answers} × ≈ {time['minutes']:.0f} min, ≈ {time['euros']:.3f} €"}


def _time(work: float, share: float) -> dict[str, float]:
    """Minutes and euros of electricity for some floating-point operations on this machine."""
    from cornue.models.arithmetic import measure_arithmetic

    machine = measure_arithmetic()
    seconds = work / (machine.peak * share)
    joules = estimated(seconds * machine.threads * watts_per_core().value, "J", "core-seconds × watts per core")
    return {"minutes": seconds / 60, "euros": electricity_cost(joules).value}


def _same_vocabulary(job: Job) -> None:
    """Refuse a method that compares distributions where the vocabularies differ."""
    recipe: Recipe = job.recipe
    if not any(isinstance(stage, (LogitKd, OnPolicyKd)) for stage in recipe.train):
        return
    teacher, student = job.base / recipe.teacher.model, job.student_start
    if teacher.suffix != ".gguf" or student.suffix != ".gguf" or not teacher.is_file():
        return
    if read_gguf(teacher).tokenizer_digest != read_gguf(student).tokenizer_digest:
        raise BadInput(
            words(
                en=f"{teacher.name} and {student.name} have different vocabularies; their distributions cannot be "
                "compared token by token.",
                fr=f"{teacher.name} et {student.name} ont des vocabulaires différents ; leurs distributions ne se "
                "comparent pas jeton à jeton.",
            ),
            words(
                en='Use method = "sft", or a student with the vocabulary of the teacher.',
                fr='Prenez method = "sft", ou un élève qui a ce vocabulaire.',
            ),
        )


def _say(permission: Permission) -> dict[str, Any]:
    dumped = permission.model_dump(mode="json")
    duties = [duty.get(words(en="en", fr="fr"), duty["en"]) for duty in dumped.get("duties", [])]
    return {"licence": dumped["licence"], "answer": dumped["answer"], "clause": dumped["clause"], "duties": duties}
