"""Ten times more requests than can be served, from 200 clients with a key each: nobody hangs, all are served alike."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

import results
from cornue.serve.keys import Keys
from cornue.serve.store import SqliteStore
from serving.world import chat, receipts_of, service

CLIENTS, SLOTS, WORDS, PAUSE = 200, 4, 10, 0.02
LONGEST = 150.0


def prove(work: Path, minutes: float) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Figures and bars."""
    data = work / "overload"
    store = SqliteStore(_made(data) / "serve.sqlite")
    keys = [Keys(store).create(f"client {number}")[1] for number in range(CLIENTS)]
    store.close()
    with service(data, slots=SLOTS, pause=PAUSE, waiting=40, keys_only=1) as running:
        figures = asyncio.run(_load(running, keys, minutes * 60))
    found = receipts_of(data)
    figures |= {f"receipts {name}": count for name, count in found.items()}
    bars = [
        results.bar("requests that hung", figures["hung"], 0, at_most=True),
        results.bar("answers other than 200, 429 and 503", figures["strange answers"], 0, at_most=True),
        results.bar("refusals without Retry-After", figures["refusals without Retry-After"], 0, at_most=True),
        results.bar("Jain fairness over keys", figures["jain"], 0.95),
        results.bar("growth of memory, share", figures["memory growth"], 0.05, at_most=True),
        results.bar("admitted requests without a receipt", found["open"], 0, at_most=True),
        results.bar(
            "completed receipts minus answers seen", abs(found.get("completed", 0) - figures["served"]), 0, True
        ),
    ]
    return figures, bars


async def _load(running: Any, keys: list[str], seconds: float) -> dict[str, Any]:
    served: Counter[str] = Counter()
    codes: Counter[int] = Counter()
    waits: list[float] = []
    memory: list[int] = []
    problems = {"hung": 0, "no retry": 0}
    end = time.monotonic() + seconds
    limits = httpx.Limits(max_connections=CLIENTS, max_keepalive_connections=CLIENTS)

    async def one(key: str, client: httpx.AsyncClient) -> None:
        while time.monotonic() < end:
            begin = time.monotonic()
            try:
                answer = await client.post(
                    "/v1/chat/completions", json=chat("go"), headers={"Authorization": f"Bearer {key}"}
                )
            except httpx.TimeoutException:
                problems["hung"] += 1
                continue
            codes[answer.status_code] += 1
            if answer.status_code == 200:
                served[key] += 1
                waits.append(time.monotonic() - begin)
            elif answer.status_code in (429, 503):
                problems["no retry"] += "retry-after" not in answer.headers
                await asyncio.sleep(float(answer.headers.get("retry-after", 1)))

    async def watch() -> None:
        while time.monotonic() < end:
            await asyncio.sleep(seconds / 40)
            memory.append(running.resident())

    async with httpx.AsyncClient(base_url=running.url, timeout=LONGEST, limits=limits, trust_env=False) as client:
        begin_cpu = time.process_time()
        await asyncio.gather(watch(), *(one(key, client) for key in keys))
        cpu = (time.process_time() - begin_cpu) / seconds
    counts = [served[key] for key in keys]
    warm = statistics.median(memory[len(memory) // 4 : len(memory) // 2])
    late = statistics.median(memory[-len(memory) // 4 :])
    capacity = SLOTS / (WORDS * PAUSE)
    return {
        "clients": len(keys),
        "minutes": seconds / 60,
        "capacity, answers/s": capacity,
        "clients that could be served without waiting": SLOTS,
        "served": sum(counts),
        "served/s": sum(counts) / seconds,
        "least and most served key": f"{min(counts)} and {max(counts)}",
        "jain": sum(counts) ** 2 / (len(counts) * sum(n**2 for n in counts)),
        "seconds to an answer, median": statistics.median(waits),
        "seconds to an answer, 99 %": sorted(waits)[int(len(waits) * 0.99)],
        "refused": codes[429] + codes[503],
        "strange answers": sum(n for code, n in codes.items() if code not in (200, 429, 503)),
        "hung": problems["hung"],
        "refusals without Retry-After": problems["no retry"],
        "memory, MB": late / 1e6,
        "memory growth": late / warm - 1,
        "load generator, cores": cpu,
    }


def _made(data: Path) -> Path:
    data.mkdir(parents=True, exist_ok=True)
    return data
