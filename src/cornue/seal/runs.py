"""The folder of a run: one numbered folder for each step, and the files that belong to all of them.

A step works in ``N-name.partial`` and takes its name when it is finished and listed in its manifest; the manifest names
the digest of everything that went in. A finished step with the same inputs is never done again: resume, cache and audit
are one mechanism. It knows no step by what it does.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cornue.records.digests import digest_json
from cornue.records.errors import BadInput
from cornue.records.words import words
from cornue.seal.manifest import MANIFEST, folder_digest, read_manifest, require_manifest, write_manifest
from cornue.seal.write import disk_failures, remove_folder

STEPS = ("capture", "verify", "curate", "train", "evaluate", "pack")


class RunFolder:
    """A run on disk, held by one process at a time.

    Raises:
        BadInput: another process holds it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with disk_failures(path):
            path.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise BadInput(
                words(en=f"Another process works in {path}.", fr=f"Un autre processus travaille dans {path}."),
                words(en="Wait until it has ended, or stop it.", fr="Attendez qu'il ait fini, ou arrêtez-le."),
            ) from None

    def close(self) -> None:
        """Let another process in."""
        os.close(self._lock)

    def place(self, step: str) -> Path:
        """Where a finished step lies."""
        return self.path / f"{STEPS.index(step) + 1}-{step}"

    def partial(self, step: str) -> Path:
        """Where an unfinished step works."""
        return self.path / f"{STEPS.index(step) + 1}-{step}.partial"

    def digest(self, step: str) -> str:
        """The identity of a finished step."""
        return folder_digest(self.place(step))

    def is_done(self, step: str, inputs: dict[str, Any]) -> bool:
        """Whether a step has been finished with just these inputs; its files are checked.

        Raises:
            CheckFailed: it was finished, and a file has been altered since.
        """
        if not (self.place(step) / MANIFEST).exists():
            return False
        if read_manifest(self.place(step)).facts.get("inputs") != digest_json(inputs):
            return False
        require_manifest(self.place(step))
        return True

    def do(
        self, step: str, inputs: dict[str, Any], work: Callable[[Path], dict[str, Any]], resumes: bool = False
    ) -> dict[str, Any]:
        """Do a step and take its result into the run.

        Args:
            inputs: everything that decides the result.
            work: fills a folder and returns what the manifest should say of it.
            resumes: whether ``work`` goes on from what it finds in the folder; otherwise it starts with an empty one.

        Returns:
            What ``work`` returned.
        """
        partial, place = self.partial(step), self.place(step)
        if place.exists():
            remove_folder(place)
        if partial.exists() and not (resumes and self._belongs(partial, inputs)):
            remove_folder(partial)
        with disk_failures(partial):
            partial.mkdir(exist_ok=True)
            (partial / ".inputs").write_text(digest_json(inputs), encoding="utf-8")
            facts = work(partial)
            (partial / ".inputs").unlink()
            write_manifest(partial, step, {"inputs": digest_json(inputs), **facts})
            _sync_all(partial)
            partial.rename(place)
        return facts

    @staticmethod
    def _belongs(partial: Path, inputs: dict[str, Any]) -> bool:
        """Whether unfinished work began with the same inputs. A finished one that was not yet renamed begins anew."""
        mark = partial / ".inputs"
        return mark.exists() and mark.read_text(encoding="utf-8") == digest_json(inputs)


def _sync_all(folder: Path) -> None:
    """Bring a folder's files to the disk before it takes its name."""
    for path in (*folder.rglob("*"), folder):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
