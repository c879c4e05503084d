"""The one training loop. It asks a method what a step learns from, learns it, and knows nothing else of the method.

A step: the method plans batches and names objectives; each batch runs through the body of the student; ``losses`` turns
the hidden states of the learnt rows, and the head, into a loss and its gradients in one pass (logits of all rows are
never held); the gradients of all batches move the weights. Everything is a function of (start, data, seed, step), so a
run that was killed goes on to the same weights. It chooses no data and judges nothing.

Shapes: R learnt rows of a batch, H hidden size, V vocabulary, O objectives.
"""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from cornue.models.arithmetic import DType
from cornue.models.head import Head
from cornue.models.packed import hidden_states
from cornue.records.errors import CheckFailed
from cornue.records.progress import Progress
from cornue.records.recipe import Stage
from cornue.records.words import words
from cornue.seal.write import new_folder, remove_folder, write_text
from cornue.train import checkpoint, processes
from cornue.train.batches import Batch
from cornue.train.losses import Outcome, fused
from cornue.train.objectives import Objective
from cornue.train.weights import Weights

Figures = dict[str, float]


@dataclass(frozen=True)
class Settings:
    """What is derived from the machine, once, and written to the resolved recipe.

    Args:
        dtype: the number type in which the student computes.
        peak: measured matrix-product operations per second in that type; 0 if unknown.
        micro_tokens: most tokens that run through the student at once; bounds memory, changes nothing else.
        threads: threads of one product; 0 leaves what torch chose. Other numbers give other roundings.
    """

    dtype: DType = "float32"
    peak: float = 0.0
    micro_tokens: int = 2048
    threads: int = 0


class Method(Protocol):
    """What differs between methods."""

    steps: int
    """Optimiser steps of the whole stage."""

    def plan(self, step: int) -> Sequence[Batch]:
        """The batches of a step, whose weights are already divided by what the method divides by; none: no step."""

    def objectives(self, batch: Batch) -> Mapping[str, Objective]:
        """The summands of a batch's loss, by the names under which they are logged."""

    def look(self, batch: Batch, hidden_RH: Tensor, found: Outcome) -> Figures:
        """More figures of a batch, as means over its rows; they change nothing."""

    def validate(self) -> float:
        """How well the student does on validation data; lower is better."""

    def memory(self) -> dict[str, Any]:
        """What the method must remember between steps, as JSON."""

    def recall(self, memory: dict[str, Any]) -> None:
        """Take back what ``memory`` gave."""


@dataclass
class Best:
    """The weights with the lowest validation loss so far."""

    step: int = 0
    loss: float = math.inf


def learn(
    weights: Weights,
    method: Method,
    stage: Stage,
    folder: Path,
    *,
    settings: Settings,
    progress: Progress,
    on_step: Callable[[Figures], None],
) -> Best:
    """Train to the end of a stage, from its newest checkpoint if there is one; the model then holds the chosen weights.

    Args:
        folder: gets ``curve.jsonl``, ``checkpoints/`` and, with validation, ``best/``.
        on_step: called with the figures of each finished step; may raise to stop, and what is finished stays.

    Raises:
        CheckFailed: the loss or its gradient is no longer a number.
    """
    last = checkpoint.load_latest(folder / "checkpoints")
    begin, best = 0, Best()
    if last:
        weights.restore(last.weights, last.moments)
        method.recall(last.memory["method"])
        begin, best = last.step, Best(last.memory["best_step"], last.memory["best_loss"] or math.inf)
        progress.say(words(en=f"going on after step {begin}", fr=f"reprise après le pas {begin}"))
    first = processes.is_first()
    curve = Curve(folder / "curve.jsonl", begin) if first else None
    processes.wait()
    for step in range(begin, method.steps):
        figures = _one_step(weights, method, stage, step, settings)
        done = step + 1
        if stage.validate_every and (done % stage.validate_every == 0 or done == method.steps):
            figures["validation_loss"] = method.validate()
            if figures["validation_loss"] < best.loss:
                best = Best(done, figures["validation_loss"])
                _keep_best(folder, weights, best)
        if curve:
            curve.add(figures)
        if done % stage.checkpoint_every == 0 or done == method.steps:
            memory = {
                "method": method.memory(),
                "best_step": best.step,
                "best_loss": best.loss if best.step else None,
            }
            point = checkpoint.Checkpoint(done, weights.values(), weights.moments(), memory)
            if first:
                checkpoint.save(folder / "checkpoints", point)
                _forget_former_bests(folder, best)
            processes.wait()
        if first:
            progress.advance(done, **figures)
        on_step(figures)
    if stage.validate_every:
        weights.restore(load_file(folder / "best" / f"step-{best.step:06d}" / "weights.safetensors"))
    return best


def learning_rate(stage: Stage, step: int, steps: int) -> float:
    """The learning rate of a step: a linear rise over the first ones, then a linear fall that ends at zero."""
    warmup = math.ceil(stage.warmup * steps)
    if step < warmup:
        return stage.learning_rate * (step + 1) / (warmup + 1)
    return stage.learning_rate * (steps - step) / (steps - warmup)


def _one_step(weights: Weights, method: Method, stage: Stage, step: int, settings: Settings) -> Figures:
    """Plan, learn and move once; returns the figures of the step."""
    start = time.perf_counter()
    batches = processes.own(method.plan(step))
    planned = time.perf_counter()
    sums, means, work = Counter[str](), Counter[str](), Counter[str]()
    for batch in batches:
        parts, shown = _learn_batch(weights, method, batch)
        sums.update(parts)
        means.update({name: value * len(batch.rows_R) for name, value in shown.items()})
        operations = count_operations(weights, batch)
        work.update({"rows": len(batch.rows_R), "tokens": batch.tokens, "operations": operations})
    sums, means, work = processes.add_up(sums, means, work)
    total, rows = math.fsum(sums.values()), work["rows"]
    rate = learning_rate(stage, step, method.steps)
    norm = weights.step(rate, stage.clip) if rows else 0.0
    if not (math.isfinite(total) and math.isfinite(norm)):
        raise CheckFailed(
            words(
                en=f"step {step + 1}: the loss is {total}, the norm of its gradient {norm}",
                fr=f"pas {step + 1} : la perte vaut {total}, la norme de son gradient {norm}",
            ),
            words(
                en="lower train.learning_rate and run again; the last checkpoint is sound",
                fr="baissez train.learning_rate et relancez ; le dernier point de reprise est sain",
            ),
        )
    end = time.perf_counter()
    tokens, learning = work["tokens"], end - planned
    return {
        "step": step + 1,
        "loss": total,
        **sums,
        **{name: value / max(1, rows) for name, value in means.items()},
        "gradient_norm": norm,
        "learning_rate": rate,
        "tokens": tokens,
        "seconds": end - start,
        "tokens_per_second": tokens / learning,
        "share_of_peak": work["operations"] / learning / settings.peak if settings.peak else 0.0,
    }


def _learn_batch(weights: Weights, method: Method, batch: Batch) -> tuple[Figures, Figures]:
    """Forward, loss and backward of one batch; the gradients stay in the weights. Returns summands, and means."""
    head = Head.of(weights.model)
    objectives = method.objectives(batch)
    hidden_RH = hidden_states(weights.model, batch.packed)[batch.rows_R]
    states_RH = hidden_RH.detach()
    found = fused(states_RH, head, list(objectives.values()), gradients=True)
    layer = weights.model.get_output_embeddings()
    for name, gradient in (("weight", found.weight_VH), ("bias", found.bias_V)):
        if gradient is not None:
            weights.add_gradient(getattr(layer, name), gradient)
    if found.hidden_RH is not None:
        torch.autograd.backward(hidden_RH, found.hidden_RH)
    shown = {"entropy": float(found.figures.entropy), **method.look(batch, states_RH, found)}
    return dict(zip(objectives, found.sums_O.tolist(), strict=True)), shown


def count_operations(weights: Weights, batch: Batch) -> float:
    """Floating-point operations of the matrix products that learning a batch takes, counted, not measured.

    A product of (N, I) by (I, O) counts 2·N·I·O: once forward, once for the gradient by its input unless nothing below
    moves, once for the gradient by its weight if that moves. Attention's blocks count as causal halves.
    """
    body, head = weights.model.get_decoder(), weights.model.get_output_embeddings().weight
    config, moving_below = body.config, bool(body.get_input_embeddings().weight.requires_grad)
    operations: float = 2.0 * (2 + bool(head.requires_grad)) * len(batch.rows_R) * head.numel()
    squares = sum(count * length * length for count, length in batch.packed.groups)
    for layer in body.layers:
        matrices = [param for param in layer.parameters() if param.ndim == 2]
        moves = any(param.requires_grad for param in matrices)
        for param in matrices:
            passes = 1 + (moves or moving_below) + param.requires_grad
            operations += 2 * passes * batch.tokens * param.numel()
        operations += 2 * squares * config.hidden_size * (3 if moves or moving_below else 1)
        moving_below = moving_below or moves
    return operations


def _keep_best(folder: Path, weights: Weights, best: Best) -> None:
    place, values = folder / "best" / f"step-{best.step:06d}", weights.values()
    if processes.is_first():
        if place.exists():
            remove_folder(place)
        with new_folder(place) as new:
            save_file(values, new / "weights.safetensors")
    processes.wait()


def _forget_former_bests(folder: Path, best: Best) -> None:
    """Remove the others, once a checkpoint says which is the best: until then a resumed run may need them."""
    for former in (folder / "best").glob("step-*"):
        if former.name != f"step-{best.step:06d}":
            remove_folder(former)


class Curve:
    """``curve.jsonl``: one line of figures per finished step, each step once, whatever was killed in between.

    Args:
        begin: finished steps; lines after them are dropped, since these steps are done again.
    """

    def __init__(self, path: Path, begin: int) -> None:
        self.path = path
        lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
        write_text(path, "".join(line + "\n" for line in lines if json.loads(line)["step"] <= begin))

    def add(self, figures: Figures) -> None:
        """Append the figures of a step."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({name: _short(value) for name, value in figures.items()}) + "\n")


def _short(value: float) -> float:
    """Six significant digits: more would be noise."""
    return float(f"{value:.6g}") if isinstance(value, float) else value
