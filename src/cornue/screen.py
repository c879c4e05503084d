"""What a person at a terminal sees while a recipe runs: what is going on, how long it still takes, what it has cost.

Everything goes to standard error. Without a terminal (a log file, CI) it says one plain line every half minute. It
decides nothing.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from cornue.ledger.meters import watts_per_core
from cornue.ledger.numbers import estimated
from cornue.ledger.prices import electricity_cost
from cornue.pack.open import open_pack
from cornue.records.words import words

PLAIN_SECONDS = 30.0
SHOWN = {"loss": "{:.3f}", "tokens_per_second": "{:.0f} tok/s", "share_of_peak": "{:.0%}", "reward": "{:.2f}"}


class Screen:
    """A ``Progress`` for people."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)
        self.live = self.console.is_terminal
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
            console=self.console,
            transient=True,
        )
        self._task: TaskID | None = None
        self._what, self._total, self._said = "", 0, 0.0
        self._began = time.monotonic()

    def __enter__(self) -> Screen:
        if self.live:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live:
            self._bars.stop()

    def begin(self, what: str, total: int) -> None:
        """See ``Progress``."""
        self._what, self._total, self._said = what, total, time.monotonic()
        if self._task is not None:
            self._bars.remove_task(self._task)
        self._task = self._bars.add_task(what, total=total or None, figures="")
        if not self.live:
            self.console.print(f"{self._clock()} {what}: {total}")

    def advance(self, done: int, **figures: float) -> None:
        """See ``Progress``."""
        text = " · ".join(form.format(figures[name]) for name, form in SHOWN.items() if name in figures)
        text = " · ".join(filter(None, (text, self._cost())))
        if self._task is not None:
            self._bars.update(self._task, completed=done, figures=text)
        if not self.live and time.monotonic() - self._said > PLAIN_SECONDS:
            self._said = time.monotonic()
            self.console.print(f"{self._clock()} {self._what}: {done}/{self._total} {text}")

    def say(self, text: str) -> None:
        """See ``Progress``."""
        self.console.print(f"{self._clock()} {text}", markup=False)

    def _clock(self) -> str:
        seconds = int(time.monotonic() - self._began)
        return f"{seconds // 60:3d}:{seconds % 60:02d}"

    def _cost(self) -> str:
        """Electricity of this sitting so far, from processor time: an estimate, and marked so."""
        times = os.times()
        cpu = times.user + times.system + times.children_user + times.children_system
        watts = watts_per_core(os.environ.get("CORNUE_WATTS_PER_CORE", ""))
        cost = electricity_cost(estimated(cpu * watts.value, "J", "processor time × watts per core"))
        return f"≈ {cost.value:.4f} €"


def conclude(run: Path) -> str:
    """What a person wants to know when a run has ended: how good, how much, where, and what next."""
    pack = run / "6-pack"
    facts = open_pack(pack, check=False).facts
    results: dict[str, Any] = json.loads((pack / "evaluation" / "results.json").read_text(encoding="utf-8"))
    lines = [
        "",
        words(en=f"{facts.name}: sealed in {pack}", fr=f"{facts.name} : scellé dans {pack}"),
        words(en=f"model digest {facts.model_digest}", fr=f"empreinte du modèle {facts.model_digest}"),
        "",
        *results_table(results),
        "",
        words(en=f"report   {run / 'report.html'}", fr=f"rapport   {run / 'report.html'}"),
        words(en=f"ask it   cornue chat {pack}", fr=f"l'interroger   cornue chat {pack}"),
        words(en=f"check it   cornue audit {pack}", fr=f"le vérifier   cornue audit {pack}"),
        words(en=f"serve it   cornue serve {pack}", fr=f"le servir   cornue serve {pack}"),
    ]
    return "\n".join(lines)


def results_table(results: dict[str, Any]) -> list[str]:
    """Shares of right answers: one row for each stratum, one column for each answerer."""
    answerers = results["answerers"]
    first = [name for name in ("student", "settled", "teacher") if name in answerers]
    names = [*first, *(name for name in answerers if name not in first)]
    strata = sorted({stratum for found in answerers.values() for stratum in found})
    width = max(len(stratum) for stratum in strata) + 2
    head = words(en="right answers", fr="réponses justes")
    rows = [head.ljust(width) + "".join(name.rjust(18) for name in names)]
    for stratum in strata:
        cells = []
        for name in names:
            found = answerers[name].get(stratum)
            cells.append(f"{found['share']:.0%} ({found['asked']})".rjust(18) if found and found["asked"] else " " * 18)
        rows.append(stratum.ljust(width) + "".join(cells))
    return rows
