"""A service in a process of its own, brought back when it dies as a service manager would, and clients for it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from cornue.models.engine import cpu_seconds_of
from cornue.records.digests import digest_file

ROOT = Path(__file__).resolve().parents[2]
NODE_MODULES = ROOT / ".cache" / "node" / "node_modules"
HOST = Path(__file__).with_name("host.py")


class Service:
    """A running service.

    Args:
        data: its folder; it outlives restarts.
        options: what ``host.py`` takes.
    """

    def __init__(self, data: Path, **options: Any) -> None:
        self.data, self.port = data, free_port()
        if options.get("gguf") and Path(options["gguf"]).is_file():
            options["sha256"] = digest_file(options["gguf"])
        self.url = f"http://127.0.0.1:{self.port}"
        self._arguments = [
            f"--{name.replace('_', '-')}={value}" for name, value in options.items() if value is not None
        ]
        self._stop = threading.Event()
        self.process: subprocess.Popen[bytes] | None = None
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()

    def _keep(self) -> None:
        while not self._stop.is_set():
            environment = {
                **os.environ,
                "PYTHONPATH": os.pathsep.join(str(ROOT / name) for name in ("src", "prove", "bench")),
            }
            command = [sys.executable, str(HOST), f"--port={self.port}", f"--data={self.data}", *self._arguments]
            self.process = subprocess.Popen(command, env=environment, cwd=ROOT)
            self.process.wait()
            time.sleep(0.1)

    def wait(self, seconds: float = 60.0) -> float:
        """Seconds until it says that it is well."""
        begin = time.monotonic()
        with httpx.Client(base_url=self.url, timeout=1.0, trust_env=False, verify=False) as client:
            while time.monotonic() - begin < seconds:
                try:
                    if client.get("/health").status_code == 200:
                        return time.monotonic() - begin
                except httpx.HTTPError:
                    pass
                time.sleep(0.02)
        raise RuntimeError(f"the service did not come back within {seconds} s")

    def kill(self) -> None:
        """As hard as it goes."""
        if self.process:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def engine_pids(self) -> list[int]:
        """The engine's processes: children of the service."""
        return children_of(self.process.pid) if self.process else []

    def resident(self) -> int:
        """Bytes of memory of the gateway alone."""
        assert self.process is not None
        return resident_of(self.process.pid)

    def cpu_seconds(self) -> float:
        """Processor time of the gateway alone."""
        assert self.process is not None
        return cpu_seconds_of(self.process.pid)

    def close(self) -> None:
        """Ends it for good."""
        self._stop.set()
        if self.process:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self._keeper.join(5)


@contextmanager
def service(data: Path, **options: Any) -> Iterator[Service]:
    """A service that is well, until the block ends."""
    running = Service(data, **options)
    try:
        running.wait(120)
        yield running
    finally:
        running.close()


def children_of(pid: int) -> list[int]:
    """Processes that a process started."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def resident_of(pid: int) -> int:
    """Bytes of memory that a process holds."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) * 1024


def javascript(package: str) -> Path:
    """Folder of an npm package.

    Raises:
        SystemExit: it is not installed.
    """
    folder = NODE_MODULES / package
    if not folder.is_dir():
        raise SystemExit(f"npm install --prefix .cache/node {package}")
    return folder


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def chat(text: str, **fields: Any) -> dict[str, Any]:
    """The body of a request."""
    return {"model": "proof", "messages": [{"role": "user", "content": text}], **fields}


def receipts_of(data: Path) -> dict[str, int]:
    """How many receipts each admitted request of a stopped service has, and how many it left open."""
    from cornue.serve.store import SqliteStore

    store = SqliteStore(data / "serve.sqlite")
    found = {"admitted": 0, "open": 0}
    for identity, place, receipt in store.rows("SELECT id, place, receipt FROM answers"):
        found["admitted"] += 1
        if place is None:
            found["open"] += 1
        else:
            state = json.loads(receipt)["state"]
            assert json.loads(receipt)["id"] == identity
            found[state] = found.get(state, 0) + 1
    store.close()
    return found
