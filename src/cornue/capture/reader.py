"""Reads a finished capture: the manifest is checked first, then prompts, samples and what is known of the teacher.

It changes nothing and asks nobody. Whose signature a capture carries is looked at by whoever trusts keys (``seal``).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cornue.records.errors import BadInput, CheckFailed
from cornue.records.samples import Prompt, Sample
from cornue.records.words import words
from cornue.seal.manifest import folder_digest, require_manifest
from cornue.seal.tables import read_records

FORMAT = "cornue-capture/1"
CAPTURE, SAMPLES, PROMPTS = "capture.json", "samples.parquet", "prompts.parquet"

Service = Literal["exactly", "unbiased", "approximate", "no"]


@dataclass(frozen=True)
class CaptureReader:
    """A finished capture whose files agree with its manifest.

    Args:
        folder: where it lies.
        digest: digest of its manifest, by which recipes and packs name it.
        about: what ``capture.json`` says: teacher, sampling, counts, record, distributions.
    """

    folder: Path
    digest: str
    about: dict[str, Any]

    @property
    def identity(self) -> dict[str, Any]:
        """Who the teacher was."""
        return dict(self.about["teacher"])

    @property
    def header(self) -> dict[str, Any]:
        """What makes a capture this one and not another: teacher and sampling."""
        return {"teacher": self.about["teacher"], "sampling": self.about["sampling"]}

    @property
    def counts(self) -> dict[str, float]:
        """Numbers of prompts, samples, tokens, and of cut, empty and failed answers."""
        return dict(self.about["counts"])

    @property
    def kept(self) -> dict[str, Any]:
        """What it took over from a former capture: that one's digest, and numbers of answers and tokens."""
        return dict(self.about["record"].get("kept", {}))

    def samples(self) -> Sequence[Sample]:
        """Every answer, in the order of the prompts."""
        return read_records(self.folder / SAMPLES, Sample)

    def prompts(self) -> Sequence[Prompt]:
        """Every prompt, in the order in which they were given."""
        return read_records(self.folder / PROMPTS, Prompt)

    def serves(self, objective: str, temperature: float) -> Service:
        """How well the distributions stand in for a live teacher under an objective at a temperature."""
        for entry in self.about.get("distributions", {}).get("serves", []):
            if entry["objective"] == objective and entry["temperature"] in (None, temperature):
                service: Service = entry["service"]
                return service
        return "no"


def open_capture(folder: Path, digest: str = "") -> CaptureReader:
    """Open a finished capture.

    Args:
        digest: the manifest digest that it must have; empty takes any.

    Raises:
        BadInput: it is missing, unfinished, altered, of another format, or not the one that is wanted.
    """
    try:
        manifest = require_manifest(folder)
        about = json.loads((folder / CAPTURE).read_text(encoding="utf-8"))
        found = folder_digest(folder)
    except (CheckFailed, OSError, ValueError) as error:
        reason = error.message if isinstance(error, CheckFailed) else str(error)
        raise BadInput(
            words(
                en=f"The capture {folder} cannot be used: {reason}.",
                fr=f"La capture {folder} est inutilisable : {reason}.",
            ),
            words(
                en="Fetch it again from where it came from, or delete it and run again to ask the teacher anew.",
                fr="Récupérez-la là d'où elle vient, ou supprimez-la et relancez pour interroger l'enseignant.",
            ),
        ) from None
    if manifest.kind != "capture" or about.get("format") != FORMAT:
        raise BadInput(
            words(
                en=f"{folder} is not a capture of a kind that is known here ({about.get('format', manifest.kind)!r}).",
                fr=f"{folder} n'est pas une capture d'un genre connu ici ({about.get('format', manifest.kind)!r}).",
            ),
            words(en=f"This version reads {FORMAT}.", fr=f"Cette version lit {FORMAT}."),
        )
    if digest and found != digest:
        raise BadInput(
            words(
                en=f"{folder} has the digest {found}, wanted is {digest}.",
                fr=f"{folder} a l'empreinte {found}, on attend {digest}.",
            ),
            words(
                en="Correct capture.digest, or fetch the right capture.",
                fr="Corrigez capture.digest, ou récupérez la bonne capture.",
            ),
        )
    return CaptureReader(folder, found, about)
