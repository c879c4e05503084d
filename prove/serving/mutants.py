"""A thousand altered packs and model files: all are refused before the engine sees them."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import results
from cornue.records.digests import digest_file
from cornue.records.errors import CornueError
from cornue.seal.manifest import write_manifest
from cornue.serve.run import offer_of

FACTS = {"name": "s", "title": "S", "language": "fr", "purpose": "p", "limits": "l", "contact": "c", "licence": "x"}
FACTS |= {"attribution": "", "model_digest": "sha256:0", "serve": "student.gguf", "verify": "sql", "version": "0"}
HEAD = 2_000_000


def prove(work: Path, gguf: Path, count: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Figures and bars."""
    dice = random.Random(0)
    let_in: list[str] = []
    untouched = work / "untouched.gguf"
    shutil.copyfile(gguf, untouched)
    digest = digest_file(untouched)
    offer_of(untouched, digest)
    pack = work / "pack"
    pack.mkdir()
    small = untouched.read_bytes()[:HEAD]
    (pack / "student.gguf").write_bytes(small)
    (pack / "pack.json").write_text(json.dumps({**FACTS, "parts": {}}))
    write_manifest(pack, "pack", {})
    names = ("student.gguf", "pack.json", "manifest.json")
    whole = {name: (pack / name).read_bytes() for name in names}
    victim = work / "mutant.gguf"
    for number in range(count):
        if number % 2:
            name = dice.choice(names)
            altered = mutate(whole[name], dice)
            (pack / name).write_bytes(altered)
            if not _refused(pack, ""):
                let_in.append(f"pack {number}: {name}")
            (pack / name).write_bytes(whole[name])
        else:
            victim.write_bytes(mutate(small, dice))
            if not _refused(victim, digest):
                let_in.append(f"file {number}")
    figures = {"mutants": count, "let in": len(let_in)}
    return figures, [results.bar("altered files and packs that were let in", len(let_in), 0, at_most=True)]


def mutate(data: bytes, dice: random.Random) -> bytes:
    """The data with a bit flipped, a byte gone or doubled, the end cut off, or a stretch of noise; never the same."""
    place = dice.randrange(len(data))
    altered = dice.choice(
        [
            data[:place] + bytes([data[place] ^ (1 << dice.randrange(8))]) + data[place + 1 :],
            data[:place] + data[place + 1 :],
            data[:place] + data[place : place + 1] + data[place:],
            data[:place],
            data[:place] + dice.randbytes(64) + data[place + 64 :],
        ]
    )
    return altered if altered != data else data + b"\0"


def _refused(target: Path, digest: str) -> bool:
    try:
        offer_of(target, digest)
    except CornueError:
        return True
    return False
