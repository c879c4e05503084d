"""The tests of the database against a real PostgreSQL server, made for the occasion and thrown away."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import results
from serving.world import free_port

TESTS = "tests/serve/test_store.py"


def prove(work: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Figures and bars."""
    with server() as (url, version):
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "--no-header", TESTS],
            env={**os.environ, "CORNUE_TEST_POSTGRES": url},
            cwd=results.ROOT,
            capture_output=True,
            text=True,
        )
    if done.returncode:
        print(done.stdout[-3000:])
    counted = {name: int(number) for number, name in re.findall(r"(\d+) (passed|failed|skipped|error)", done.stdout)}
    figures: dict[str, Any] = {
        "server": version,
        "passed": counted.get("passed", 0),
        "skipped": counted.get("skipped", 0),
    }
    bars = [
        results.bar("exit code of the database's tests with PostgreSQL", done.returncode, 0, at_most=True),
        results.bar("tests skipped", figures["skipped"], 0, at_most=True),
    ]
    return figures, bars


@contextmanager
def server() -> Iterator[tuple[str, str]]:
    """Address and version of a server that lives until the block ends."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    found = shutil.which("initdb") or (str(folders[-1] / "initdb") if folders else None)
    if found is None:
        raise SystemExit("this proof needs PostgreSQL's server (initdb, pg_ctl)")
    binaries = Path(found).resolve().parent
    # PostgreSQL refuses to run as root.
    user = {"user": "postgres"} if os.getuid() == 0 else {}
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="cornue-pg-") as where:
        if user:
            shutil.chown(where, "postgres")
        control: list[str] = [str(binaries / "pg_ctl"), "-D", f"{where}/data", "-l", f"{where}/log", "-w"]
        quiet: dict[str, Any] = {"check": True, "cwd": where, "stdout": subprocess.DEVNULL, **user}
        subprocess.run([str(binaries / "initdb"), "-A", "trust", "-U", "postgres", "-D", f"{where}/data"], **quiet)
        subprocess.run([*control, "-o", f"-p {port} -k {where} -c listen_addresses=127.0.0.1", "start"], **quiet)
        version = subprocess.run([str(binaries / "postgres"), "--version"], capture_output=True, text=True).stdout
        try:
            yield f"postgresql://postgres@127.0.0.1:{port}/postgres", version.strip()
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], **quiet)
