"""Training by distillation, ours against TRL's: tokens a second, peak memory, and what the students have learnt.

Same teacher, student, texts, order, batch, schedule and arithmetic type; one process per measurement, sides in turn,
another draw of texts in each round. TRL's ``GKDTrainer`` (offline, forward KL) stands against ours with cached targets,
with a live teacher, and with one rounded to 8-bit integers; its ``DistillationTrainer`` against our ``on_policy_kd``.
The optimisers differ: ours has Nesterov's momentum, TRL's is its AdamW, which gets less far in so few steps; so the
divergences compare tools, not losses. Only real tokens count. Measurements are kept by commit, so a run with
``--minutes`` ends early with exit code 75 and the next one goes on.

TRL is no dependency: ``pip install --no-deps -r bench/train_vs_trl.txt`` into any environment that sees this one's
packages, and name its Python with ``--python`` or in PEER_PYTHON. Then ``make bench-train-vs-trl``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import results
from kept import Kept, run

NAME = "bench-train-vs-trl"
PACKAGES = ("trl", "accelerate", "transformers", "torch")
HERE = Path(__file__).resolve().parent
SIDES = {
    "communes": ("gkd", "cached", "live", "live_int8"),
    "long": ("gkd", "cached", "live"),
    "equal": ("gkd", "cached", "live"),
    "prompts": ("distillation", "on_policy"),
}
PEER_OF = {"cached": "gkd", "live": "gkd", "live_int8": "gkd", "gkd_default": "gkd", "on_policy": "distillation"}
THEIRS = ("gkd", "gkd_default", "distillation")
WARMUP = 1
# The 97.5 % points of Student's t by degrees of freedom.
STUDENT_T = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}
Measured = dict[tuple[str, str, int], dict[str, Any]]


def main() -> int:
    """Measure what is missing, then join."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=0, help="begin no measurement after these; 0: no limit")
    parser.add_argument("--python", default=os.environ.get("PEER_PYTHON", sys.executable), help="a Python with TRL")
    parser.add_argument("--dtype", default="float32", help="arithmetic type of our side")
    parser.add_argument("--model", type=Path, default=results.ROOT / ".cache/models/SmolLM2-135M-Instruct.Q4_1.gguf")
    chosen = parser.parse_args()
    versions, kept = peer_versions(chosen.python), Kept(NAME, chosen.minutes)
    if not (kept.folder / "ready").exists():
        results.run_child([str(HERE / "trl_materials.py"), str(kept.folder), str(chosen.model.resolve())])
    done: Measured = {}
    for name, side, seed in wanted(chosen.pairs):
        call = partial(measure, name, side, seed, kept.folder, chosen.python, chosen.dtype)
        own = "" if side in THEIRS else f" {chosen.dtype}"
        done[name, side, seed] = kept.piece(f"{name} {side} {seed}{own}", call)
    figures, bars = join(done)
    outcome = results.write(NAME, {"versions": [versions], "our_dtype": chosen.dtype, **figures}, bars)
    return 0 if all(item["holds"] for item in outcome["bars"]) else 1


def wanted(pairs: int) -> Iterator[tuple[str, str, int]]:
    """Every measurement: set, side, round. Who goes first changes from round to round."""
    for seed in range(1, pairs + 1):
        for name, sides in SIDES.items():
            turn = seed % len(sides)
            yield from ((name, side, seed) for side in sides[turn:] + sides[:turn])
    # What checkpointing, TRL's default, saves and costs is no matter of luck: once is enough.
    yield from ((name, "gkd_default", 1) for name in ("communes", "long"))


def measure(name: str, side: str, seed: int, folder: Path, python: str, dtype: str) -> dict[str, Any]:
    """One measurement in a process of its own."""
    theirs = side in THEIRS
    script = HERE / ("trl_theirs.py" if theirs else "trl_ours.py")
    arguments = [str(script), side, name, str(seed), str(folder), *([] if theirs else [dtype])]
    found, _ = results.run_child(arguments, {"HF_HUB_OFFLINE": "1"}, python if theirs else sys.executable)
    return found


def rate(found: dict[str, Any]) -> float:
    """Real tokens a second, the first step left out."""
    return float(sum(found["tokens"][WARMUP:]) / sum(found["seconds"][WARMUP:]))


def join(done: Measured) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Tables and bars."""
    speeds, learnt, bars = [], [], []
    for name, side in dict.fromkeys((name, side) for name, side, _ in sorted(done, key=place)):
        peer = PEER_OF.get(side, side)
        seeds = sorted(seed for own, other, seed in done if (own, other) == (name, side))
        own, peers = ([done[name, who, seed] for seed in seeds] for who in (side, peer))
        speed = [rate(a) / rate(b) for a, b in zip(own, peers, strict=True)]
        memory = [a["peak"] / b["peak"] for a, b in zip(own, peers, strict=True)]
        low, high = results.median_interval(speed)
        speeds.append(
            {
                "texts": name,
                "side": side,
                "pairs": len(seeds),
                "tokens_per_second": statistics.median(map(rate, own)),
                "least": min(map(rate, own)),
                "most": max(map(rate, own)),
                "against": peer,
                "ratio": statistics.median(speed),
                "low": low,
                "high": high,
                "peak_mib": statistics.median(one["peak"] for one in own) / 2**20,
                "memory_ratio": statistics.median(memory),
                "padding": statistics.median(one["padding"] for one in own),
                "cores_at_work": statistics.median(one["cores"] for one in own),
            }
        )
        learnt.append(learnt_row(name, side, own, peers))
        if name != "equal":
            bars += bars_of(speeds[-1], learnt[-1])
    return {"speed": speeds, "held_out_divergence": learnt}, bars


def learnt_row(name: str, side: str, own: Sequence[dict[str, Any]], peers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the students of a side have learnt, with the 95 % interval of the paired difference to TRL's."""
    means, others = ([statistics.fmean(one["divergence"]) for one in some] for some in (own, peers))
    gaps = [mean - other for mean, other in zip(means, others, strict=True)]
    half = STUDENT_T[len(gaps) - 1] * statistics.stdev(gaps) / len(gaps) ** 0.5 if len(gaps) > 1 else None
    mean = statistics.fmean(gaps)
    return {
        "texts": name,
        "side": side,
        "seeds": len(means),
        "steps": len(own[0]["seconds"]),
        "divergence": statistics.fmean(means),
        "more_than_trl": mean,
        "low": None if half is None else mean - half,
        "high": None if half is None else mean + half,
        "first_loss": own[0]["loss"][0],
        "last_loss": own[0]["loss"][-1],
    }


def bars_of(speed: dict[str, Any], learnt: dict[str, Any]) -> list[dict[str, Any]]:
    """The bars of a side on a set of texts."""
    name, side = speed["texts"], speed["side"]
    if side not in ("cached", "live"):
        return []
    least = {"cached": 4.0, "live": 1.5}[side]
    bars = [
        results.bar(f"{name}: tokens/s, {side} over GKDTrainer", speed["ratio"], least),
        results.bar(f"{name}: padding, {side}", speed["padding"], 0.03, at_most=True),
    ]
    if learnt["seeds"] > 1:
        what = f"{name}: lower bound of the divergence above GKDTrainer's, {side}"
        bars.append(results.bar(what, learnt["low"], 0, at_most=True))
    if side == "cached":
        what = f"{name}: peak memory, cached over GKDTrainer"
        bars.append(results.bar(what, speed["memory_ratio"], 0.5, at_most=True))
    return bars


def place(key: tuple[str, str, int]) -> tuple[int, int]:
    """The order of the tables."""
    sides = ("gkd", "gkd_default", "cached", "live", "live_int8", "distillation", "on_policy")
    return tuple(SIDES).index(key[0]), sides.index(key[1])


def peer_versions(python: str) -> dict[str, str]:
    """The versions that are compared.

    Raises:
        SystemExit: that Python has no TRL.
    """
    code = (
        f"import json; from importlib.metadata import version as v; print(json.dumps({{p: v(p) for p in {PACKAGES}}}))"
    )
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{python} has no TRL: install what bench/train_vs_trl.txt names, see bench/train_vs_trl.py")
    return dict(zip(PACKAGES, json.loads(done.stdout), strict=True))


if __name__ == "__main__":
    sys.exit(run(main))
