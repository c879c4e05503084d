"""A second key guesses the first key's prompt: no count and no time may tell whether a guess is right."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import httpx

import results
from cornue.serve.keys import Keys
from cornue.serve.store import SqliteStore
from serving.world import chat, service

SECRET = "The patient Marguerite Lefebvre has been told of her diagnosis on the ninth of March and has asked for time."


def prove(work: Path, gguf: Path, guesses: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Figures and bars."""
    data = work / "guesses"
    data.mkdir(parents=True, exist_ok=True)
    store = SqliteStore(data / "serve.sqlite")
    victim, attacker = (Keys(store).create(name)[1] for name in ("victim", "attacker"))
    store.close()
    times: dict[bool, list[float]] = {True: [], False: []}
    counts: dict[bool, set[str]] = {True: set(), False: set()}
    order = [bool(number % 2) for number in range(guesses)]
    random.Random(0).shuffle(order)
    with (
        service(data, gguf=gguf, slots=2, threads=1, keys_only=1) as running,
        httpx.Client(base_url=running.url, timeout=60, trust_env=False) as client,
    ):
        for place, right in enumerate(order):
            if place % 10 == 0:
                _ask(client, victim, SECRET)
            # Equal length in tokens, so that only the cache could tell the two apart.
            words = SECRET.split(" ")
            guess = SECRET if right else " ".join(random.Random(place).sample(words, len(words)))
            begin = time.perf_counter()
            usage = _ask(client, attacker, guess)
            times[right].append(time.perf_counter() - begin)
            usage = {name: value for name, value in usage.items() if name.endswith("_tokens")}
            usage.pop("prompt_tokens")
            usage.pop("total_tokens")
            counts[right].add(str(sorted(usage.items())))
    area = auc(times[True], times[False])
    figures = {"guesses": guesses, "latency AUC": area, "different counts": len(counts[True] ^ counts[False])}
    bars = [
        results.bar("count fields that differ between right and wrong guesses", figures["different counts"], 0, True),
        results.bar("AUC of the latency, either way", max(area, 1 - area), 0.55, at_most=True),
    ]
    return figures, bars


def auc(right: list[float], wrong: list[float]) -> float:
    """Chance that a right guess is slower than a wrong one (Mann and Whitney); ties count half."""
    ranked = sorted([(value, True) for value in right] + [(value, False) for value in wrong])
    below, total = 0, 0.0
    for _, is_right in ranked:
        if is_right:
            total += below
        else:
            below += 1
    return total / (len(right) * len(wrong))


def _ask(client: httpx.Client, key: str, text: str) -> dict[str, Any]:
    answer = client.post(
        "/v1/chat/completions", json=chat(text, max_tokens=1, temperature=0), headers={"Authorization": f"Bearer {key}"}
    )
    answer.raise_for_status()
    usage: dict[str, Any] = answer.json()["usage"]
    return usage
