"""``kill -9`` of engine and gateway under load: back within five seconds, and exactly one receipt for each request."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any

import httpx

import results
from cornue.seal.keys import read_key
from cornue.serve.receipts import Receipts, check_export
from cornue.serve.store import SqliteStore
from serving.world import Service, chat, receipts_of, service

CLIENTS = 6


def prove(work: Path, served: Path, times: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Figures and bars."""
    data = work / "kills"
    stop = threading.Event()
    seen = {"answers": 0, "errors": 0}
    engine_back: list[float] = []
    gateway_back: list[float] = []
    with service(data, gguf=served, slots=2, threads=1) as running:
        clients = [threading.Thread(target=_ask, args=(running, stop, seen), daemon=True) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        for turn in range(times * 2):
            time.sleep(random.uniform(0.5, 2.0))
            if turn % 2:
                running.kill()
                gateway_back.append(running.wait())
            else:
                for pid in running.engine_pids():
                    os.kill(pid, signal.SIGKILL)
                time.sleep(0.25)
                engine_back.append(0.25 + running.wait())
        stop.set()
        for client in clients:
            client.join(60)
    found = receipts_of(data)
    store = SqliteStore(data / "serve.sqlite")
    receipts = Receipts(store, read_key(data / "serving.pem"))
    problems = check_export(receipts.export(), receipts.key.public)
    figures: dict[str, Any] = {f"receipts {name}": count for name, count in found.items()}
    figures |= {"served": "a pack" if served.is_dir() else "a GGUF file"}
    figures |= {"engine killed": len(engine_back), "gateway killed": len(gateway_back), **seen}
    for name, seconds in (("engine", engine_back), ("gateway", gateway_back)):
        figures |= {f"{name} back, s, median": median(seconds), f"{name} back, s, slowest": max(seconds)}
    bars = [
        results.bar("engine back after kill -9, slowest, s", max(engine_back), 5, at_most=True),
        results.bar("gateway back after kill -9, slowest, s", max(gateway_back), 5, at_most=True),
        results.bar("admitted requests without a receipt after restart", found["open"], 0, at_most=True),
        results.bar("findings of the offline check of all receipts", len(problems), 0, at_most=True),
        results.bar(
            "answers seen without a completed receipt", max(0, seen["answers"] - found.get("completed", 0)), 0, True
        ),
    ]
    return figures, bars


def _ask(running: Service, stop: threading.Event, seen: dict[str, int]) -> None:
    number = 0
    with httpx.Client(base_url=running.url, timeout=60, trust_env=False, verify=False) as client:
        while not stop.is_set():
            number += 1
            body = chat(f"Tell me about the number {number}.", max_tokens=24, stream=bool(number % 2))
            try:
                answer = client.post("/v1/chat/completions", json=body)
            except httpx.HTTPError:
                seen["errors"] += 1
                time.sleep(0.5)
                continue
            whole = answer.status_code == 200 and ("[DONE]" in answer.text or not body["stream"])
            seen["answers" if whole else "errors"] += 1
            if answer.status_code in (429, 503):
                time.sleep(float(answer.headers.get("retry-after", 1)))
