"""What the gateway costs: the engine asked directly and through the gateway, in alternation, with one core each.

The engine is pinned to one core, the gateway and the load generator to the rest; the generator's own processor time is
reported. It measures one stream at a time and a few at once, and how much later a first token comes where the engine
has next to nothing to read, so that its own pace does not hide the gateway's; overload is a matter of
``prove/serve.py``.

    python bench/serve.py --gguf MODEL.gguf
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import uvicorn

import results
from cornue.models.engine import Engine, cpu_seconds_of
from cornue.serve.app import create_app
from cornue.serve.settings import Offer, Settings
from cornue.serve.upstream import OwnEngine

TOKENS = 96
SLOTS = 4
FIRSTS = 100
WORD = "Once"
QUESTION = "Explain in a few sentences how a retort is used to distil a liquid."


def main() -> int:
    """Measure and write the result; exits with 1 if a bar does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--gguf", type=Path, default=start_model())
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--trial", action="store_true", help="print the figures, write no result")
    parser.add_argument("--host", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.gguf is None:
        sys.exit("name a small GGUF file with --gguf")
    if options.host:
        host(options.gguf, options.host)
        return 0
    with tempfile.TemporaryDirectory() as where:
        figures, bars = measure(options.gguf, options.pairs, Path(where))
    outcome = results.write("bench-serve", figures, bars, folder=None if options.trial else results.RESULTS)
    return 0 if all(item["holds"] for item in outcome["bars"]) else 1


def measure(gguf: Path, pairs: int, work: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Figures and bars."""
    cores = sorted(os.sched_getaffinity(0))
    with running(gguf, work) as served:
        _pin(cores[1:] or cores)
        direct = Asker(
            served["address"], {"Authorization": f"Bearer {served['key']}"}, "engine", {"cache_prompt": False}
        )
        through = Asker(f"http://127.0.0.1:{served['port']}", {}, "proof", {})
        begin, wall = time.process_time() + cpu_seconds_of(served["pid"]), time.perf_counter()
        alone = results.alternate(partial(through.timed, 1), partial(direct.timed, 1), pairs)
        several = results.alternate(partial(through.timed, SLOTS), partial(direct.timed, SLOTS), pairs)
        spent = time.process_time() + cpu_seconds_of(served["pid"]) - begin
        load = spent / (time.perf_counter() - wall)
        firsts = results.in_turn(through.first, direct.first, FIRSTS)
    differences = [1000 * (behind - before) for behind, before in zip(*firsts, strict=True)]
    low, high = results.median_interval(differences)
    added = statistics.median(differences)
    figures = {
        "engine pinned to one core": served["pinned"],
        "tokens an answer": TOKENS,
        "one at a time": alone,
        f"{SLOTS} at a time": several,
        "tokens/s through the gateway, one at a time": TOKENS / alone.a_seconds,
        "tokens/s directly, one at a time": TOKENS / alone.b_seconds,
        "ms to the first token, directly": statistics.median(firsts[1]) * 1000,
        "ms added to the first token": added,
        "ms added to the first token, low": low,
        "ms added to the first token, high": high,
        "gateway and load generator together, cores": load,
    }
    bars = [
        results.bar("share of the engine's tokens/s, one at a time", alone.median, 0.95),
        results.bar(f"share of the engine's tokens/s, {SLOTS} at a time", several.median, 0.95),
        results.bar("ms added to the first token", added, 10, at_most=True),
    ]
    return figures, bars


class Asker:
    """Asks one address for answers of a fixed length."""

    def __init__(self, url: str, headers: dict[str, str], model: str, extra: dict[str, Any]) -> None:
        self.url, self.headers, self.model, self.extra = url, headers, model, extra

    def timed(self, count: int) -> float:
        """Seconds for some answers at once."""
        messages = [[{"role": "user", "content": f"{QUESTION} ({number})"}] for number in range(count)]
        asked = [("/v1/chat/completions", {"messages": turns, "max_tokens": TOKENS}) for turns in messages]
        return asyncio.run(self._answers(asked))[0]

    def first(self) -> float:
        """Seconds to the first token that follows a single word."""
        return asyncio.run(self._answers([("/v1/completions", {"prompt": WORD, "max_tokens": 2})]))[1]

    async def _answers(self, asked: Sequence[tuple[str, dict[str, Any]]]) -> tuple[float, float]:
        async with httpx.AsyncClient(base_url=self.url, headers=self.headers, timeout=300, trust_env=False) as client:
            # A connection that is open already is what a browser has, too.
            await client.get("/v1/models")
            begin = time.perf_counter()
            firsts = await asyncio.gather(*(self._one(client, route, body) for route, body in asked))
            return time.perf_counter() - begin, firsts[0] - begin

    async def _one(self, client: httpx.AsyncClient, route: str, body: dict[str, Any]) -> float:
        first = 0.0
        whole = {"model": self.model, "temperature": 0, "stream": True, **body, **self.extra}
        async with client.stream("POST", route, json=whole) as answer:
            answer.raise_for_status()
            async for line in answer.aiter_lines():
                if not first and line.startswith("data: {") and _has_text(line):
                    first = time.perf_counter()
        return first


def _has_text(line: str) -> bool:
    choice = (json.loads(line[6:]).get("choices") or [{}])[0]
    return bool(choice.get("delta", {}).get("content") or choice.get("text"))


@contextmanager
def running(gguf: Path, work: Path) -> Iterator[dict[str, Any]]:
    """The gateway in a process of its own, as in life; gives its port, its process and the engine's address and key."""
    command = [sys.executable, __file__, "--gguf", str(gguf), "--host", str(work)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline()) | {"pid": process.pid}
        finally:
            process.terminate()


def host(gguf: Path, work: Path) -> None:
    """Serves until it is told to stop, the engine pinned to the first core and all else to the others."""
    cores = sorted(os.sched_getaffinity(0))
    settings = Settings(data=work / "data", slots=SLOTS, context=512, max_tokens=256, requests_per_minute=0)
    upstream = OwnEngine(Engine(gguf, slots=SLOTS, context=512, threads=1))
    server = uvicorn.Server(
        uvicorn.Config(create_app(Offer("proof"), settings, upstream), port=0, log_level="error", access_log=False)
    )

    def tell() -> None:
        while not server.started:
            time.sleep(0.05)
        pinned = _pin(cores[1:] or cores)
        address, key = upstream.engine.door
        port = server.servers[0].sockets[0].getsockname()[1]
        print(json.dumps({"pinned": pinned, "address": address, "key": key, "port": port}), flush=True)

    # The child inherits the affinity with which it is started.
    _pin(cores[:1])
    threading.Thread(target=tell, daemon=True).start()
    server.run()


def _pin(cores: list[int]) -> bool:
    """Every thread of this process on some cores; False where the system does not allow it."""
    try:
        for entry in Path("/proc/self/task").iterdir():
            os.sched_setaffinity(int(entry.name), cores)
    except OSError:
        return False
    return True


def start_model() -> Path | None:
    """A small GGUF file that lies in the repository's folder of models."""
    found = sorted((results.ROOT / ".cache" / "models").rglob("*.gguf"), key=lambda path: path.stat().st_size)
    return found[0] if found else None


if __name__ == "__main__":
    sys.exit(main())
