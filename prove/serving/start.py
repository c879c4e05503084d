"""From a cold start to the first answer, by the command that people type, and the memory that the gateway takes.

The model's file is first dropped from the system's cache. A pack is served where there is one, else the GGUF file.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

import results
from cornue.records.digests import digest_file
from serving.world import children_of, free_port, resident_of

QUESTION = "Combien de communes ont plus de 10 000 habitants ?"
ANSWERS = 20
MAIN = "from cornue.cli import main; main()"


def prove(work: Path, gguf: Path, pack: Path | None) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Figures and bars."""
    settings = work / "start.toml"
    settings.write_text("" if pack else f'sha256 = "{digest_file(gguf)}"\n')
    target = pack or gguf
    for file in target.rglob("*") if pack else [gguf]:
        if file.is_file():
            forget(file)
    port = free_port()
    command = [sys.executable, "-c", MAIN, "serve", str(target), f"--port={port}"]
    command += [f"--data={work / 'start'}", f"--settings={settings}"]
    environment = {**os.environ, "PYTHONPATH": str(results.ROOT / "src"), "CORNUE_KEYS": str(work / "no-keys")}
    begin = time.monotonic()
    process = subprocess.Popen(command, env=environment)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=300, trust_env=False) as client:
            answer = first_answer(client, process)
            first = time.monotonic() - begin
            for _ in range(ANSWERS):
                ask(client)
            gateway = resident_of(process.pid) / 1e6
            engine = sum(resident_of(pid) for pid in children_of(process.pid)) / 1e6
    finally:
        process.terminate()
        process.wait(20)
    message = answer["choices"][0]["message"]
    figures = {"served": "a pack" if pack else "a GGUF file", "seconds to the first answer": first}
    figures |= {"gateway, MB": gateway, "engine, MB": engine, "answers before memory was read": ANSWERS + 1}
    figures |= {"rows from the register": len(message.get("register", {}).get("rows", ()))}
    bars = [
        results.bar("seconds from a cold start to the first answer", first, 60, at_most=True),
        results.bar("MB of the gateway over the engine", gateway, 150, at_most=True),
    ]
    return figures, bars


def forget(file: Path) -> None:
    """Drops a file from the system's cache."""
    handle = os.open(file, os.O_RDONLY)
    try:
        os.fsync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(handle)


def first_answer(client: httpx.Client, process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Asks until there is an answer."""
    while process.poll() is None:
        try:
            return ask(client)
        except httpx.ConnectError:
            time.sleep(0.05)
    raise SystemExit(f"the service ended with {process.returncode}")


def ask(client: httpx.Client) -> dict[str, Any]:
    """One answer to the question."""
    model = client.get("/v1/models").json()["data"][0]["id"]
    body = {"model": model, "messages": [{"role": "user", "content": QUESTION}], "temperature": 0, "max_tokens": 120}
    answer = client.post("/v1/chat/completions", json=body)
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found
