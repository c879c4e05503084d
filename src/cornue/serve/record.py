"""The record pages: what the model is, where it comes from, what it cost, and how to check that; and the runs.

They read the files of the pack and of the runs as they lie there and vouch for nothing: checking is the audit's work,
whose findings they show, and the page says how the reader does it alone.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from cornue.ledger.ledger import Entry, totals
from cornue.records.digests import digest_file
from cornue.seal.manifest import Manifest
from cornue.serve.curves import curve
from cornue.serve.door import REPORT_POLICY
from cornue.serve.errors import Refusal
from cornue.serve.findings import Findings

if TYPE_CHECKING:
    from cornue.serve.pages import Pages

MOST_ENTRIES = 500
MOST_LINES = 50_000
AXES = ("step", "tokens", "seconds")
STEPS = ("capture", "verify", "curate", "train", "evaluate")


@dataclass(frozen=True)
class Step:
    """A step of a pack's making."""

    kind: str
    digest: str
    files: int
    facts: list[tuple[str, Any]]


class Record:
    """The routes under ``/record`` and ``/runs``."""

    def __init__(self, pages: Pages) -> None:
        self.pages, self.offer = pages, pages.offer
        self.findings = Findings(pages.offer.folder, pages.settings.data)

    def routes(self) -> list[Route]:
        """All of them."""
        routes = [Route("/record", self.overview), Route("/record/report", self.report)]
        if self.pages.settings.runs is not None:
            routes += [Route("/runs", self.runs), Route("/runs/{name}", self.run)]
        return routes

    async def overview(self, request: Request) -> Response:
        """``GET /record``; open to everybody, also where asking needs a key."""
        pages, folder = self.pages, self.offer.folder
        entries = read_ledger(folder / "ledger.jsonl") if folder else []
        contests = pages.store.rows("SELECT note, reply, public, question FROM contests ORDER BY created DESC")
        desk = pages.desk
        desk.meter.tick()
        return pages.show(
            request,
            "record.html",
            report=bool(folder and (folder / "report.html").is_file()),
            findings=self.findings.read(pages.language(request)),
            lineage=read_lineage(folder) if folder else [],
            entries=[(entry.act, entry.room, sorted(entry.numbers.items())) for entry in entries[:MOST_ENTRIES]],
            totals=sorted(totals(entries).items()),
            contests=[row for row in contests if row[2]][:50],
            received=len(contests),
            answered=sum(bool(row[1]) for row in contests),
            counts=desk.counts,
            energy=desk.meter.totals(),
            measured=desk.meter.counter.watts is None,
            public_key=pages.public_key,
        )

    async def report(self, request: Request) -> Response:
        """``GET /record/report``: the pack's own report, without script."""
        path = self.offer.folder / "report.html" if self.offer.folder else None
        if path is None or not path.is_file():
            raise Refusal(404, "There is no report.", "no_report")
        return FileResponse(path, media_type="text/html", headers={"Content-Security-Policy": REPORT_POLICY})

    async def runs(self, request: Request) -> Response:
        """``GET /runs``."""
        self.pages.door.who(request)
        found = [(folder.name, state_of(folder), steps_of(folder)) for folder in self._folders()]
        return self.pages.show(request, "runs.html", found=found)

    async def run(self, request: Request) -> Response:
        """``GET /runs/NAME``: the curves of a run."""
        self.pages.door.who(request)
        folder = next((folder for folder in self._folders() if folder.name == request.path_params["name"]), None)
        if folder is None:
            raise Refusal(404, "There is no such run.", "no_such_run")
        files = [(path.relative_to(folder).as_posix(), read_series(path)) for path in sorted(folder.rglob("*.jsonl"))]
        drawn = [(name, draw(series)) for name, series in files if series]
        entries = read_ledger(folder / "ledger.jsonl")
        return self.pages.show(
            request, "run.html", name=folder.name, drawn=drawn, totals=sorted(totals(entries).items())
        )

    def _folders(self) -> list[Path]:
        root = self.pages.settings.runs
        if root is None or not root.is_dir():
            return []
        folders = [path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")]
        return sorted(folders, key=lambda path: path.stat().st_mtime, reverse=True)


def state_of(folder: Path) -> str:
    """Whether a run is finished, goes on at this moment, or was stopped."""
    if (folder / "6-pack" / "manifest.json").is_file():
        return "finished"
    return "running" if is_held(folder / "lock") else "stopped_run"


def is_held(lock: Path) -> bool:
    """Whether a process holds a lock on a file; read from the system's list, so that nobody is shut out meanwhile."""
    try:
        number = lock.stat().st_ino
        listed = Path("/proc/locks").read_text(encoding="ascii")
    except OSError:
        return False
    return any(part.rpartition(":")[2] == str(number) for line in listed.splitlines() for part in line.split()[5:6])


def steps_of(folder: Path) -> list[str]:
    """The steps that a run has finished, in order."""
    done = [path.parent.name.partition("-")[2] for path in sorted(folder.glob("[1-6]-*/manifest.json"))]
    return [step for step in done if step in STEPS]


def read_ledger(path: Path) -> list[Entry]:
    """The entries of a ledger that can be read; a torn last line is left out."""
    entries = []
    for line in _lines(path):
        try:
            entries.append(Entry.model_validate_json(line))
        except ValueError:
            continue
    return entries


def read_lineage(folder: Path) -> list[Step]:
    """The steps of a pack's making in their order, from the manifests that it carries; what is missing is left out."""
    found = []
    for kind in STEPS:
        path = folder / "lineage" / f"{kind}.json"
        try:
            manifest = Manifest.model_validate_json(path.read_bytes())
        except (OSError, ValueError):
            continue
        plain = ((name, value) for name, value in manifest.facts.items() if isinstance(value, (str, int, float)))
        facts = [(name.replace("_", " "), value) for name, value in plain if value != ""]
        found.append(Step(kind, digest_file(path), len(manifest.files), facts))
    return found


def read_series(path: Path) -> dict[str, list[tuple[float, float]]]:
    """The numeric columns of a file of JSON lines over its step; empty where it has none."""
    series: dict[str, list[tuple[float, float]]] = {}
    for number, line in enumerate(_lines(path)):
        try:
            row = json.loads(line)
        except ValueError:
            continue
        axis = next((name for name in AXES if isinstance(row, dict) and _is_number(row.get(name))), None)
        if axis is None:
            continue
        for name, value in row.items():
            if name not in AXES and _is_number(value) and number < MOST_LINES:
                series.setdefault(name, []).append((float(row[axis]), float(value)))
    return series


def draw(series: dict[str, list[tuple[float, float]]]) -> list[tuple[str, str, str]]:
    """Name, last value and drawing of each series that has a curve."""
    drawn = [(name, f"{points[-1][1]:.4g}", curve(name, points)) for name, points in series.items()]
    return [item for item in drawn if item[2]]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
