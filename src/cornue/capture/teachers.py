"""Chooses the engine behind the teacher that a recipe names.

A new kind of teacher is a file ``teacher_….py`` and a line here.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from cornue.capture.teacher import Teacher, read_instructions
from cornue.capture.teacher_endpoint import EndpointTeacher
from cornue.capture.teacher_gguf import GgufTeacher
from cornue.capture.teacher_replay import ReplayTeacher
from cornue.models.hub import HUB, fetched
from cornue.records import recipe
from cornue.records.errors import BadInput, CheckFailed
from cornue.records.words import words
from cornue.seal.manifest import require_manifest

PACK = "pack:"


@contextlib.contextmanager
def open_teacher(
    section: recipe.Teacher, base: Path, schema: str = "", capture: recipe.Capture | None = None
) -> Iterator[Teacher]:
    """The teacher that a recipe names, ready to be asked; it is closed at the end of the block.

    Args:
        base: the recipe's folder, from which its paths are read.
        schema: what stands for ``{schema}`` in the instructions.
        capture: what is asked, where that matters to the engine.

    Raises:
        BadInput: a file is missing or is not the one that the recipe names.
        OutsideFailure: the engine does not start.
    """
    instructions = read_instructions(base / section.instructions, schema) if section.instructions else ""
    teacher = _make(section, capture or recipe.Capture(), base, instructions)
    try:
        yield teacher
    finally:
        teacher.close()


def _make(section: recipe.Teacher, capture: recipe.Capture, base: Path, instructions: str) -> Teacher:
    if section.kind == "gguf":
        return GgufTeacher(
            weights_of(section, base),
            sha256=section.sha256,
            instructions=instructions,
            slots=section.slots,
            context=section.context,
        )
    if section.kind == "transformers":
        # torch is heavy and not everywhere.
        from cornue.capture.teacher_transformers import TransformersTeacher

        return TransformersTeacher(
            weights_of(section, base),
            sha256=section.sha256,
            instructions=instructions,
            slots=section.slots,
            context=section.context,
            arithmetic=section.arithmetic,
        )
    if section.kind == "endpoint":
        return EndpointTeacher(
            section.url,
            section.model,
            key_env=section.api_key_env,
            remote_allowed=section.remote_allowed,
            personal_data=capture.personal_data,
            instructions=instructions,
            slots=section.slots,
            top_logprobs=min(capture.width, 20) if capture.distributions == "top" else 0,
        )
    return ReplayTeacher(base / section.model)


def weights_of(section: recipe.Teacher, base: Path) -> Path:
    """The weights that a recipe names; ``pack:FOLDER`` stands for the student of a sealed pack, whole and unaltered,
    ``hub:OWNER/NAME@REVISION`` for a model of the hub.

    Raises:
        BadInput: there is no such pack, or it does not agree with its manifest; or the revision is missing.
        OutsideFailure: the hub does not give the model.
    """
    if section.model.startswith(HUB):
        return fetched(section.model)
    if not section.model.startswith(PACK):
        return base / section.model
    folder = base / section.model.removeprefix(PACK)
    try:
        manifest = require_manifest(folder)
        served = str(json.loads((folder / "pack.json").read_text(encoding="utf-8"))["serve"])
    except (CheckFailed, OSError, ValueError, KeyError, TypeError) as error:
        reason = error.message if isinstance(error, CheckFailed) else str(error)
        raise BadInput(
            words(
                en=f"The pack {folder} cannot teach: {reason}.",
                fr=f"Le paquet {folder} ne peut pas enseigner : {reason}.",
            ),
            words(en="Fetch it again, or correct teacher.model.", fr="Récupérez-le, ou corrigez teacher.model."),
        ) from None
    listed = {entry.path for entry in manifest.files}
    return folder / (served if section.kind == "gguf" and served in listed else "student")
