"""Proves the service: cold start, altered models, fuzzing, clients, database, browser, kills, guesses, overload.

``make prove-serve`` runs all of it; ``--only kills`` one part, ``--short`` a trial of each that writes no result. Each
part keeps its figures under ``.cache/``, so parts that were run at different times are joined in one result. What needs
a model takes a small GGUF file (``--gguf``, or the demo's start model); without one these parts are not run. The
JavaScript client wants ``npm install --prefix .cache/node openai@7``, the browser Chromium.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from serving import browser, clients, fuzz, guesses, kills, mutants, overload, postgres, start

import results

PARTS = ("start", "mutants", "fuzz", "clients", "postgres", "browser", "kills", "guesses", "overload")
SHORT = {"minutes": 2.0, "kills": 2, "guesses": 200, "examples": 20, "mutants": 60}
LONG = {"minutes": 10.0, "kills": 20, "guesses": 10_000, "examples": 200, "mutants": 1_000}
Result = tuple[dict[str, Any], list[dict[str, Any]]]
NEEDS_MODEL = ("start", "clients", "kills", "mutants")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--gguf", type=Path, default=start_model())
    parser.add_argument("--pack", type=Path, default=finished_pack(), help="for the cold start")
    parser.add_argument("--only", choices=PARTS, action="append")
    parser.add_argument(
        "--seconds", type=float, default=math.inf, help="guesses stop after so long, and go on next time"
    )
    parser.add_argument("--short", action="store_true", help="a trial: little of everything, no result file")
    options = parser.parse_args()
    size = SHORT if options.short else LONG
    done: dict[str, Any] = {} if options.short else {part: json.loads(kept(part).read_text()) for part in known()}
    absent = "there is no GGUF file; name one with --gguf"
    with tempfile.TemporaryDirectory() as where:
        for part in options.only or PARTS:
            if part in NEEDS_MODEL and options.gguf is None:
                print(f"{part}: {absent}", file=sys.stderr)
                continue
            print(f"{part} …", file=sys.stderr)
            figures, bars = run(part, Path(where), options, size)
            day = datetime.now(UTC).isoformat(timespec="minutes")
            done[part] = {"figures": {"measured": day, **figures}, "bars": bars}
            if not options.short:
                kept(part).parent.mkdir(parents=True, exist_ok=True)
                kept(part).write_text(json.dumps(done[part]))
    done = {part: done[part] for part in PARTS if part in done}
    figures = {f"{part}: {name}": value for part, found in done.items() for name, value in found["figures"].items()}
    bars = [bar for found in done.values() for bar in found["bars"]]
    not_run = [
        {"name": part, "reason": absent if part in NEEDS_MODEL and options.gguf is None else "not asked for yet"}
        for part in PARTS
        if part not in done
    ]
    results.write("prove-serve", figures, bars, not_run, folder=None if options.short else results.RESULTS)
    if not all(bar["holds"] for bar in bars):
        sys.exit(1)


def kept(part: str) -> Path:
    """Where the figures of a part lie until it is run again."""
    return results.ROOT / ".cache" / "prove-serve" / f"{part}.json"


def known() -> list[str]:
    """The parts whose figures lie there."""
    return [part for part in PARTS if kept(part).exists()]


def run(part: str, work: Path, options: argparse.Namespace, size: dict[str, Any]) -> Result:
    """Figures and bars of one part."""
    gguf = options.gguf
    if part == "start":
        return start.prove(work, gguf, options.pack)
    if part == "mutants":
        return mutants.prove(work, gguf, size["mutants"])
    if part == "fuzz":
        return fuzz.prove(work, gguf, size["examples"])
    if part == "clients":
        return clients.prove(work, gguf)
    if part == "postgres":
        return postgres.prove(work)
    if part == "browser":
        return browser.prove(work)
    if part == "kills":
        return kills.prove(work, options.pack or gguf, size["kills"])
    if part == "guesses":
        seen = None if options.short else kept("guesses-seen")
        return guesses.prove(work, size["guesses"], options.seconds, seen)
    return overload.prove(work, size["minutes"])


def finished_pack() -> Path | None:
    """The newest pack among the repository's runs."""
    found = sorted((results.ROOT / "runs").glob("*/6-pack/manifest.json"), key=lambda path: path.stat().st_mtime)
    return found[-1].parent if found else None


def start_model() -> Path | None:
    """The smallest GGUF file in the repository's folder of models."""
    found = sorted((results.ROOT / ".cache" / "models").rglob("*.gguf"), key=lambda path: path.stat().st_size)
    return found[0] if found else None


if __name__ == "__main__":
    main()
