"""A pack, opened: what it says of itself, the file to serve, the register to answer from.

Opening checks every byte against the manifest. Whose signatures it carries is asked of ``seal`` with one's own keys;
whether what it claims is true is asked of ``audit``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, ValidationError

from cornue.records.errors import BadInput
from cornue.records.samples import Record
from cornue.records.words import words
from cornue.seal.manifest import require_manifest
from cornue.sources.register import Register

FACTS = "pack.json"
FORMAT = "cornue-pack/1"


class PackFacts(Record):
    """``pack.json``: what a pack says of itself."""

    format: str = FORMAT
    name: str
    title: str
    language: str
    purpose: str
    limits: str
    contact: str
    licence: str = Field(description="Licence under which the student is given.")
    attribution: str = Field(description="Words that the sources' licences ask to be shown.")
    model_digest: str = Field(description="Digest of what comes out the same however often a run was killed.")
    parts: dict[str, str] = Field(description="The digests that the model digest is made of, by name.")
    serve: str = Field(description="The file to serve, relative to the pack.")
    table: str = Field(default="", description="The register to answer from, relative to the pack.")
    table_digest: str = Field(default="", description="Digest of the register's content.")
    verify: str = Field(description="Kind of the verifier by which the student was judged.")
    version: str = Field(description="Version of Cornue that made it.")


@dataclass(frozen=True)
class Pack:
    """An opened pack."""

    folder: Path
    facts: PackFacts

    @property
    def served_file(self) -> Path:
        """The GGUF file to serve."""
        return self.folder / self.facts.serve

    def register(self) -> Register | None:
        """The register that it answers from, if it has one."""
        return Register.open(self.folder / self.facts.table) if self.facts.table else None


def open_pack(folder: str | Path, check: bool = True) -> Pack:
    """Open a pack.

    Args:
        check: compare every file with the manifest; off only where the reader is warned at every step.

    Raises:
        BadInput: there is no pack, or it is of another format.
        CheckFailed: a file is missing, altered or not listed.
    """
    root = Path(folder)
    if not (root / FACTS).is_file():
        raise BadInput(
            words(en=f"There is no pack at {root}.", fr=f"Il n'y a pas de paquet à {root}."),
            words(
                en="A pack is the folder 6-pack of a run; give its path.",
                fr="Un paquet est le dossier 6-pack d'une exécution ; donnez son chemin.",
            ),
        )
    if check:
        require_manifest(root)
    try:
        facts = PackFacts.model_validate(json.loads((root / FACTS).read_text(encoding="utf-8")))
    except (ValueError, ValidationError) as error:
        raise BadInput(
            words(
                en=f"{root / FACTS} cannot be read: {str(error).splitlines()[0]}.",
                fr=f"{root / FACTS} ne se lit pas : {str(error).splitlines()[0]}.",
            )
        ) from None
    if facts.format != FORMAT:
        raise BadInput(
            words(
                en=f"The pack has the format {facts.format}; this version reads {FORMAT}.",
                fr=f"Le paquet a le format {facts.format} ; cette version lit {FORMAT}.",
            )
        )
    for name in filter(None, (facts.serve, facts.table)):
        inside = (root / name).resolve()
        if not inside.is_relative_to(root.resolve()) or not inside.is_file():
            raise BadInput(words(en=f"The pack names {name}, which it lacks.", fr=f"Le paquet nomme {name}, absent."))
    return Pack(root, facts)
