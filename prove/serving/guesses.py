"""A second key guesses the first key's prompt: no count and no time may tell whether a guess is right.

In each round the victim asks something new; the attacker then sends that very prompt and another of the same words, in
either order. Both are new to the attacker, so only the victim's cache could tell them apart; there is one slot, which
goes from hand to hand. As a control the victim guesses at its own prompt, asked anew before each guess, whose cache it
may use: times must tell. The model is small and random, since only the time counts that it needs to read a prompt.
"""

from __future__ import annotations

import json
import math
import random
import statistics
import time
from pathlib import Path
from typing import Any

import httpx
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import results
from cornue.models.export import export_gguf
from cornue.models.tiny import tiny_tokenizer
from cornue.serve.keys import Keys
from cornue.serve.store import SqliteStore
from serving.world import chat, service

WORDS = "red blue green black white one two three four five six seven eight nine ten cat dog horse bird fish"
LENGTH = 16
CONTROLS = 100
OWN = ("prompt_tokens", "total_tokens")
KINDS = ((True, "right"), (False, "wrong"))
Seen = tuple[bool, float, str]
"""Whether a guess was right, the seconds that its answer took, the counts that it told."""


def prove(
    work: Path, guesses: int, seconds: float = math.inf, kept: Path | None = None
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
    gguf = _small_model(data / "small.gguf")
    seen: list[Seen] = [tuple(row) for row in json.loads(kept.read_text())] if kept and kept.exists() else []
    if len(seen) >= guesses:
        seen = []
    end = time.monotonic() + seconds
    control: list[Seen] = []
    with (
        service(data, gguf=gguf, slots=1, threads=1, keys_only=1) as running,
        httpx.Client(base_url=running.url, timeout=60, trust_env=False) as client,
    ):
        for number in range(CONTROLS):
            control += _round(client, victim, victim, random.Random(f"control {number}"), afresh=True)
        while len(seen) < guesses and time.monotonic() < end:
            seen += _round(client, victim, attacker, random.Random(len(seen)))
    if kept:
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(seen))
    return _judged(seen, control, guesses)


def _small_model(path: Path) -> Path:
    """A random model of five million weights, which reads a prompt in some tens of milliseconds."""
    torch.manual_seed(1)
    tokenizer = tiny_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    export_gguf(LlamaForCausalLM(config), tokenizer, path)
    return path


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


def _round(client: httpx.Client, victim: str, attacker: str, dice: random.Random, afresh: bool = False) -> list[Seen]:
    """A right and a wrong guess after the victim's prompt; ``afresh``: which is asked before each of them."""
    secret, decoy = (" ".join(dice.sample(WORDS.split(), LENGTH)) for _ in range(2))
    _ask(client, victim, secret)
    seen: list[Seen] = []
    for right in dice.sample((True, False), 2):
        if afresh:
            _ask(client, victim, secret)
        begin = time.perf_counter()
        usage = _ask(client, attacker, secret if right else decoy)
        spent = time.perf_counter() - begin
        # How long one's own prompt is one knows; any other number, and any field more or less, might tell.
        told = {name: value if isinstance(value, int) else "" for name, value in usage.items() if name not in OWN}
        seen.append((right, spent, json.dumps(told)))
    return seen


def _judged(seen: list[Seen], control: list[Seen], wanted: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    times, own = (
        {kind: [spent for right, spent, _ in some if right is kind] for kind, _ in KINDS} for some in (seen, control)
    )
    counts = {kind: {text for right, _, text in seen if right is kind} for kind, _ in KINDS}
    area, told = auc(times[True], times[False]), auc(own[True], own[False])
    figures: dict[str, Any] = {"guesses": len(seen), "latency AUC": area, "latency AUC, own prompt": told}
    figures |= {"counts told": ", ".join(sorted(counts[True] | counts[False]))}
    figures |= {f"ms, median, {name} guesses": statistics.median(times[kind]) * 1000 for kind, name in KINDS}
    differing = len(counts[True] ^ counts[False])
    bars = [
        results.bar("guesses made", len(seen), wanted),
        results.bar("count fields that differ between right and wrong guesses", differing, 0, at_most=True),
        results.bar("AUC of the latency, either way", max(area, 1 - area), 0.55, at_most=True),
        results.bar("AUC where the cache may tell (control), either way", max(told, 1 - told), 0.75),
    ]
    return figures, bars


def _ask(client: httpx.Client, key: str, text: str) -> dict[str, Any]:
    # A short system message of one's own keeps the template from adding its long one.
    messages = [{"role": "system", "content": "Hi"}, {"role": "user", "content": text}]
    body = chat("", messages=messages, max_tokens=1, temperature=0)
    answer = client.post("/v1/chat/completions", json=body, headers={"Authorization": f"Bearer {key}"})
    answer.raise_for_status()
    usage: dict[str, Any] = answer.json()["usage"]
    return usage
