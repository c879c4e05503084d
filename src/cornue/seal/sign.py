"""Signs finished folders and verifies them, in the OpenSSF Model Signing 1.0 format.

A signature covers every file of a folder, its manifest included, and lies in ``signatures/``, one file per key, so that
several institutions can sign one pack. A verdict has four values and is given against the reader's own ring: without a
trusted signature a folder can at best be ``declared``.
"""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import Field

from cornue.records.digests import digest_file
from cornue.records.samples import Record
from cornue.records.words import words
from cornue.seal.envelope import Opened, Unreadable, make_statement, open_bundle, sign_statement
from cornue.seal.keys import KeyRing, SigningKey
from cornue.seal.manifest import (
    MANIFEST,
    SIGNATURES,
    Digest,
    check_manifest,
    folder_digest,
    read_manifest,
    require_manifest,
)
from cornue.seal.write import AnyPath, write_json

PREDICATE = "https://model_signing/signature/v1.0"
LARGEST = 64 << 20

Value = Literal["verified", "declared", "not checkable", "false"]


class SealFinding(Record):
    """What can be said of a folder's integrity and origin."""

    value: Value
    reason: str = Field(description="For people, in their language.")
    digest: str = Field(default="", description="The folder's identity; empty if it has none.")
    signers: tuple[str, ...] = Field(default=(), description="Names of the trusted keys whose signatures hold.")
    unknown: tuple[str, ...] = Field(default=(), description="Hints of keys that the ring does not hold.")


def sign_folder(folder: AnyPath, key: SigningKey) -> Path:
    """Sign a folder that agrees with its manifest; returns the signature file.

    Raises:
        CheckFailed: the folder does not agree with its manifest.
    """
    root = Path(folder)
    manifest = require_manifest(root)
    resources, subject = _resources(root)
    predicate = {
        "serialization": {
            "method": "files",
            "hash_type": "sha256",
            "allow_symlinks": False,
            "ignore_paths": [SIGNATURES],
        },
        "resources": resources,
    }
    statement = make_statement(PREDICATE, manifest.kind, subject, predicate)
    path = root / SIGNATURES / f"{key.public.hint[:16]}.sig"
    write_json(path, sign_statement(statement, key))
    return path


def verify_folder(folder: AnyPath, ring: KeyRing, needed: int = 1, digest_of: Digest = digest_file) -> SealFinding:
    """Whether a folder is what a number of trusted keys signed.

    - ``false``: a file differs from the manifest, or a signature is broken, revoked or of something else.
    - ``verified``: at least ``needed`` trusted keys signed exactly these files.
    - ``not checkable``: there are signatures, but too few by keys of the ring.
    - ``declared``: nobody signed; the folder only agrees with itself.
    """
    root = Path(folder)
    problems = check_manifest(root, digest_of)
    if problems:
        more = words(en=f", and {len(problems) - 1} more", fr=f", et {len(problems) - 1} autres")
        return SealFinding(value="false", reason=problems[0].sentence + (more if len(problems) > 1 else ""))
    digest = folder_digest(root)
    signers: list[str] = []
    unknown: list[str] = []
    for path in sorted((root / SIGNATURES).iterdir()) if (root / SIGNATURES).is_dir() else []:
        try:
            opened = _open(path, ring)
            fault = _fault(opened, root, ring)
        except Unreadable as error:
            fault = str(error)
        if fault:
            return SealFinding(value="false", reason=f"{SIGNATURES}/{ascii(path.name)[1:-1]}: {fault}", digest=digest)
        if opened.signer is None:
            unknown.append(opened.hint)
        elif opened.signer.name not in signers:
            signers.append(opened.signer.name)
    return _conclude(digest, tuple(signers), tuple(unknown), needed)


def _conclude(digest: str, signers: tuple[str, ...], unknown: tuple[str, ...], needed: int) -> SealFinding:
    value: Value = "not checkable"
    if len(signers) >= needed:
        value, names = "verified", ", ".join(signers)
        reason = words(en=f"signed by {names}", fr=f"signé par {names}")
    elif signers:
        reason = words(
            en=f"{len(signers)} of {needed} needed signatures are by trusted keys",
            fr=f"{len(signers)} des {needed} signatures voulues sont de clés de confiance",
        )
    elif unknown:
        reason = words(
            en=f"signed, but by no key of yours ({len(unknown)} unknown)",
            fr=f"signé, mais par aucune clé à vous ({len(unknown)} inconnues)",
        )
    else:
        value = "declared"
        reason = words(
            en="not signed: it agrees with its own manifest only", fr="non signé : ne s'accorde qu'avec lui-même"
        )
    return SealFinding(value=value, reason=reason, digest=digest, signers=signers, unknown=unknown)


def _open(path: Path, ring: KeyRing) -> Opened:
    if path.is_symlink() or not path.is_file() or path.stat().st_size > LARGEST:
        raise Unreadable(
            words(en="it is no plain file of a signature's size", fr="ce n'est pas un fichier de signature")
        )
    return open_bundle(path.read_bytes(), ring)


def _fault(opened: Opened, root: Path, ring: KeyRing) -> str:
    """What is wrong with a signature of this folder; empty if nothing is, or if its key is unknown."""
    if opened.signer is None:
        return ""
    if opened.signer.fingerprint in ring.revoked:
        return words(en=f"the key {opened.signer.name} was revoked", fr=f"la clé {opened.signer.name} a été révoquée")
    if not opened.genuine:
        return words(en=f"it is not by {opened.signer.name}", fr=f"elle n'est pas de {opened.signer.name}")
    if not _is_about(opened.statement, root):
        return words(en="it signs other files than these", fr="elle signe d'autres fichiers que ceux-ci")
    return ""


def _is_about(statement: dict[str, Any], root: Path) -> bool:
    """Whether a statement signs exactly the files of a folder that was checked against its manifest."""
    resources, subject = _resources(root)
    predicate, subjects = statement.get("predicate"), statement.get("subject")
    if statement.get("predicateType") != PREDICATE or not isinstance(predicate, dict) or not isinstance(subjects, list):
        return False
    if len(subjects) != 1 or not isinstance(subjects[0], dict) or subjects[0].get("digest") != {"sha256": subject}:
        return False
    return bool(predicate.get("resources") == resources)


def _resources(root: Path) -> tuple[list[dict[str, str]], str]:
    """Every file with its digest, sorted by path components, and the digest over all of them, in hex."""
    digests = {entry.path: entry.sha256 for entry in read_manifest(root).files}
    digests[MANIFEST] = digest_file(root / MANIFEST)
    paths = sorted(digests, key=lambda path: PurePosixPath(path).parts)
    hexes = {path: digests[path].removeprefix("sha256:") for path in paths}
    resources = [{"name": path, "algorithm": "sha256", "digest": hexes[path]} for path in paths]
    return resources, hashlib.sha256(b"".join(bytes.fromhex(hexes[path]) for path in paths)).hexdigest()
