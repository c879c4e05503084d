"""The list of a folder's files with their sizes and digests, and the check of a folder against it.

``manifest.json`` lists every file but itself and the signatures; the SHA-256 of its bytes is the identity of the folder
(``sha256sum manifest.json`` shows it). It does not say who made the folder: that is ``sign``.
"""

from __future__ import annotations

import json
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NoReturn

from pydantic import Field, ValidationError

from cornue.records.digests import digest_file, parse_json
from cornue.records.errors import BadInput, CheckFailed, OutsideFailure
from cornue.records.samples import Record
from cornue.records.words import words
from cornue.seal.write import AnyPath, write_json

MANIFEST = "manifest.json"
SIGNATURES = "signatures"
Digest = Callable[[Path], str]


class FileEntry(Record):
    """One file of a folder."""

    path: str = Field(description="Relative to the folder, with forward slashes.")
    size: int = Field(ge=0, description="Bytes.")
    sha256: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")


class Manifest(Record):
    """What a folder is and which files it consists of."""

    format: Literal["cornue-manifest/1"] = "cornue-manifest/1"
    kind: str = Field(description="What the folder is: capture, verify, curate, train, evaluate, pack.")
    facts: dict[str, Any] = Field(description="What its maker declares of it, such as the digests of its inputs.")
    files: tuple[FileEntry, ...]


class Problem(Record):
    """One difference between a folder and its manifest."""

    what: Literal["missing", "altered", "extra", "not plain", "escapes", "manifest"]
    path: str
    sentence: str = Field(description="For people, in their language.")


def write_manifest(folder: AnyPath, kind: str, facts: dict[str, Any]) -> str:
    """List every file of a folder in its ``manifest.json`` and return the folder's digest.

    Raises:
        BadInput: the folder holds a link, a device or a name that is not UTF-8.
    """
    root = Path(folder)
    entries = []
    for path, plain in sorted(_walk(root)):
        if not plain or _escapes(path):
            raise BadInput(
                _say("not plain", path).sentence, words(en="put a plain file there", fr="mettez-y un fichier")
            )
        file = root / path
        entries.append(FileEntry(path=path, size=file.stat().st_size, sha256=digest_file(file)))
    manifest = Manifest(kind=kind, facts=facts, files=tuple(entries))
    write_json(root / MANIFEST, manifest.model_dump())
    return folder_digest(root)


def read_manifest(folder: AnyPath) -> Manifest:
    """The manifest of a folder, without a look at the files.

    Raises:
        CheckFailed: there is none, or it is no manifest.
    """
    path = Path(folder) / MANIFEST
    remedy = words(
        en="the folder is unfinished or damaged: make or fetch it again",
        fr="le dossier est inachevé ou abîmé : refaites-le ou récupérez-le à nouveau",
    )
    if path.is_symlink() or not path.is_file():
        raise CheckFailed(words(en=f"{path} is missing", fr=f"{path} manque"), remedy)
    try:
        value = parse_json(path.read_bytes())
        return Manifest.model_validate_json(json.dumps(value), strict=True)
    except (ValueError, ValidationError) as error:
        first = str(error).splitlines()[0]
        raise CheckFailed(
            words(en=f"{path} is no manifest: {first}", fr=f"{path} n'est pas un manifeste : {first}"), remedy
        ) from error


def folder_digest(folder: AnyPath) -> str:
    """The identity of a folder with a manifest: the digest of the manifest's bytes; the files are not looked at."""
    read_manifest(folder)
    return digest_file(Path(folder) / MANIFEST)


def check_manifest(folder: AnyPath, digest: Digest = digest_file) -> list[Problem]:
    """Every difference between a folder and its manifest; an empty list means that they agree.

    Reads every file once. Links are never followed, and nothing outside the folder is read.

    Args:
        digest: of a file; called from several threads.
    """
    root = Path(folder)
    try:
        manifest = read_manifest(root)
    except CheckFailed as error:
        return [Problem(what="manifest", path=MANIFEST, sentence=error.message)]
    listed = Counter(entry.path for entry in manifest.files)
    found = dict(_walk(root))
    altered = _altered(root, found, manifest, digest)
    problems = [_say("manifest", path) for path, times in listed.items() if times > 1]
    for entry in manifest.files:
        if _escapes(entry.path):
            problems.append(_say("escapes", entry.path))
        elif entry.path not in found:
            problems.append(_say("missing", entry.path))
        elif entry.path in altered:
            problems.append(_say("altered", entry.path))
    problems += [_say("not plain", path) for path, plain in found.items() if not plain]
    problems += [_say("extra", path) for path, plain in found.items() if plain and path not in listed]
    return problems


def require_manifest(folder: AnyPath) -> Manifest:
    """The manifest of a folder that agrees with it.

    Raises:
        CheckFailed: it does not; the message names the first difference and counts the others.
    """
    problems = check_manifest(folder)
    if problems:
        more = words(en=f" (and {len(problems) - 1} more)", fr=f" (et {len(problems) - 1} autres)")
        raise CheckFailed(
            f"{folder}: {problems[0].sentence}{more if len(problems) > 1 else ''}",
            words(en="make the folder again, or fetch it again", fr="refaites le dossier, ou récupérez-le à nouveau"),
        )
    return read_manifest(folder)


def _walk(root: Path) -> Iterator[tuple[str, bool]]:
    """Relative path of everything but folders, and whether it is a plain file; without manifest and signatures."""
    for where, folders, names in os.walk(root, onerror=_unreadable):
        here = Path(where)
        links = [name for name in folders if (here / name).is_symlink()]
        at_top = here == root
        folders[:] = sorted(name for name in folders if name not in links and not (at_top and name == SIGNATURES))
        for name in sorted(names + links):
            path = here / name
            if not (at_top and name == MANIFEST and not path.is_symlink()):
                yield path.relative_to(root).as_posix(), stat.S_ISREG(path.lstat().st_mode)


def _unreadable(error: OSError) -> NoReturn:
    raise OutsideFailure(
        words(
            en=f"{error.filename} cannot be read: {error.strerror}",
            fr=f"{error.filename} : illisible ({error.strerror})",
        ),
        words(en="ask for the right to read it", fr="demandez le droit de le lire"),
        boundary="disk",
    )


def _altered(root: Path, found: Mapping[str, bool], manifest: Manifest, digest: Digest) -> set[str]:
    """The plain files that are there and differ; read side by side, since digests of large files take their time."""
    there = [entry for entry in manifest.files if not _escapes(entry.path) and found.get(entry.path)]
    there.sort(key=lambda entry: entry.size, reverse=True)
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as readers:
        agreements = readers.map(lambda entry: _agrees(root / entry.path, entry, digest), there)
        return {entry.path for entry, agrees in zip(there, agreements, strict=True) if not agrees}


def _agrees(file: Path, entry: FileEntry, digest: Digest) -> bool:
    return file.stat().st_size == entry.size and digest(file) == entry.sha256


def _escapes(path: str) -> bool:
    """Whether a path is anything but a plain relative path below its folder."""
    if not path or "\\" in path or "\0" in path or not path.isprintable():
        return True
    return path.startswith("/") or PurePosixPath(path).as_posix() != path or ".." in PurePosixPath(path).parts


def _say(what: Literal["missing", "altered", "extra", "not plain", "escapes", "manifest"], path: str) -> Problem:
    shown = path if path.isprintable() else ascii(path)
    sentence = {
        "missing": words(en=f"{shown} is missing", fr=f"{shown} manque"),
        "altered": words(en=f"{shown} has been altered", fr=f"{shown} a été modifié"),
        "extra": words(en=f"{shown} does not belong there", fr=f"{shown} n'a rien à faire là"),
        "not plain": words(
            en=f"{shown} is a link, a device or has a name that is not plain text",
            fr=f"{shown} est un lien, un périphérique ou porte un nom illisible",
        ),
        "escapes": words(en=f"{shown} leads out of the folder", fr=f"{shown} mène hors du dossier"),
        "manifest": words(en=f"{shown} is listed twice", fr=f"{shown} figure deux fois dans la liste"),
    }[what]
    return Problem(what=what, path=path, sentence=sentence)
