"""The journal of a capture under way: every finished answer is on the disk before the next is looked at.

A folder beside the capture to be (``1-capture.partial``) holds ``journal.json``, which says whose answers these are,
and shards ``samples-0000.jsonl.partial``, one per sitting, only ever appended to. A kill costs at most the last line,
which is dropped and counted. Where there is a budget, requests are written down before they leave, so that what was
in flight when a sitting ended still counts as spent. It knows requests by digest and does not know what they ask.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from pydantic import ValidationError

from cornue.capture.budget import Tokens
from cornue.records.errors import BadInput, OutsideFailure
from cornue.records.samples import Sample
from cornue.records.words import words
from cornue.seal.write import disk_failures, write_json

HEADER, WITNESS = "journal.json", "witness.json"
SYNC_SECONDS = 1.0


class Journal:
    """The answers to requests, on disk. One writer at a time.

    Args:
        folder: where the journal lies; made if missing.
        belongs_to: what all its answers have in common; a journal of something else is never continued.

    Raises:
        BadInput: another process writes there, a line is damaged, or the journal belongs to another capture.
        OutsideFailure: the disk is full (boundary "disk"), also from ``add``.
    """

    def __init__(self, folder: Path, belongs_to: dict[str, Any]) -> None:
        self.answers: dict[str, Sample] = {}
        self.rows: dict[str, bytes] = {}
        self.torn_lines = 0
        self.lost = Tokens()
        self._folder = folder
        with disk_failures(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(folder, os.O_RDONLY)
        try:
            self._take_lock()
            self._check_owner(belongs_to)
            self._seen = self._read_witness()
            shards = sorted(folder.glob("samples-*.jsonl.partial"))
            for shard in shards:
                self._read(shard)
            with disk_failures(folder):
                self._file = open(folder / f"samples-{len(shards):04d}.jsonl.partial", "xb")  # noqa: SIM115
        except BaseException:
            os.close(self._lock)
            raise
        self._synced = time.monotonic()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ask(self, request: str, worst: Tokens) -> None:
        """Write down a request before it leaves, with the most that it can take."""
        self._write({"asked": request, "worst": [worst.prompt, worst.completion]})

    def add(self, request: str, sample: Sample, rows: bytes = b"", wasted: Tokens | None = None) -> None:
        """Write down an answer.

        It reaches the disk itself within about a second.

        Args:
            rows: its packed distributions, if there are any.
            wasted: what failed requests of this sitting may have taken so far.
        """
        entry: dict[str, Any] = {"request": request, "sample": sample.model_dump(mode="json")}
        if rows:
            entry["rows"] = base64.b64encode(rows).decode()
            self.rows[request] = rows
        if wasted and wasted.total:
            entry["wasted"] = [wasted.prompt, wasted.completion]
        self._write(entry)
        self.answers[request] = sample

    def _write(self, entry: dict[str, Any]) -> None:
        line = json.dumps(entry, ensure_ascii=False)
        with disk_failures(self._folder):
            self._file.write(line.encode("utf-8") + b"\n")
            self._file.flush()
            if time.monotonic() - self._synced > SYNC_SECONDS:
                os.fsync(self._file.fileno())
                self._synced = time.monotonic()

    def witness(self, facts: dict[str, str]) -> None:
        """Remember what the answers say of the teacher.

        Raises:
            OutsideFailure: they said otherwise before (boundary "endpoint").
        """
        if not facts or facts == self._seen:
            return
        if self._seen:
            raise OutsideFailure(
                words(
                    en=f"The teacher's answers began under {self._seen} and go on under {facts}.",
                    fr=f"Les réponses de l'enseignant ont commencé sous {self._seen} et continuent sous {facts}.",
                ),
                words(
                    en=f"Answers of two models are never mixed: move {self._folder} away to begin a new capture.",
                    fr=f"On ne mêle jamais les réponses de deux modèles : déplacez {self._folder} pour recommencer.",
                ),
                boundary="endpoint",
            )
        write_json(self._folder / WITNESS, facts)
        self._seen = facts

    @property
    def seen(self) -> dict[str, str]:
        """What the answers say of the teacher."""
        return dict(self._seen)

    def close(self) -> None:
        """Bring everything to the disk and let another writer in."""
        try:
            with disk_failures(self._folder):
                os.fsync(self._file.fileno())
        finally:
            self._file.close()
            os.close(self._lock)

    def _take_lock(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadInput(
                words(
                    en=f"Another process is writing this capture ({self._folder}).",
                    fr=f"Un autre processus écrit cette capture ({self._folder}).",
                ),
                words(en="Wait until it has ended.", fr="Attendez qu'il ait fini."),
            ) from None

    def _check_owner(self, belongs_to: dict[str, Any]) -> None:
        header = self._folder / HEADER
        if not header.exists():
            write_json(header, belongs_to)
            return
        try:
            found = json.loads(header.read_text(encoding="utf-8"))
        except ValueError:
            found = None
        if found != belongs_to:
            changed = _difference(found, belongs_to)
            raise BadInput(
                words(
                    en=f"{self._folder} holds answers of another capture; what differs: {changed}.",
                    fr=f"{self._folder} contient les réponses d'une autre capture ; ce qui diffère : {changed}.",
                ),
                words(
                    en="Answers of two teachers or settings are never mixed: go back to the old settings to finish it, "
                    "or move the folder away to begin anew.",
                    fr="On ne mêle jamais les réponses de deux enseignants ou réglages : reprenez les anciens réglages "
                    "pour la finir, ou déplacez le dossier pour recommencer.",
                ),
            )

    def _read_witness(self) -> dict[str, str]:
        path = self._folder / WITNESS
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}

    def _read(self, shard: Path) -> None:
        *lines, rest = shard.read_bytes().split(b"\n")
        self.torn_lines += bool(rest)
        asked: dict[str, Tokens] = {}
        wasted = Tokens()
        for number, line in enumerate(lines, start=1):
            try:
                entry = json.loads(line)
                if "asked" in entry:
                    asked[entry["asked"]] = Tokens(*entry["worst"])
                    continue
                asked.pop(entry["request"], None)
                wasted = Tokens(*entry["wasted"]) if "wasted" in entry else wasted
                self.answers.setdefault(entry["request"], Sample.model_validate_json(json.dumps(entry["sample"])))
                if "rows" in entry:
                    self.rows.setdefault(entry["request"], base64.b64decode(entry["rows"]))
            except (ValueError, KeyError, TypeError, ValidationError) as error:
                raise BadInput(
                    words(
                        en=f"{shard}, line {number}, is damaged: {str(error).splitlines()[0]}.",
                        fr=f"{shard}, ligne {number}, est abîmé : {str(error).splitlines()[0]}.",
                    ),
                    words(
                        en="Delete that line: its answer is asked for again, all others are kept.",
                        fr="Supprimez cette ligne : sa réponse sera redemandée, toutes les autres sont gardées.",
                    ),
                ) from None
        self.lost = sum(asked.values(), self.lost + wasted)


def _difference(found: Any, wanted: Any, where: str = "") -> str:
    """The places at which two values differ, by path."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        keys = sorted({*found, *wanted})
        parts = [_difference(found.get(key), wanted.get(key), f"{where}.{key}" if where else key) for key in keys]
        return ", ".join(part for part in parts if part)
    return "" if found == wanted else where or HEADER
