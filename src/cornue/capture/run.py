"""The step ``capture`` for a whole recipe: teacher, budget and record put together, and a finished capture looked over.

It asks for no licence (the journey does, before anything else) and keeps no ledger.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cornue.capture.ask import run_capture
from cornue.capture.budget import nothing, purse_of
from cornue.capture.reader import CaptureReader, open_capture
from cornue.capture.teachers import open_teacher
from cornue.ledger.caps import Spent
from cornue.models.licences import may_teach, require_permission
from cornue.privacy.check_digits import find_identifiers
from cornue.records import recipe
from cornue.records.errors import CheckFailed, Refused
from cornue.records.progress import Progress
from cornue.records.samples import Prompt
from cornue.records.words import words
from cornue.seal.keys import KeyRing, trusted_folder
from cornue.seal.sign import verify_folder


def capture_for(
    whole: recipe.Recipe,
    base: Path,
    prompts: Sequence[Prompt],
    folder: Path,
    *,
    schema: str = "",
    former: CaptureReader | None = None,
    spent: Callable[[], Spent] | None = None,
    progress: Progress | None = None,
) -> CaptureReader:
    """Ask a recipe's teacher within the recipe's budget, and put licences and attributions on the record.

    Args:
        base: the recipe's folder.
        schema: what stands for ``{schema}`` in the teacher's instructions.
        former: a finished capture whose answers are kept.
        spent: what all sittings have cost so far, besides what the teacher is paid; goes on the record.

    Raises:
        BadInput, Refused, OutsideFailure: see ``open_teacher`` and ``run_capture``.
    """
    with open_teacher(whole.teacher, base, schema, whole.capture) as teacher:
        return run_capture(
            teacher,
            prompts,
            whole.capture,
            folder,
            seed=whole.recipe.seed,
            purse=purse_of(whole, spent or nothing),
            former=former,
            facts=lambda: licences_of(whole) | ({"cost": asdict(spent())} if spent else {}),
            progress=progress,
        )


def licences_of(whole: recipe.Recipe) -> dict[str, Any]:
    """What a capture says of the licences of teacher and questions, with the clause on which it rests."""
    permission = may_teach(whole.teacher.licence)
    told = permission.model_dump(include={"licence", "answer", "clause", "where", "source", "read"})
    sources = whole.sources
    return {
        "teacher_licence": {"named": whole.teacher.licence, "override": whole.teacher.licence_reason, **told},
        "prompts_licence": {"licence": sources.licence, "attribution": sources.attribution},
    }


def use_capture(folder: Path, digest: str = "", override: str = "") -> tuple[CaptureReader, list[str]]:
    """Open somebody's finished capture after a look at its manifest, its signatures and its teacher's licence.

    Args:
        digest: the manifest digest that it must have; empty takes any.
        override: why it is used although the licence says no.

    Returns:
        The capture, and sentences about what could not be made sure.

    Raises:
        BadInput: it is missing, altered, or another than the one that is wanted.
        CheckFailed: a signature is false.
        Refused: the licence of its teacher forbids it.
    """
    found = open_capture(folder, digest)
    seal = verify_folder(folder, KeyRing.read(trusted_folder()))
    if seal.value == "false":
        raise CheckFailed(
            words(en=f"The capture {folder}: {seal.reason}.", fr=f"La capture {folder} : {seal.reason}."),
            words(en="Fetch it again from whom you trust.", fr="Récupérez-la auprès de qui vous avez confiance."),
        )
    # A digest that the recipe names vouches for every byte.
    said = [] if seal.value == "verified" or digest else [f"{folder}: {seal.reason}"]
    licence = found.about["record"].get("teacher_licence")
    if licence:
        warning = require_permission(may_teach(str(licence["named"])), override or str(licence["override"]))
        said += [warning] if warning else []
    return found, said


def require_no_identifiers(folder: Path) -> None:
    """A capture that is to be given away holds no identifier with a right key, neither asked nor answered.

    Raises:
        Refused: with kinds and numbers, never with values.
    """
    found = open_capture(folder)
    asked = (message.content for prompt in found.prompts() for message in prompt.messages)
    answered = (text for sample in found.samples() for text in (sample.text, sample.reasoning))
    kinds = Counter(one.kind for text in (*asked, *answered) for one in find_identifiers(text))
    if kinds:
        listed = ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items()))
        raise Refused(
            words(
                en=f"{folder} holds personal data that others would get: {listed}.",
                fr=f"{folder} contient des données personnelles que d'autres recevraient : {listed}.",
            ),
            words(
                en="Take it out of the questions and ask again, or say --personal-data if those concerned agree.",
                fr="Retirez-les des questions et interrogez à nouveau, ou dites --personal-data si c'est consenti.",
            ),
        )
