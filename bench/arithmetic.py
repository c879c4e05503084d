"""What share of the machine's matrix arithmetic a training step uses, at 135 million parameters.

The student is SmolLM2-135M with its whole vocabulary, learning the main job's texts by ``sft`` through the loop that
every run uses: body, loss, gradients, clipping and optimiser are all in the time. The share is the operations that a
step's matrix products need, counted, by its seconds and by the fastest matrix product that torch reaches on this
machine in the same number type, over several shapes, measured before and after. Nothing that is learnt is looked at.

Run it with ``make bench-arithmetic``; ``--trial`` takes few steps and writes nothing.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch

import results
from cornue.capture.reader import open_capture
from cornue.models.arithmetic import DType, measure_arithmetic
from cornue.models.student import Student
from cornue.records.progress import Silent
from cornue.records.recipe import Sft as SftStage
from cornue.records.samples import Example
from cornue.train.loop import Figures, Settings, learn
from cornue.train.sft import Sft
from cornue.train.weights import Weights

NAME = "bench-arithmetic"
MODEL = results.ROOT / ".cache" / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
# The stage's default is the one with the bar; the others show what small and large steps do.
TOKENS = (384, 1536, 4096)
BARRED = 1536
SHARE = 0.5
# Rows, inner, columns: the shapes of a small model's products, and squares, which suit a processor best.
SHAPES = ((1536, 576, 1536), (1536, 768, 2048), (2048, 2048, 2048), (4096, 4096, 4096))
WARMUP, TRIES = 2, 5


def main() -> int:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--trial", action="store_true", help="three steps, nothing is written")
    options = parser.parse_args()
    steps = 3 if options.trial else options.steps
    chosen = measure_arithmetic().dtype
    rows = [measure(options.model, dtype, tokens, steps) for dtype in ("float32", "bfloat16") for tokens in TOKENS]
    bars = [
        results.bar(f"share of the {row['dtype']} peak, {row['tokens_a_step']} tokens a step", row["share"], SHARE)
        for row in rows
        if row["tokens_a_step"] == BARRED and row["dtype"] == chosen
    ]
    missing = [{"name": "a student of a billion parameters on a GPU", "reason": "no GPU on this machine"}]
    figures = {"threads": torch.get_num_threads(), "chosen": chosen, "model": options.model.stem, "steps": rows}
    outcome = results.write(NAME, figures, bars, missing, folder=None if options.trial else results.RESULTS)
    return 0 if all(item["holds"] for item in outcome["bars"]) else 1


def measure(path: Path, dtype: DType, tokens: int, steps: int) -> dict[str, Any]:
    """One line: steps of so many tokens in a number type."""
    student, seen = Student.read(path), list[Figures]()
    student.use_template("plain")
    stage = SftStage(method="sft", batch_tokens=tokens, max_steps=WARMUP + steps, epochs=1000, checkpoint_every=10**6)
    before, folder = peak(dtype), results.ROOT / ".cache" / NAME
    # With a peak of one operation a second, the share is operations a second.
    settings = Settings(dtype=dtype, peak=1.0)
    weights = Weights(student.model, stage, getattr(torch, dtype))
    method = Sft.of(stage, student, job_texts(), (), settings, seed=1)
    try:
        learn(weights, method, stage, folder, settings=settings, progress=Silent(), on_step=seen.append)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    fastest = max(before, peak(dtype))
    shares = [figures["share_of_peak"] / fastest for figures in seen[WARMUP:]]
    return {
        "dtype": dtype,
        "tokens_a_step": tokens,
        "tokens_per_second": statistics.median(figures["tokens_per_second"] for figures in seen[WARMUP:]),
        "peak_gflops": fastest / 1e9,
        "share": statistics.median(shares),
        "lowest": min(shares),
        "highest": max(shares),
        "steps": steps,
    }


def peak(dtype: DType) -> float:
    """Operations a second of the fastest of some products, the best of several tries of each."""
    kind, fastest = getattr(torch, dtype), 0.0
    for rows, inner, columns in SHAPES:
        left, right = torch.ones(rows, inner, dtype=kind), torch.ones(inner, columns, dtype=kind)
        for _ in range(TRIES):
            begin = time.perf_counter()
            left @ right
            fastest = max(fastest, 2 * rows * inner * columns / (time.perf_counter() - begin))
    return fastest


@cache
def job_texts() -> Sequence[Example]:
    """What the main job's teacher answered to training questions."""
    capture = open_capture(results.ROOT / "recipes" / "communes" / "capture")
    messages = {prompt.id: prompt.messages for prompt in capture.prompts() if prompt.split == "train"}
    return [
        Example(prompt_id=sample.prompt_id, messages=messages[sample.prompt_id], completion=sample.text)
        for sample in capture.samples()
        if sample.prompt_id in messages and sample.text
    ]


if __name__ == "__main__":
    sys.exit(main())
