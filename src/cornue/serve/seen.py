"""Which files this service has read and checked before, so that it is back at once after a crash, whatever their size.

A file whose stamp (device, inode, size, times of change) is what it was when it was read has the digest that it had
then. Such files are read again while the service runs; if one differs after all, the service ends, forgets what it had
seen and refuses the file at the next start. It does not say what a digest should be: the manifest does.
"""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

from cornue.records.digests import digest_file
from cornue.seal.write import write_json

NAME = "seen.json"
# A file may change once more within the step of the clock that stamped it.
SETTLED_SECONDS = 2.0
LOW_PRIORITY = 19


class Seen:
    """Digests by stamp, kept in the service's folder.

    Args:
        folder: of the service; made if it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._before = _read(self._path)
        self._now: dict[str, dict[str, Any]] = {}
        self.trusted: dict[Path, str] = {}
        """Files that were not read this time, with their digests."""

    def digest(self, file: Path) -> str:
        """The digest of a file: as it was seen if nothing has touched it since, else read now."""
        begin, name, stamp = time.time(), str(file.resolve()), _stamp(file)
        entry = self._before.get(name)
        if entry and entry["stamp"] == stamp:
            self._now[name] = entry
            self.trusted[file] = str(entry["digest"])
            return self.trusted[file]
        digest = digest_file(file)
        if _stamp(file) == stamp and max(stamp[-2:]) < (begin - SETTLED_SECONDS) * 1e9:
            self._now[name] = {"stamp": stamp, "digest": digest}
        return digest

    def keep(self) -> None:
        """Writes down what was seen this time, once all of it is found to be right."""
        if self._now == self._before:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_json(self._path, self._now)

    def read_again(self) -> Path | None:
        """Reads what was not read at the start, behind all other work; returns the first file that differs.

        What was seen is then forgotten.
        """
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOW_PRIORITY)
        for file, digest in self.trusted.items():
            try:
                differs = digest_file(file) != digest
            except OSError:
                differs = True
            if differs:
                self._path.unlink(missing_ok=True)
                return file
        return None


def _stamp(file: Path) -> list[int]:
    about = file.stat()
    return [about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns]


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """What was written down; nothing if it cannot be read, since then all is simply read anew."""
    try:
        said = json.loads(path.read_bytes())
        return {
            str(name): {"stamp": list(entry["stamp"]), "digest": str(entry["digest"])} for name, entry in said.items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}
