"""The step ``pack``: gathers what is published into one folder.

::

    pack.json           what it is, and the model digest with the parts it is made of
    student/            safetensors, tokenizer, template
    student-*.gguf      the same for llama.cpp
    register.*          the table that answers are read from, if the job has one
    lineage/            recipe, resolved recipe, manifests of all steps, the capture's identity
    evaluation/         results, every answer and its verdict
    ledger.jsonl        everything counted up to here
    report.html         the page for people

It copies and links; it computes nothing but digests, and it signs nothing: ``seal`` does.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from cornue import __version__
from cornue.pack.open import FACTS, PackFacts
from cornue.records.digests import digest_file, digest_json
from cornue.records.recipe import Recipe
from cornue.seal.manifest import MANIFEST
from cornue.seal.write import write_json
from cornue.sources.register import Register

RESULTS = ("results.json", "prompts.parquet", "answers-*.parquet", "verdicts-*.parquet")


def model_parts(recipe_digest: str, curated: Path, student: Path, evaluated: Path) -> dict[str, str]:
    """What must come out the same however often a run was killed, by name."""
    kept = {name: digest_file(curated / name) for name in ("train.parquet", "validation.parquet")}
    return {"recipe": recipe_digest, "curated": digest_json(kept), **_trained_parts(student, evaluated)}


def stored_parts(pack: Path) -> dict[str, str]:
    """The parts of the model digest that a pack holds itself, computed from its files."""
    return _trained_parts(pack / "student", pack / "evaluation")


def _trained_parts(student: Path, evaluated: Path) -> dict[str, str]:
    files = sorted(student.iterdir())
    weights = {path.name: digest_file(path) for path in files if path.suffix == ".safetensors"}
    rest = {path.name: digest_file(path) for path in files if path.suffix != ".safetensors"}
    answers = {path.name: digest_file(path) for path in sorted(evaluated.glob("answers-*.parquet"))}
    return {
        "weights": digest_json(weights),
        "tokenizer_and_template": digest_json(rest),
        "answers": digest_json(answers),
    }


def gather(
    recipe: Recipe,
    recipe_digest: str,
    rooms: Mapping[str, Path],
    run: Path,
    table: Path | None,
    folder: Path,
) -> PackFacts:
    """Fill ``folder`` with the pack; returns what ``pack.json`` says.

    Args:
        recipe_digest: digest of the resolved recipe.
        rooms: the folders of the finished steps, by name.
        run: the run's folder, with its recipe and ledger.
        table: the register's file.
    """
    shutil.copytree(rooms["train"] / "student", folder / "student")
    for path in sorted(rooms["evaluate"].glob("student-*.gguf")):
        _link(path, folder / path.name)
    lineage = folder / "lineage"
    lineage.mkdir()
    for name in ("recipe.toml", "recipe.resolved.toml"):
        shutil.copyfile(run / name, lineage / name)
    for name, place in rooms.items():
        shutil.copyfile(place / MANIFEST, lineage / f"{name}.json")
    shutil.copyfile(rooms["capture"] / "capture.json", lineage / "capture-identity.json")
    evaluation = folder / "evaluation"
    evaluation.mkdir()
    for pattern in RESULTS:
        for path in sorted(rooms["evaluate"].glob(pattern)):
            shutil.copyfile(path, evaluation / path.name)
    shutil.copyfile(run / "ledger.jsonl", folder / "ledger.jsonl")
    kept = ""
    if table:
        kept = "register" + "".join(table.suffixes)
        shutil.copyfile(table, folder / kept)
    parts = model_parts(recipe_digest, rooms["curate"], rooms["train"] / "student", rooms["evaluate"])
    about = recipe.recipe
    facts = PackFacts(
        name=about.name,
        title=about.title,
        language=about.language,
        purpose=about.purpose,
        limits=about.limits,
        contact=about.contact,
        licence=recipe.pack.licence,
        attribution=recipe.sources.attribution,
        model_digest=digest_json(parts),
        parts=parts,
        serve=f"student-{recipe.pack.serve}.gguf",
        table=kept,
        table_digest=Register.open(table).digest if table else "",
        verify=recipe.verify.kind,
        version=__version__,
    )
    write_json(folder / FACTS, facts.model_dump(mode="json"))
    return facts


def _link(source: Path, target: Path) -> None:
    """The same bytes under a second name where the disk can do that; otherwise a copy."""
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)
