"""Publishes captures and packs to a shared folder, and pulls them from it, by digest.

A shared folder is any folder that several people can read: a network drive, a mounted disk, a synchronised folder. In
it lie ``sha256-<digest>/`` for each folder and ``names/<name>`` for the names that people give to digests. Both ways
are atomic, and what arrives is checked. It moves bytes and trusts nobody: whose signature a folder bears is for
``sign``.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from cornue.records.errors import BadInput, CheckFailed
from cornue.records.words import words
from cornue.seal.manifest import MANIFEST, SIGNATURES, folder_digest, read_manifest, require_manifest
from cornue.seal.write import AnyPath, disk_failures, new_folder, write_bytes, write_text

SHARED = ("capture", "pack")
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
DIGEST = re.compile(r"sha256[:-]([0-9a-f]{8,64})")


def publish(folder: AnyPath, shared: AnyPath, name: str = "") -> str:
    """Put a capture or a pack into a shared folder; returns its digest.

    What is there already is not copied again; signatures that are new are added to it.

    Args:
        name: a name for it; a name that is taken passes to this folder.

    Raises:
        CheckFailed: the folder, or what is there already, does not agree with its manifest.
        BadInput: it is no capture and no pack, or the name has other signs than ``a-z0-9._-``.
        OutsideFailure: the disk is full or may not be written (boundary "disk").
    """
    source, place = Path(folder), Path(shared)
    if name and not NAME.fullmatch(name):
        raise BadInput(
            words(en=f"{name!r} cannot be a name", fr=f"{name!r} ne peut pas être un nom"),
            words(
                en="use small letters, digits, dots and dashes", fr="employez minuscules, chiffres, points et tirets"
            ),
        )
    manifest = require_manifest(source)
    if manifest.kind not in SHARED:
        raise BadInput(
            words(
                en=f"{source} is a folder of {manifest.kind}; only captures and packs are published",
                fr=f"{source} est un dossier de {manifest.kind} ; seuls captures et paquets se publient",
            ),
            words(en="name a capture or a pack", fr="indiquez une capture ou un paquet"),
        )
    digest = folder_digest(source)
    target = place / digest.replace(":", "-")
    if target.exists():
        require_manifest(target)
        _require_digest(target, digest)
        _copy_signatures(source, target)
    else:
        _copy(source, target, digest)
    if name:
        write_text(place / "names" / name, digest + "\n")
    return digest


def pull(wanted: str, shared: AnyPath, into: AnyPath) -> Path:
    """Fetch a capture or a pack from a shared folder; returns the folder, ``into/<kind>-<12 digits of its digest>``.

    One that is there already, and whole, is not fetched again.

    Args:
        wanted: a digest, the beginning of one (8 digits at least), or a name.

    Raises:
        BadInput: nothing, or more than one thing, goes by that digest or name.
        CheckFailed: what lies there is not what its digest says; nothing is kept.
        OutsideFailure: the disk is full or may not be written (boundary "disk").
    """
    source = find_shared(wanted, shared)
    digest = source.name.replace("-", ":")
    manifest = read_manifest(source)
    kind = manifest.kind if manifest.kind in SHARED else "folder"
    target = Path(into) / f"{kind}-{digest[7:19]}"
    if target.exists():
        require_manifest(target)
        _require_digest(target, digest)
        _copy_signatures(source, target)
        return target
    _copy(source, target, digest)
    return target


def find_shared(wanted: str, shared: AnyPath) -> Path:
    """The folder in a shared folder that goes by a digest, the beginning of one, or a name.

    Raises:
        BadInput: there is none, or more than one.
    """
    place = Path(shared)
    pointer = place / "names" / wanted
    if NAME.fullmatch(wanted) and pointer.is_file():
        wanted = pointer.read_text(encoding="utf-8", errors="replace").strip()
    match = DIGEST.fullmatch(wanted)
    found = sorted(place.glob(f"sha256-{match[1]}*")) if match else []
    if len(found) == 1:
        return found[0]
    raise BadInput(
        words(
            en=f"{len(found)} folders in {place} go by {wanted!r}",
            fr=f"{len(found)} dossiers de {place} répondent à {wanted!r}",
        ),
        words(en=f"there are: {_listed(place)}", fr=f"il y a : {_listed(place)}"),
    )


def _copy(source: Path, target: Path, digest: str) -> None:
    """Copy the files that the manifest lists, and no others, and keep them only if they are those of the digest."""
    with new_folder(target) as building:
        for path in [MANIFEST, *(entry.path for entry in require_manifest(source).files)]:
            (building / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / path, building / path, follow_symlinks=False)
        _copy_signatures(source, building)
        require_manifest(building)
        _require_digest(building, digest, source)


def _require_digest(folder: Path, digest: str, named: Path | None = None) -> None:
    if folder_digest(folder) != digest:
        shown = named or folder
        raise CheckFailed(
            words(en=f"{shown} is not what its name says", fr=f"{shown} n'est pas ce que dit son nom"),
            words(en="remove it, and have it published again", fr="supprimez-le et faites-le publier à nouveau"),
        )


def _copy_signatures(source: Path, target: Path) -> None:
    """Add the signature files that the target lacks."""
    for path in sorted((source / SIGNATURES).glob("*.sig")):
        copy = target / SIGNATURES / path.name
        if path.is_file() and not path.is_symlink() and not copy.exists():
            with disk_failures(copy):
                write_bytes(copy, path.read_bytes())


def _listed(place: Path) -> str:
    names = sorted(path.name for path in (place / "names").glob("*") if NAME.fullmatch(path.name))
    digests = sorted(path.name[:19] for path in place.glob("sha256-*"))
    return ", ".join([*names, *digests][:12]) or words(en="nothing", fr="rien")
