"""Make `.venv/` and install Cornue in it, with a build of torch that suits the machine.

Runs with any Python from 3.11 on, standard library only:  python3 scripts/install.py [FOLDER]

Where there is no NVIDIA GPU, torch's GPU build (several GB) is never fetched: pip is first asked what it would fetch,
and what it names is looked at. It does not install drivers, compilers or models, and it changes nothing outside its
folder but pip's cache.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "constraints.txt"
EXTRAS = "train,privacy,dev"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
GPU_PARTS = re.compile(r"^(nvidia|cuda|triton|pytorch-triton)\b")
LARGEST_CPU_WHEEL = 500_000_000
# Older versions fetch whole wheels even in a dry run.
FIRST_PIP_WITH_A_DRY_DRY_RUN = (25, 3)

started = time.monotonic()


class Stop(Exception):
    """The installation cannot go on; the message says why and what to do."""


def say(text: str) -> None:
    """One line of progress on stderr, with the seconds so far."""
    print(f"[{time.monotonic() - started:4.0f} s] {text}", file=sys.stderr, flush=True)


def main(arguments: list[str]) -> int:
    """Install into the folder named first, `.venv` otherwise; 0 when all is in place, 2 or 4 otherwise."""
    folder = Path(arguments[0] if arguments else ROOT / ".venv").resolve()
    try:
        if sys.version_info < (3, 11):  # noqa: UP036
            raise Stop(
                f"Python {sys.version.split()[0]} is too old: run this with Python 3.11 or newer (make PYTHON=…)."
            )
        pins = read_pins(CONSTRAINTS)
        python = make_environment(folder, pins["pip"])
        install_torch(python, pins["torch"])
        say(f"Installing Cornue with {EXTRAS.replace(',', ', ')} and everything they need.")
        pip(python, "install", "-qq", "-c", str(CONSTRAINTS), "-e", f"{ROOT}[{EXTRAS}]")
    except Stop as reason:
        print(f"install: {reason}", file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as error:
        command = " ".join(str(part) for part in error.cmd[1:6])
        print(f"install: pip failed ({command} …). What it said stands above; run the same again.", file=sys.stderr)
        return 4
    say(f"Installed in {folder}.")
    return 0


def read_pins(path: Path) -> dict[str, str]:
    """Versions by package name from a constraints file."""
    lines = (line.split("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return dict(line.split("==", 1) for line in lines if "==" in line)


def make_environment(folder: Path, pip_version: str) -> Path:
    """A virtual environment with the pinned pip; returns its interpreter.

    Raises:
        Stop: pip in the environment is too old to be asked without fetching.
    """
    python = folder / "bin" / "python"
    if not python.exists():
        say(f"Making a virtual environment in {folder}.")
        # Some systems split ensurepip off, so pip is brought in from outside instead.
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    if pip_of(python) < FIRST_PIP_WITH_A_DRY_DRY_RUN:
        command = [sys.executable, "-m", "pip", "--python", str(python), "install", "-qq", f"pip=={pip_version}"]
        subprocess.run(command, check=True, env=quiet_environment())
    if pip_of(python) < FIRST_PIP_WITH_A_DRY_DRY_RUN:
        raise Stop(f"pip in {folder} is too old to say what it would fetch. Remove the folder and run this again.")
    return python


def pip_of(python: Path) -> tuple[int, ...]:
    """pip's version in an environment; empty when it has none."""
    question = "import importlib.metadata as m; print(m.version('pip'))"
    answer = subprocess.run([str(python), "-c", question], capture_output=True, text=True, check=False)
    return tuple(int(part) for part in re.findall(r"\d+", answer.stdout)[:2]) if answer.returncode == 0 else ()


def install_torch(python: Path, version: str) -> None:
    """torch in the pinned version: the default build with a GPU, a CPU build without one.

    Raises:
        Stop: there is no GPU and no index offers a CPU build.
    """
    question = "import importlib.metadata as m; print(m.version('torch'))"
    present = subprocess.run([str(python), "-c", question], capture_output=True, text=True, check=False).stdout.strip()
    if present.split("+")[0] == version:
        say(f"torch {present} is already there.")
        return
    wanted = f"torch=={version}"
    if has_gpu():
        say(f"There is an NVIDIA GPU: installing {wanted} with GPU support.")
        pip(python, "install", "-qq", "-c", str(CONSTRAINTS), wanted)
        return
    # The CPU index holds torch itself; what torch needs then comes from the default one.
    sources = {
        "the default index": ["-c", str(CONSTRAINTS)],
        "PyTorch's CPU index": ["--no-deps", "--index-url", CPU_INDEX],
    }
    for name, options in sources.items():
        say(f"There is no NVIDIA GPU: asking {name} what {wanted} would fetch.")
        why_not = not_for_cpu(python, [wanted, *options])
        if why_not:
            say(f"Not taken from {name}: {why_not}.")
            continue
        say(f"Installing the CPU build of {wanted} from {name}.")
        pip(python, "install", "-qq", wanted, *options)
        return
    raise Stop(
        f"no CPU build of {wanted} can be had, and the GPU build (several GB) is of no use here. "
        f"Put its wheel into a folder and run `PIP_FIND_LINKS=FOLDER make install`."
    )


def has_gpu() -> bool:
    """Whether an NVIDIA GPU and its driver are at work on this machine."""
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    except OSError:
        return False
    return listed.returncode == 0 and "GPU " in listed.stdout


def not_for_cpu(python: Path, arguments: list[str]) -> str:
    """Why what pip would fetch is not a CPU build; empty when it is one. Nothing but metadata is fetched."""
    asked = [str(python), "-m", "pip", "install", "-qq", "--dry-run", "--report", "-", *arguments]
    answer = subprocess.run(asked, capture_output=True, text=True, check=False, env=quiet_environment())
    if answer.returncode:
        return (answer.stderr.strip().splitlines() or ["pip gave no reason"])[-1].removeprefix("ERROR: ")
    return gpu_part(json.loads(answer.stdout))


def gpu_part(report: dict[str, Any]) -> str:
    """The first thing in pip's report that only a GPU needs, or that is too large; empty when there is none."""
    for item in report.get("install", []):
        name = item["metadata"]["name"].lower().replace("_", "-")
        if GPU_PARTS.match(name):
            return f"it would bring {name}"
        for needed in item["metadata"].get("requires_dist", []):
            # A dry run without dependencies shows them here alone.
            if GPU_PARTS.match(needed.lower()) and "extra ==" not in needed and not elsewhere(needed):
                return f"{name} needs {needed.split(';')[0].strip()}"
        size = size_of(item["download_info"]["url"])
        if size > LARGEST_CPU_WHEEL:
            return f"{name} alone is {size / 1e6:,.0f} MB"
    return ""


def elsewhere(requirement: str) -> bool:
    """Whether a requirement's marker says that it is for another platform than this one."""
    named = re.findall(r"(?:platform_system|sys_platform) == ['\"](\w+)['\"]", requirement)
    return bool(named) and sys.platform not in {name.lower() for name in named}


def size_of(url: str) -> int:
    """Bytes of a file that pip names by URL; 0 when its server does not tell."""
    if urlsplit(url).scheme == "file":
        path = Path(unquote(urlsplit(url).path))
        return path.stat().st_size if path.exists() else 0
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=30) as reply:
            return int(reply.headers.get("Content-Length") or 0)
    except (OSError, urllib.error.URLError, ValueError):
        return 0


def pip(python: Path, *arguments: str) -> None:
    """Run the environment's pip; its errors go through. Python compiles what it imports, so pip need not."""
    subprocess.run([str(python), "-m", "pip", *arguments, "--no-compile"], check=True, env=quiet_environment())


def quiet_environment() -> dict[str, str]:
    """The environment for pip: no word about newer versions of itself, no questions."""
    return {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
