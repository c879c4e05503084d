"""Proves the service: browser, overload, kills, guesses at another's prompt, fuzzing, altered models.

``make prove-serve`` runs all of it; ``--only kills`` one part, ``--short`` a trial of each that writes no result. What
needs a model takes a small GGUF file (``--gguf``, or the demo's start model); without one these parts are not run.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from serving import browser, fuzz, guesses, kills, mutants, overload

import results

PARTS = ("mutants", "fuzz", "browser", "kills", "guesses", "overload")
SHORT = {"minutes": 0.5, "kills": 2, "guesses": 200, "examples": 20, "mutants": 60}
LONG = {"minutes": 10.0, "kills": 20, "guesses": 10_000, "examples": 200, "mutants": 1_000}
NEEDS_MODEL = ("kills", "guesses", "mutants")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--gguf", type=Path, default=start_model())
    parser.add_argument("--only", choices=PARTS, action="append")
    parser.add_argument("--short", action="store_true", help="a trial: little of everything, no result file")
    options = parser.parse_args()
    size = SHORT if options.short else LONG
    kept = results.RESULTS / ".prove-serve.json"
    done: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() and not options.short else {}
    not_run = []
    with tempfile.TemporaryDirectory() as where:
        for part in options.only or PARTS:
            if part in NEEDS_MODEL and options.gguf is None:
                not_run.append({"name": part, "reason": "there is no GGUF file; name one with --gguf"})
                continue
            if part in done and not options.only:
                continue
            print(f"{part} …", file=sys.stderr)
            done[part] = run(part, Path(where), options.gguf, size)
            if not options.short:
                kept.parent.mkdir(parents=True, exist_ok=True)
                kept.write_text(json.dumps(done))
    figures = {f"{part}: {name}": value for part, (found, _) in done.items() for name, value in found.items()}
    bars = [bar for _, part_bars in done.values() for bar in part_bars]
    results.write("prove-serve", figures, bars, not_run, folder=None if options.short else results.RESULTS)
    kept.unlink(missing_ok=True)
    if not all(bar["holds"] for bar in bars):
        sys.exit(1)


def run(part: str, work: Path, gguf: Path, size: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Figures and bars of one part."""
    if part == "mutants":
        return mutants.prove(work, gguf, size["mutants"])
    if part == "fuzz":
        return fuzz.prove(work, size["examples"])
    if part == "browser":
        return browser.prove(work)
    if part == "kills":
        return kills.prove(work, gguf, size["kills"])
    if part == "guesses":
        return guesses.prove(work, gguf, size["guesses"])
    return overload.prove(work, size["minutes"])


def start_model() -> Path | None:
    """A small GGUF file that lies in the repository's folder of models."""
    found = sorted((results.ROOT / "models").rglob("*.gguf"), key=lambda path: path.stat().st_size)
    return found[0] if found else None


if __name__ == "__main__":
    main()
