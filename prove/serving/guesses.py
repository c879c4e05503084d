"""A second key guesses the first key's prompt: no count and no time may tell whether a guess is right."""

from __future__ import annotations

import json
import math
import random
import statistics
import time
from pathlib import Path
from typing import Any

import httpx

import results
from cornue.serve.keys import Keys
from cornue.serve.store import SqliteStore
from serving.world import chat, service

KINDS = ((True, "right"), (False, "wrong"))
Seen = tuple[bool, float, str]
"""Whether a guess was right, the seconds that its answer took, the counts that it told."""
SECRET = "The patient Marguerite Lefebvre has been told of her diagnosis on the ninth of March and has asked for time."


def prove(
    work: Path, gguf: Path, guesses: int, seconds: float = math.inf, kept: Path | None = None
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Figures and bars.

    Args:
        seconds: after so long it stops, to be called again.
        kept: file in which the observations are kept from call to call.
    """
    data = work / "guesses"
    data.mkdir(parents=True, exist_ok=True)
    store = SqliteStore(data / "serve.sqlite")
    victim, attacker = (Keys(store).create(name)[1] for name in ("victim", "attacker"))
    store.close()
    seen: list[Seen] = [tuple(row) for row in json.loads(kept.read_text())] if kept and kept.exists() else []
    if len(seen) >= guesses:
        seen = []
    order = [bool(number % 2) for number in range(guesses)]
    random.Random(0).shuffle(order)
    end = time.monotonic() + seconds
    with (
        service(data, gguf=gguf, slots=2, threads=2, keys_only=1) as running,
        httpx.Client(base_url=running.url, timeout=60, trust_env=False) as client,
    ):
        for place in range(len(seen), guesses):
            if time.monotonic() > end:
                break
            if place % 10 == 0:
                _ask(client, victim, SECRET)
            # Equal length in tokens, so that only the cache could tell the two apart.
            words = SECRET.split(" ")
            guess = SECRET if order[place] else " ".join(random.Random(place).sample(words, len(words)))
            begin = time.perf_counter()
            usage = _ask(client, attacker, guess)
            spent = time.perf_counter() - begin
            usage = {name: value for name, value in usage.items() if name.endswith("_tokens")}
            usage.pop("prompt_tokens")
            usage.pop("total_tokens")
            seen.append((order[place], spent, str(sorted(usage.items()))))
    if kept:
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(seen))
    return _judged(seen, guesses)


def _judged(seen: list[Seen], wanted: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    times = {kind: [spent for right, spent, _ in seen if right is kind] for kind in (True, False)}
    counts = {kind: {text for right, _, text in seen if right is kind} for kind in (True, False)}
    area = auc(times[True], times[False])
    figures: dict[str, Any] = {"guesses": len(seen), "latency AUC": area}
    figures |= {"different counts": len(counts[True] ^ counts[False])}
    figures |= {f"ms, median, {name} guesses": statistics.median(times[kind]) * 1000 for kind, name in KINDS}
    bars = [
        results.bar("guesses made", len(seen), wanted),
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
