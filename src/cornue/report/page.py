"""The page that people read: what the student is, how good it is, what it cost, where it comes from.

One self-contained HTML file made from lineage alone; every figure on it stands in a file of the pack. It draws with
plain SVG, needs no script and asks no network. It judges nothing and leaves nothing out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader

from cornue.ledger.ledger import read_ledger, totals
from cornue.ledger.prices import bill
from cornue.records.errors import CornueError
from cornue.seal.write import write_text

STRATA = {
    "unseen": ("Forms and places never seen", "Formes et lieux jamais vus"),
    "known": ("Known forms, unseen places", "Formes connues, lieux jamais vus"),
    "free": ("Free questions", "Questions libres"),
    "all": ("Held-out questions", "Questions mises de côté"),
}
ANSWERERS = {
    "student": ("the student", "l'élève"),
    "settled": ("the student, asked again in doubt", "l'élève, réinterrogé en cas de doute"),
    "teacher": ("the teacher", "l'enseignant"),
    "start": ("the untouched start", "le modèle de départ"),
    "nearest_question": ("nearest known question", "question connue la plus proche"),
    "always_declines": ("always declines", "décline toujours"),
}


def write_report(pack: Path, rooms: Mapping[str, Path], ledger: Path, reuse: Mapping[str, Any]) -> None:
    """Write ``report.html`` into a pack that holds its lineage and results.

    Args:
        reuse: what the teacher's answers cost beside what they save: ``teacher_kwh``, ``distilled``, ``plain``,
            ``students``.
    """
    facts = json.loads((pack / "pack.json").read_text(encoding="utf-8"))
    results = json.loads((pack / "evaluation" / "results.json").read_text(encoding="utf-8"))
    manifests = {
        name: json.loads((place / "manifest.json").read_text(encoding="utf-8")) for name, place in rooms.items()
    }
    french = facts["language"] == "fr"
    entries = read_ledger(ledger)
    spent = totals(entries)
    environment = Environment(
        loader=PackageLoader("cornue.report"),
        autoescape=True,
        trim_blocks=True,
    )
    html = environment.get_template("report.html.jinja").render(
        facts=facts,
        french=french,
        say=lambda en, fr: fr if french else en,
        groups=_groups(results, french),
        against=results["student_against_teacher"],
        agreement=results["agreement"],
        fitted=manifests["train"]["facts"]["student"],
        stages=manifests["train"]["facts"]["stages"],
        curve=_curve(rooms["train"]),
        curated=manifests["curate"]["facts"],
        verified=manifests["verify"]["facts"],
        capture=json.loads((pack / "lineage" / "capture-identity.json").read_text(encoding="utf-8")),
        rooms={name: _readable(totals(entries, name)) for name in rooms},
        totals=_readable(spent),
        bill=_bill(spent),
        reuse=reuse,
        number=lambda value, digits=0: _number(value, digits, french),
    )
    write_text(pack / "report.html", html)


def _groups(results: dict[str, Any], french: bool) -> list[dict[str, Any]]:
    """Bars for the chart: one group for each stratum that was measured, one bar for each answerer."""
    strata = sorted({name for found in results["answerers"].values() for name in found if "/" not in name})
    groups = []
    for stratum in sorted(strata, key=lambda name: list(STRATA).index(name) if name in STRATA else 9):
        bars = [
            {"name": ANSWERERS.get(answerer, (answerer, answerer))[french], "key": answerer, **found[stratum]}
            for answerer, found in sorted(results["answerers"].items(), key=lambda item: list(ANSWERERS).index(item[0]))
            if found.get(stratum, {}).get("asked")
        ]
        parts = {
            kind: results["answerers"]["student"].get(f"{stratum}/{kind}") for kind in ("answerable", "declinable")
        }
        groups.append({"name": STRATA.get(stratum, (stratum, stratum))[french], "bars": bars, "parts": parts})
    return groups


def _curve(train: Path) -> list[dict[str, Any]]:
    """Loss against step, as points of a polyline in a box of 600 × 160."""
    drawn = []
    for path in sorted(train.glob("stages/*/curve.jsonl")):
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        losses = [line["loss"] for line in lines]
        if len(losses) < 2:
            continue
        top = max(losses) or 1.0
        points = " ".join(
            f"{600 * place / (len(losses) - 1):.1f},{150 - 140 * loss / top:.1f}" for place, loss in enumerate(losses)
        )
        drawn.append({"name": path.parent.name, "points": points, "first": losses[0], "last": losses[-1]})
    return drawn


def _readable(found: Any) -> dict[str, Any]:
    return {name: total.model_dump(mode="json") for name, total in found.items()}


def _bill(spent: Any) -> dict[str, Any]:
    try:
        return {name: number.model_dump(mode="json") for name, number in bill(spent).items()}
    except CornueError:
        return {}


def _number(value: float, digits: int, french: bool) -> str:
    text = f"{value:,.{digits}f}"
    return text.replace(",", "\u202f").replace(".", ",") if french else text
