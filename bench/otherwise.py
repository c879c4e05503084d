"""A recipe run otherwise: with some keys changed, under another name, in a folder of its own; and its student asked.

What comparisons of whole students share. It changes nothing in the run that the recipe itself made, and compares
nothing.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w

from cornue.evaluate.answers import answer_all
from cornue.evaluate.score import judge_all
from cornue.job import Job
from cornue.models.engine import Request
from cornue.models.export import export_gguf
from cornue.models.student import Student
from cornue.records.progress import Progress
from cornue.records.samples import Prompt, Verdict
from cornue.verify.run import make_verifier

PATHS = (
    *(("sources", "prompts"), ("sources", "table"), ("teacher", "model"), ("teacher", "instructions")),
    *(("student", "model"), ("capture", "use")),
)
Changes = Mapping[tuple[str, str], Any]


def changed(recipe: Path, path: Path, changes: Changes) -> Path:
    """The recipe with some keys changed, written to a path after which it is named.

    Args:
        changes: values by section and key; ``train`` is its first stage, and the key ``""`` stands for the whole
            section. A path among them is read from the working folder; None takes a key away.
    """
    content = tomllib.loads(recipe.read_text(encoding="utf-8"))
    content["recipe"]["name"] = path.stem
    for section, key in PATHS:
        if value := content[section].get(key):
            content[section][key] = _from(path.parent, recipe.parent / value)
    for (section, key), value in changes.items():
        value = _from(path.parent, value) if isinstance(value, Path) else value
        if not key:
            content[section] = value
            continue
        part = content[section][0] if section == "train" else content[section]
        part.pop(key, None)
        if value is not None:
            part[key] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(tomli_w.dumps(content), encoding="utf-8")
    return path


def starts_at(student: Path) -> Changes:
    """A student that is a student's folder, whose vocabulary stays as it is."""
    fitted = {("student", "sha256"): None, ("student", "trim"): False, ("student", "extend"): 0}
    return {("student", "model"): student, **fitted}


def taught_by(student: Path) -> Changes:
    """A teacher that is a student's folder, asked without instructions."""
    return {
        ("teacher", "model"): student,
        **{("teacher", key): None for key in ("sha256", "instructions", "arithmetic")},
    }


def asked(job: Job, student: Path, prompts: Sequence[Prompt], kept: Path, progress: Progress) -> list[Verdict]:
    """The verdict on a student's answer to each prompt, exported and served as the job's recipe says.

    Args:
        student: its folder.
        kept: what the exported file and the journal of answers are called; finished answers stay there.
    """
    read, kind = Student.read(student), job.recipe.pack.serve
    exported = kept.with_name(f"{kept.name}-{kind}.gguf")
    if not exported.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        export_gguf(read.model, read.tokenizer, exported, kind=kind, name=kept.name, facts={})
    answered = answer_all(
        exported,
        prompts,
        lambda prompt: read.prompt_text(prompt.messages),
        kept,
        Request("", job.recipe.evaluate.max_tokens),
        progress,
        kept.name,
    )
    verdicts = judge_all(make_verifier(job.recipe.verify, job.base, job.register), prompts, answered.samples)
    return [verdicts[prompt.id] for prompt in prompts]


def _from(folder: Path, path: Path) -> str:
    return os.path.relpath(path, folder)
