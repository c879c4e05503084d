"""What a teacher's answers cost, who learnt from them, and how many students repay them.

A capture is paid for once; packs name it by digest, so those at hand that learnt from it can be counted. Against a pack
of plain fine-tuning it tells how many students make the teacher worth its energy, or that none do. It reads records
alone and measures nothing.

Source of the formula: Lambert and Luccioni, arXiv 2605.13981.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from cornue.ledger.ledger import read_ledger, totals
from cornue.ledger.prices import JOULES_PER_KWH, break_even, energy_of
from cornue.pack.open import open_pack
from cornue.records.digests import digest_file
from cornue.seal.manifest import MANIFEST


class Training(NamedTuple):
    """A student's energy for training, kilowatt-hours, and its share of right answers on all held-out questions."""

    kwh: float
    right: float


class Reuse(NamedTuple):
    """What a teacher's answers cost beside what they save.

    Args:
        teacher_kwh: None where the capture does not say.
        plain: None where no plain fine-tuning stands beside it.
        students: how many repay the teacher; None where none do, or where it cannot be told.
    """

    teacher_kwh: float | None
    distilled: Training
    plain: Training | None
    students: float | None


def names_of(pack: Path) -> set[str]:
    """The digests by which a pack names its capture: its run's own, and that of the finished one it was taken of."""
    path = pack / "lineage" / "capture.json"
    used = json.loads(path.read_text(encoding="utf-8"))["facts"].get("capture")
    return {digest_file(path)} | ({str(used)} if used else set())


def packs_from(digest: str, folder: Path) -> Iterator[Path]:
    """The sound packs in a folder, at any depth, that learnt from a capture; by path."""
    for path in sorted(folder.rglob("lineage/capture.json")):
        pack = path.parent.parent
        if (pack / MANIFEST).is_file() and digest in names_of(pack):
            yield open_pack(pack).folder


def training_of(pack: Path) -> Training:
    """What the training of a pack's student took, and how good it is."""
    spent = totals(read_ledger(pack / "ledger.jsonl"), "train")
    results = json.loads((pack / "evaluation" / "results.json").read_text(encoding="utf-8"))
    shares = [share for name, share in results["answerers"]["student"].items() if "/" not in name]
    asked = sum(share["asked"] for share in shares)
    return Training(energy_of(spent).value / JOULES_PER_KWH, sum(share["right"] for share in shares) / max(1, asked))


def cost_of_answers(capture: dict[str, Any]) -> float | None:
    """Kilowatt-hours that a capture cost by its own record; None where it does not say."""
    cost = capture.get("record", {}).get("cost")
    return None if cost is None else float(cost["kwh"])


def reuse_of(pack: Path, plain: Path | None) -> Reuse:
    """The figures of a pack that is being made, whose ledger, results and lineage lie there.

    Args:
        plain: a pack of the same student, fine-tuned without this teacher.

    Raises:
        BadInput: ``plain`` is no sound pack.
    """
    capture = json.loads((pack / "lineage" / "capture-identity.json").read_text(encoding="utf-8"))
    teacher, distilled = cost_of_answers(capture), training_of(pack)
    alone = training_of(open_pack(plain).folder) if plain else None
    students = break_even(teacher, alone.kwh, distilled.kwh) if teacher is not None and alone else None
    return Reuse(teacher, distilled, alone, students)
