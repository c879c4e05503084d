"""Measures side by side and writes results: the one place where a figure becomes a file under ``docs/results``.

It times pairs in alternation, runs children whose peak memory is wanted, and writes ``<name>.json`` with the same
figures as a readable ``<name>.md``. It holds no benchmark and decides no bar.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from math import comb
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results"
MEASURED = ("src", "bench", "scripts", "pyproject.toml")


@dataclass(frozen=True)
class Ratios:
    """Speed of ``a`` as a multiple of the speed of ``b``: above 1, ``a`` is the faster.

    ``low`` and ``high`` bound the median with at least 95 % confidence (order statistics, no assumption of shape).
    """

    median: float
    low: float
    high: float
    pairs: int
    a_seconds: float
    b_seconds: float


def alternate(
    a: Callable[[], float | None],
    b: Callable[[], float | None],
    pairs: int,
    warmup: int = 2,
    clock: Callable[[], float] = time.perf_counter,
) -> Ratios:
    """Runs ``a`` and ``b`` in turn, swapping who goes first in every pair, so that a drift of the machine cancels.

    Args:
        a, b: what is timed; one that returns a number has timed itself, in seconds (a child process, for instance).
        pairs: at least 1; 30 or more for a bar.
        warmup: untimed pairs beforehand.
    """
    seconds_a, seconds_b = in_turn(a, b, pairs, warmup, clock)
    ratios = [of_b / of_a for of_a, of_b in zip(seconds_a, seconds_b, strict=True)]
    low, high = median_interval(ratios)
    return Ratios(
        median=statistics.median(ratios),
        low=low,
        high=high,
        pairs=pairs,
        a_seconds=statistics.median(seconds_a),
        b_seconds=statistics.median(seconds_b),
    )


def in_turn(
    a: Callable[[], float | None],
    b: Callable[[], float | None],
    pairs: int,
    warmup: int = 2,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[list[float], list[float]]:
    """The seconds of each, pair by pair; see ``alternate``."""
    seconds_a: list[float] = []
    seconds_b: list[float] = []
    for pair in range(-warmup, pairs):
        turns = [(a, seconds_a), (b, seconds_b)]
        for run, seconds in turns if pair % 2 == 0 else reversed(turns):
            start = clock()
            own = run()
            spent = clock() - start if own is None else own
            if pair >= 0:
                seconds.append(spent)
    return seconds_a, seconds_b


def median_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """The narrowest symmetric pair of order statistics that covers the median; minimum and maximum where few."""
    ordered = sorted(values)
    count = len(ordered)
    tail, cut = 0.0, 0
    while cut < (count - 1) // 2:
        tail += comb(count, cut) / 2**count
        if 2 * tail > 1 - confidence:
            break
        cut += 1
    cut = max(cut - 1, 0)
    return ordered[cut], ordered[count - 1 - cut]


def run_child(
    arguments: Sequence[str], environment: Mapping[str, str] | None = None, python: str = sys.executable
) -> tuple[dict[str, Any], int]:
    """Runs Python in a process of its own.

    Args:
        python: which Python, where another system has an installation of its own.

    Returns:
        The JSON object on the last line of its stdout, and the peak of its resident memory in bytes.

    Raises:
        RuntimeError: when it fails; its stderr is passed through.
    """
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT / "bench")])
    # The system counts the peak of whoever starts a process as that process's own, so a small one stands between.
    done = subprocess.run(
        [python, __file__, *arguments],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": paths, **(environment or {})},
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)} ended with {done.returncode}")
    *_, answer, peak = done.stdout.decode().strip().splitlines()
    return json.loads(answer), int(peak)


def _stand_between(arguments: Sequence[str]) -> int:
    """Runs Python with these arguments, then prints its peak of resident memory in bytes; returns its exit code."""
    child = subprocess.Popen([sys.executable, *arguments])
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    # Linux counts in KiB, macOS in bytes.
    print(usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024))
    return child.returncode


def bar(name: str, value: float, limit: float, at_most: bool = False) -> dict[str, Any]:
    """One bar: ``value`` must reach ``limit``, or stay at or below it if ``at_most``."""
    holds = value <= limit if at_most else value >= limit
    return {"name": name, "value": value, "bar": f"{'≤' if at_most else '≥'} {limit:g}", "holds": bool(holds)}


def write(
    name: str,
    figures: Mapping[str, Any],
    bars: Sequence[Mapping[str, Any]],
    not_run: Sequence[Mapping[str, str]] = (),
    folder: Path | None = RESULTS,
) -> dict[str, Any]:
    """Prints a result (tables, then one line of JSON) and writes ``<name>.json`` and ``<name>.md``.

    Args:
        name: ``bench-…`` or ``prove-…``.
        figures: scalars, or lists of rows (dicts with the same keys), which become tables.
        bars: ``name``, ``value``, ``bar``, ``holds`` each; see ``bar``.
        not_run: ``name`` and ``reason`` of what this machine cannot measure.
        folder: where to write; None prints only, for a trial that must not stand as a result.
    """
    result: dict[str, Any] = {
        "commit": _git("rev-parse", "HEAD"),
        "machine": machine(),
        "command": command(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "figures": {key: asdict(value) if isinstance(value, Ratios) else value for key, value in figures.items()},
        "bars": [dict(item) for item in bars],
        "not_run": [dict(item) for item in not_run],
    }
    if changed := _git("status", "--porcelain", "--", *MEASURED):
        result["uncommitted"] = [line[2:].strip() for line in changed.splitlines()]
    table = markdown(name, result)
    print(table)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
        (folder / f"{name}.md").write_text(table)
    print(json.dumps(result, ensure_ascii=False))
    return result


def markdown(name: str, result: Mapping[str, Any]) -> str:
    """The result as a page: where and how it was measured, bars, figures, what was not run."""
    lines = [f"# {name}", ""]
    lines += [f"- {key}: {_cell(result[key])}" for key in ("commit", "date", "command")]
    lines += ["- machine: " + ", ".join(f"{key} {_cell(value)}" for key, value in result["machine"].items()), ""]
    if result.get("uncommitted"):
        lines += ["Measured with uncommitted changes: " + ", ".join(result["uncommitted"]), ""]
    for title in ("bars", "not_run"):
        if result[title]:
            lines += [f"## {title.replace('_', ' ').capitalize()}", "", *_table(result[title]), ""]
    scalars = {key: value for key, value in result["figures"].items() if not isinstance(value, (list, dict))}
    if scalars:
        lines += ["## Figures", "", *_table([{"figure": key, "value": value} for key, value in scalars.items()]), ""]
    for key, value in result["figures"].items():
        if key not in scalars:
            lines += [f"## {key}", "", *_table(value if isinstance(value, list) else [value]), ""]
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    """The machine in a few words: processor, cores, memory, system, Python and torch."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    facts: dict[str, Any] = {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }
    try:
        facts["torch"] = metadata.version("torch")
    except metadata.PackageNotFoundError:
        facts["torch"] = "absent"
    return facts


def command() -> str:
    """The command line as it would be typed in the repository."""
    script = Path(sys.argv[0]).resolve()
    shown = script.relative_to(ROOT) if script.is_relative_to(ROOT) else Path(script.name)
    return " ".join(["python", shown.as_posix(), *sys.argv[1:]])


def commit() -> str:
    """The commit that is measured, in short."""
    return _git("rev-parse", "--short=12", "HEAD")


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.rstrip()


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    return lines + ["| " + " | ".join(_cell(row.get(column, "")) for column in columns) + " |" for row in rows]


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value).replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(_stand_between(sys.argv[1:]))
