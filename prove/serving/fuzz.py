"""Requests made from the API's own description, sound and unsound ones: no server error but 503.

They are put to the service over the pretend engine, then over a real one where there is a model, whose own refusals of
what it cannot do must arrive as refusals, too.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import results
from serving.world import service


def prove(work: Path, gguf: Path | None, examples: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Figures and bars."""
    figures: dict[str, Any] = {"examples per operation": examples}
    bars = []
    engines = {"pretend engine": None} | ({"llama.cpp": gguf} if gguf else {})
    for name, file in engines.items():
        with service(work / f"fuzz-{name[:5]}", gguf=file, slots=4, waiting=1000, max_tokens=8) as running:
            found, code = schemathesis(running.url, examples)
        figures |= {f"{name}: {what}": value for what, value in found.items()}
        bars.append(results.bar(f"exit code of schemathesis (server errors), {name}", code, 0, at_most=True))
    return figures, bars


def schemathesis(url: str, examples: int) -> tuple[dict[str, Any], int]:
    """What schemathesis counted, and its exit code."""
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json", "--no-color"]
    command += ["--checks=not_a_server_error", f"--max-examples={examples}", "--phases=examples,coverage,fuzzing"]
    command += ["--suppress-health-check=all", "--generation-deterministic", "--mode=all"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        print(done.stdout[-4000:], done.stderr[-1000:])
    counted = re.findall(r"^ *(Selected|Tested)[: ]+(.*)$", done.stdout, re.MULTILINE)
    cases = re.search(r"(\d[\d,]*) generated", done.stdout)
    found: dict[str, Any] = {name: value.strip() for name, value in counted}
    found["cases"] = int(cases[1].replace(",", "")) if cases else 0
    return found, done.returncode
