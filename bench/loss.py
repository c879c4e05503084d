"""What a loss costs: sparse distillation against fused cross-entropy, and both against what else there is.

For each vocabulary, on the same hidden states and head, in alternating pairs: our cross-entropy, ours on sampled and on
top targets, ours against a dense teacher, torch's fused linear cross-entropy (with its own chunk and with the best
of several), and a dense KL by autograd over full logits. Then peak memory, each in a process of its own, and a whole
training step of a 135M student with random weights. ``--quick`` tries all of it at a small size and writes nothing.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from cornue.models.head import Head
from cornue.train.losses import fused
from cornue.train.objectives import Dense, Labels, Objective, Sparse
from results import Ratios, alternate, bar, run_child, write

SHAPES = {"49k": (49_152, 576), "152k": (151_936, 896)}
QUICK_SHAPES = {"4k": (4_096, 64), "12k": (12_288, 96)}
SAMPLED, TOP = 16, 64
TORCH_CHUNKS = (128, 256, 512, 1024)
Run = Callable[[], None]


class Case:
    """Random hidden states, head and targets of one shape, and every loss as a call that makes loss and gradients."""

    def __init__(self, vocabulary: int, hidden: int, rows: int) -> None:
        draw = torch.Generator().manual_seed(0)
        self.hidden_RH = torch.randn(rows, hidden, generator=draw).requires_grad_()
        self.head = Head((torch.randn(vocabulary, hidden, generator=draw) * hidden**-0.5).requires_grad_())
        self.labels_R = torch.randint(vocabulary, (rows,), generator=draw)
        self.one_R = torch.ones(rows)
        self.draw, self.rows, self.vocabulary = draw, rows, vocabulary

    def runs(self) -> dict[str, Run]:
        """The losses by name."""
        objectives = self.objectives()
        runs = {name: partial(self._ours, objective) for name, objective in objectives.items()}
        return {**runs, "torch": partial(self.torch_fused, None), "naive": self._naive}

    def objectives(self) -> dict[str, Objective]:
        """Ours by name."""
        return {
            "cross_entropy": Labels(self.one_R, self.labels_R, total=float(self.rows)),
            "sampled": sparse(self.one_R, self.vocabulary, SAMPLED, self.draw),
            "top": sparse(self.one_R, self.vocabulary, TOP, self.draw, tail=0.05),
            "dense": Dense(self.one_R, self._teacher, total=float(self.rows)),
        }

    def torch_fused(self, chunk: int | None) -> None:
        """torch's fused linear cross-entropy; None: with its own chunk."""
        options = torch.nn.LinearCrossEntropyOptions(**({"batch_chunk_size": chunk} if chunk else {}))
        self.hidden_RH.grad = self.head.weight_VH.grad = None
        functional.linear_cross_entropy(self.hidden_RH, self.head.weight_VH, self.labels_R, options=options).backward()

    def _ours(self, objective: Objective) -> None:
        fused(self.hidden_RH, self.head, [objective])

    def _teacher(self, rows: slice) -> Tensor:
        return self.hidden_RH[rows].detach().roll(1, 1) @ self.head.weight_VH.detach().T

    def _naive(self) -> None:
        self.hidden_RH.grad = self.head.weight_VH.grad = None
        student_RV = torch.log_softmax(self.hidden_RH @ self.head.weight_VH.T, -1)
        teacher_RV = torch.log_softmax(self._teacher(slice(None)), -1)
        functional.kl_div(student_RV, teacher_RV, reduction="batchmean", log_target=True).backward()


def sparse(one_R: Tensor, vocabulary: int, entries: int, draw: torch.Generator, tail: float = 0.0) -> Sparse:
    """Random distinct entries for every row; with a tail if it has mass."""
    rows = len(one_R)
    # One id from each of so many stretches of the vocabulary.
    stretch = vocabulary // entries
    ids_RK = torch.arange(entries) * stretch + torch.randint(stretch, (rows, entries), generator=draw)
    probs_RK = torch.rand(rows, entries, generator=draw)
    probs_RK *= (1 - tail) / probs_RK.sum(-1, keepdim=True)
    return Sparse(one_R, ids_RK, probs_RK, one_R * tail if tail else None, total=float(rows))


class Step:
    """A whole training step of a student with SmolLM2-135M's shape: body, loss, backward, clipping, AdamW."""

    def __init__(self, tokens: int, layers: int) -> None:
        from transformers import LlamaConfig, LlamaForCausalLM

        from cornue.models.packed import pack
        from cornue.records.recipe import Sft
        from cornue.train.weights import Weights

        torch.manual_seed(0)
        shape = {"hidden_size": 576, "intermediate_size": 1536, "num_attention_heads": 9, "num_key_value_heads": 3}
        config = LlamaConfig(vocab_size=49_152, num_hidden_layers=layers, tie_word_embeddings=True, **shape)
        self.model = LlamaForCausalLM(config)
        self.weights = Weights(self.model, Sft(method="sft"))
        draw = torch.Generator().manual_seed(0)
        ids = torch.randint(49_152, (tokens // 256, 256), generator=draw)
        self.packed = pack(ids.tolist())
        one_R = torch.ones(ids.numel())
        self.objectives: dict[str, Objective] = {
            "cross_entropy": Labels(one_R, ids.flatten().roll(-1), total=float(ids.numel())),
            "sampled": sparse(one_R, 49_152, SAMPLED, draw),
            "top": sparse(one_R, 49_152, TOP, draw, tail=0.05),
        }

    def run(self, name: str) -> None:
        """One step under one objective."""
        from cornue.models.packed import hidden_states

        head = Head.of(self.model)
        hidden_RH = hidden_states(self.model, self.packed)
        found = fused(hidden_RH.detach(), head, [self.objectives[name]], gradients=True)
        assert found.weight_VH is not None
        self.weights.add_gradient(head.weight_VH, found.weight_VH)
        torch.autograd.backward(hidden_RH, found.hidden_RH)
        self.weights.step(1e-4, 1.0)


def speed(
    shapes: dict[str, tuple[int, int]], rows: int, pairs: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Ratios at each vocabulary, and their bars."""
    table, bars = [], []
    for name, (vocabulary, hidden) in shapes.items():
        case = Case(vocabulary, hidden, rows)
        runs = case.runs()
        best = min((chunk for chunk in TORCH_CHUNKS if chunk <= rows), key=lambda chunk: once(case, chunk))
        runs["torch_best"] = partial(case.torch_fused, best)
        for one, other in (
            ("sampled", "cross_entropy"),
            ("top", "cross_entropy"),
            ("dense", "cross_entropy"),
            ("cross_entropy", "torch_best"),
            ("cross_entropy", "torch"),
            ("sampled", "naive"),
            ("dense", "naive"),
        ):
            ratios = alternate(runs[one], runs[other], pairs, warmup=1)
            table.append(row(name, one, other, rows, ratios) | ({"torch_chunk": best} if other == "torch_best" else {}))
            if one in ("sampled", "top") and other == "cross_entropy":
                bars.append(bar(f"{one} over cross-entropy, loss alone, {name}", ratios.median, 0.97))
            if other.startswith("torch"):
                bars.append(bar(f"cross-entropy over {other}, {name}", ratios.median, 1.0))
    return table, bars


def step_speed(tokens: int, layers: int, pairs: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Ratios of whole steps, and their bars."""
    step, table, bars = Step(tokens, layers), [], []
    for name in ("sampled", "top"):
        ratios = alternate(partial(step.run, name), partial(step.run, "cross_entropy"), pairs, warmup=1)
        table.append(row("49k, whole step", name, "cross_entropy", tokens, ratios))
        bars.append(bar(f"{name} over cross-entropy, whole step", ratios.median, 0.97))
    return table, bars


def memory(shapes: dict[str, tuple[int, int]], rows: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Peak memory of each loss in a process of its own, and the bars."""
    table, bars = [], []
    for name, (vocabulary, hidden) in shapes.items():
        peaks = {}
        for loss in ("cross_entropy", "sampled", "top", "dense", "torch", "naive"):
            arguments = [str(Path(__file__)), "--child", loss, str(vocabulary), str(hidden), str(rows)]
            before, peaks[loss] = run_child(arguments)
            added = peaks[loss] - before["before"]
            table.append({"vocabulary": name, "loss": loss, "peak_mib": peaks[loss] >> 20, "added_mib": added >> 20})
        for loss in ("sampled", "top"):
            value = peaks[loss] / peaks["cross_entropy"]
            bars.append(bar(f"memory of {loss} over cross-entropy, {name}", value, 1.05, at_most=True))
    return table, bars


def child(loss: str, vocabulary: int, hidden: int, rows: int) -> None:
    """Run one loss twice; the parent reads the peak."""
    run = Case(vocabulary, hidden, rows).runs()[loss]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    run()
    run()
    print(json.dumps({"before": before}))


def once(case: Case, chunk: int) -> float:
    """Seconds of torch's loss at a chunk, warmed up."""
    case.torch_fused(chunk)
    start = time.perf_counter()
    case.torch_fused(chunk)
    return time.perf_counter() - start


def row(where: str, one: str, other: str, tokens: int, ratios: Ratios) -> dict[str, Any]:
    """A line of the table, shown as soon as it is known."""
    print(f"{where}: {one} over {other} {ratios.median:.3f} ({ratios.low:.3f}…{ratios.high:.3f})", file=sys.stderr)
    return {
        "vocabulary": where,
        "loss": one,
        "against": other,
        "speed_ratio": ratios.median,
        "low": ratios.low,
        "high": ratios.high,
        "tokens_per_second": tokens / ratios.a_seconds,
        "against_tokens_per_second": tokens / ratios.b_seconds,
        "pairs": ratios.pairs,
    }


def main(arguments: Sequence[str]) -> int:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, nothing is written")
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--rows", type=int, default=1024)
    parser.add_argument("--tokens", type=int, default=1024, help="of a whole step")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--child", nargs=4, metavar=("LOSS", "VOCABULARY", "HIDDEN", "ROWS"))
    chosen = parser.parse_args(arguments)
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    if chosen.child:
        child(chosen.child[0], *map(int, chosen.child[1:]))
        return 0
    shapes, pairs, rows, tokens, layers = SHAPES, chosen.pairs, chosen.rows, chosen.tokens, 30
    if chosen.quick:
        shapes, pairs, rows, tokens, layers = QUICK_SHAPES, 3, 256, 256, 2
    tables, bars = {}, []
    for title, part in (
        ("loss alone", partial(speed, shapes, rows, pairs)),
        ("whole step", partial(step_speed, tokens, layers, pairs)),
        ("memory", partial(memory, shapes, rows)),
    ):
        tables[title], held = part()
        bars += held
    figures = {"rows": rows, "threads": torch.get_num_threads(), **tables}
    missing = [] if torch.cuda.is_available() else [{"name": "the same on a GPU", "reason": "no GPU on this machine"}]
    write("bench-loss", figures, bars, missing, **({"folder": None} if chosen.quick else {}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
