"""A thousand altered packs and model files: all are refused before the engine sees them.

Files are altered byte by byte against their digest; packs, which are signed, also by taking files away, by adding and
swapping some, and by forging the manifest to fit. What the reader of GGUF files makes of each altered file when nobody
vouches for it is reported, too: it may let a changed number pass, but must never fail in another way than by refusing.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import results
from cornue.records.digests import digest_file
from cornue.records.errors import CornueError
from cornue.seal.keys import new_key
from cornue.seal.manifest import write_manifest
from cornue.seal.sign import sign_folder
from cornue.serve.offers import offer_of

FACTS = {"name": "s", "title": "S", "language": "fr", "purpose": "p", "limits": "l", "contact": "c", "licence": "x"}
FACTS |= {"attribution": "", "model_digest": "sha256:0", "serve": "student.gguf", "verify": "sql", "version": "0"}
HEAD = 2_000_000


def prove(work: Path, gguf: Path, count: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Figures and bars."""
    dice = random.Random(0)
    digest = digest_file(gguf)
    offer_of(gguf, digest)
    trusted = work / "trusted"
    with gguf.open("rb") as file:
        whole = _pack(work / "whole", file.read(HEAD), trusted)
    victim, pack = work / "mutant.gguf", work / "pack"
    shutil.copyfile(gguf, victim)
    kinds: dict[str, int] = {}
    let_in: list[str] = []
    by_form = 0
    for number in range(count):
        if number % 2:
            kind = dice.choice(list(PACK_CHANGES))
            shutil.rmtree(pack, ignore_errors=True)
            shutil.copytree(whole, pack)
            PACK_CHANGES[kind](pack, dice)
            refused = _refused(pack, trusted=trusted, signatures=1)
        else:
            kind = "file: bytes"
            with altered(victim, dice):
                refused = _refused(victim, sha256=digest)
                by_form += _refused(victim, unverified=True)
        kinds[kind] = kinds.get(kind, 0) + 1
        if not refused:
            let_in.append(f"{kind} ({number})")
    figures = {"mutants": count, "let in": ", ".join(let_in) or "none", **dict(sorted(kinds.items()))}
    figures["files refused for their form alone"] = by_form
    return figures, [results.bar("altered files and packs that were let in", len(let_in), 0, at_most=True)]


@contextmanager
def altered(file: Path, dice: random.Random) -> Iterator[None]:
    """The file with its head altered, with bits flipped anywhere, or cut off, until the block ends."""
    size = file.stat().st_size
    start, length = dice.choice([(0, HEAD), (dice.randrange(size - 64), 64), (size - dice.randrange(1, HEAD), HEAD)])
    with file.open("r+b") as open_file:
        open_file.seek(start)
        before = open_file.read(length)
        if start + length >= size:
            open_file.truncate(start + dice.randrange(len(before)))
        else:
            after = before
            # What is cut off here is there again: the rest of the file stays where it was.
            while after == before:
                new = mutate(before, dice)
                after = (new + before[len(new) :])[:length]
            open_file.seek(start)
            open_file.write(after)
    try:
        yield
    finally:
        with file.open("r+b") as open_file:
            open_file.seek(start)
            open_file.write(before)


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


def _pack(folder: Path, head: bytes, trusted: Path) -> Path:
    """A small signed pack whose key is trusted."""
    folder.mkdir()
    (folder / "student.gguf").write_bytes(head)
    (folder / "pack.json").write_text(json.dumps({**FACTS, "parts": {}}))
    write_manifest(folder, "pack", {})
    key = new_key(folder.parent / "keys" / "house")
    sign_folder(folder, key)
    trusted.mkdir()
    (trusted / "house.pem").write_bytes(key.public.pem)
    return folder


def _bytes(pack: Path, dice: random.Random) -> None:
    victim = pack / dice.choice(("student.gguf", "pack.json", "manifest.json"))
    victim.write_bytes(mutate(victim.read_bytes(), dice))


def _gone(pack: Path, dice: random.Random) -> None:
    victim = pack / dice.choice(("student.gguf", "pack.json", "manifest.json", "signatures"))
    shutil.rmtree(victim) if victim.is_dir() else victim.unlink()


def _added(pack: Path, dice: random.Random) -> None:
    (pack / f"extra{dice.randrange(1000)}.json").write_text("{}")


def _linked(pack: Path, dice: random.Random) -> None:
    """The same bytes, but by a link that can be pointed elsewhere later."""
    (pack / "student.gguf").rename(pack.parent / "elsewhere.gguf")
    (pack / "student.gguf").symlink_to(pack.parent / "elsewhere.gguf")


def _swapped(pack: Path, dice: random.Random) -> None:
    one, other = pack / "student.gguf", pack / "pack.json"
    bytes_of_one = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(bytes_of_one)


def _forged(pack: Path, dice: random.Random) -> None:
    """Altered, with a manifest that says so, and the signature left over what it was."""
    student = pack / "student.gguf"
    student.write_bytes(mutate(student.read_bytes(), dice))
    (pack / "manifest.json").unlink()
    shutil.move(pack / "signatures", pack.parent / "signatures")
    write_manifest(pack, "pack", {})
    shutil.move(pack.parent / "signatures", pack / "signatures")


def _resigned(pack: Path, dice: random.Random) -> None:
    """Forged and signed by somebody whom nobody trusts."""
    _forged(pack, dice)
    shutil.rmtree(pack / "signatures")
    shutil.rmtree(pack.parent / "stranger", ignore_errors=True)
    sign_folder(pack, new_key(pack.parent / "stranger" / "key"))


PACK_CHANGES: dict[str, Callable[[Path, random.Random], None]] = {
    "pack: bytes": _bytes,
    "pack: a file gone": _gone,
    "pack: a file added": _added,
    "pack: a link for a file": _linked,
    "pack: files swapped": _swapped,
    "pack: forged manifest": _forged,
    "pack: signed by a stranger": _resigned,
}


def _refused(target: Path, **how: Any) -> bool:
    try:
        offer_of(target, **how)
    except CornueError:
        return True
    return False
