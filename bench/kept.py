"""Keeps the figures of a long benchmark piece by piece, so that it may stop between two pieces and go on later.

Pieces lie under ``.cache/<benchmark>/<commit>/``: those of another commit are never joined with them. It measures
nothing and writes no result.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import results

UNFINISHED = 75


class Unfinished(Exception):
    """The minutes are over, and pieces are missing."""


class Kept:
    """The pieces of a benchmark.

    Args:
        name: of the benchmark.
        minutes: no piece is begun after so many; 0 sets no limit.
        keep: False measures all of it anew and keeps nothing, for a trial.
        root: where the pieces of all benchmarks lie.
    """

    def __init__(
        self, name: str, minutes: float = 0.0, keep: bool = True, root: Path = results.ROOT / ".cache"
    ) -> None:
        self.folder = root / name / results.commit()
        self._end = time.monotonic() + 60 * minutes if minutes else float("inf")
        self._keep = keep

    def piece(self, name: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """A piece that is kept, or else measured now, shown and kept.

        Raises:
            Unfinished: it is missing, and the minutes are over.
        """
        path = self.folder / f"{name.replace(' ', '-')}.json"
        if self._keep and path.exists():
            kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return kept
        if time.monotonic() > self._end:
            raise Unfinished(f"{name} and what follows is missing; what there is lies in {self.folder}; run again")
        found = measure()
        print(name, json.dumps(found), file=sys.stderr, flush=True)
        if self._keep:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(found), encoding="utf-8")
        return found


def run(main: Callable[[], int]) -> int:
    """The exit code of a benchmark: its own, or 75 where pieces are missing."""
    try:
        return main()
    except Unfinished as missing:
        print(missing, file=sys.stderr)
        return UNFINISHED
