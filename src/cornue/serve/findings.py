"""What the audit says of the pack that is served, for the record page.

The audit runs in a process of its own, once for each pack and language, at the lowest priority so that answers do not
wait for it; its findings lie beside the receipts. Nothing is judged here, and who doubts runs the same command.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from cornue.records.digests import digest_file
from cornue.seal.manifest import MANIFEST
from cornue.seal.write import write_json

AUDIT = "from cornue.cli import main; main()"
SECONDS = 1800.0
LOWEST = 19
# What is shown where the audit itself came to no end.
UNKNOWN = {"claim": "audit", "value": "not checkable", "reason": "–"}


class Findings:
    """The findings on a pack.

    Args:
        folder: the pack; None where there is none to audit.
        data: where they are kept.
    """

    def __init__(self, folder: Path | None, data: Path) -> None:
        self.folder, self.data = folder, data
        self.digest = digest_file(folder / MANIFEST)[7:23] if folder and (folder / MANIFEST).is_file() else ""
        self.tasks: dict[str, asyncio.Task[None]] = {}

    def read(self, language: str) -> list[dict[str, Any]] | None:
        """Claim, value and reason of each; None while the audit is under way, which the first call begins."""
        if not self.digest or self.folder is None:
            return []
        with contextlib.suppress(OSError, ValueError):
            found: list[dict[str, Any]] = json.loads(self._path(language).read_text(encoding="utf-8"))
            return found
        if language not in self.tasks:
            self.tasks[language] = asyncio.create_task(self._audit(self.folder, language))
        return [UNKNOWN] if self.tasks[language].done() else None

    async def _audit(self, folder: Path, language: str) -> None:
        command = (sys.executable, "-c", AUDIT, "audit", str(folder), "--json")
        environment = {**os.environ, "CORNUE_LANG": language}
        process = await asyncio.create_subprocess_exec(
            *command, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        try:
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, process.pid, LOWEST)
            async with asyncio.timeout(SECONDS):
                said, _ = await process.communicate()
            with contextlib.suppress(ValueError):
                await asyncio.to_thread(write_json, self._path(language), json.loads(said))
        except TimeoutError:
            return
        finally:
            if process.returncode is None:
                process.kill()

    def _path(self, language: str) -> Path:
        return self.data / f"findings-{self.digest}-{language}.json"
