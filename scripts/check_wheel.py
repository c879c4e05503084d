"""Build the wheel, install it alone in an empty environment, and use it as a stranger would.

    python scripts/check_wheel.py

Only the light dependencies come along, so what needs torch by mistake fails here. It checks that every light module can
be imported, that neither torch nor transformers is loaded, and that `cornue --help` answers in 0.3 s. It needs pip to
reach an index or its cache, and hatchling in the environment that runs it.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("torch", "transformers")
HEAVY_ROOMS = ("models", "train", "evaluate", "doctor")
HEAVY_FILES = ("cornue.capture.sparse", "cornue.capture.teacher_transformers")
HELP_SECONDS = 0.3
HELP_TRIES = 7

PROBE = """
import importlib, json, pkgutil, sys
import cornue
names = [m.name for m in pkgutil.walk_packages(cornue.__path__, "cornue.") if not m.name.startswith(HEAVY)]
names = [name for name in names if not name.endswith("__main__")]
failed = {}
for name in names:
    try:
        importlib.import_module(name)
    except ImportError as error:
        failed[name] = str(error)
loaded = [name for name in WEIGHTS if name in sys.modules]
print(json.dumps({"modules": len(names), "failed": failed, "loaded": loaded}))
"""


def main() -> int:
    """0 when the wheel works alone, 1 with a line for each thing that does not."""
    problems: list[str] = []
    with tempfile.TemporaryDirectory(prefix="cornue-wheel-") as scratch:
        folder = Path(scratch)
        run(
            [sys.executable, "-m", "pip", "wheel", "-qq", "--no-deps", "--no-build-isolation", "-w", scratch, str(ROOT)]
        )
        wheel = next(folder.glob("cornue-*.whl"))
        print(f"{wheel.name}: {wheel.stat().st_size / 1e3:,.0f} kB")
        run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")])
        python = folder / "venv" / "bin" / "python"
        pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-qq"]
        run([*pip, "-c", str(ROOT / "constraints.txt"), str(wheel)])
        problems += imports(python, folder)
        problems += seconds_of_help(python, folder)
    for problem in problems:
        print(f"wheel: {problem}", file=sys.stderr)
    return 1 if problems else 0


def imports(python: Path, folder: Path) -> list[str]:
    """Import every light module in the environment; what went wrong."""
    heavy = tuple(f"cornue.{room}" for room in HEAVY_ROOMS) + HEAVY_FILES
    probe = PROBE.replace("HEAVY", repr(heavy)).replace("WEIGHTS", repr(HEAVY))
    seen = json.loads(run([str(python), "-c", probe], folder))
    print(f"{seen['modules']} light modules imported")
    wrong = [f"{name} cannot be imported alone: {why}" for name, why in seen["failed"].items()]
    return wrong + [f"{name} was loaded by a light module" for name in seen["loaded"]]


def seconds_of_help(python: Path, folder: Path) -> list[str]:
    """Time `cornue --help`, best of a few; what went wrong. Processor time decides, as load does not stretch it."""
    command = str(python.with_name("cornue"))
    wall, processor = [], []
    for _ in range(HELP_TRIES):
        start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        run([command, "--help"], folder)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        wall.append(time.perf_counter() - start)
        processor.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    print(f"cornue --help: {min(wall):.2f} s, {min(processor):.2f} s of a processor")
    slow = min(processor) > HELP_SECONDS
    return [f"cornue --help takes {min(processor):.2f} s, more than {HELP_SECONDS}"] if slow else []


def run(command: list[str], folder: Path = ROOT) -> str:
    """stdout of a command that must succeed; its stderr goes through."""
    done = subprocess.run(command, cwd=folder, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"wheel: {' '.join(command[:4])} … ended with {done.returncode}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
