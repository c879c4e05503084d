"""What a loss costs: sparse distillation against fused cross-entropy, and both against what else there is.

For each vocabulary, on the same hidden states and head, in alternating pairs: our cross-entropy, ours on sampled and on
top targets, ours against a dense teacher, torch's fused linear cross-entropy (with its own chunk and with the best
of several), and a dense KL by autograd over full logits. Then peak memory, each in a process of its own, and a whole
training step of a 135M student with random weights. ``--quick`` tries all of it at a small size and writes nothing;
``--minutes`` ends it early with exit code 75, and the next run goes on.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from cornue.models.head import Head
from cornue.train.losses import fused
from cornue.train.objectives import Dense, Labels, Objective, Sparse
from kept import Kept, run
from results import Ratios, alternate, bar, run_child, write

NAME = "bench-loss"
# Vocabulary, hidden size, rows: as many rows as one chunk of each takes.
SHAPES = {"49k": (49_152, 576, 512), "152k": (151_936, 896, 256)}
QUICK_SHAPES = {"4k": (4_096, 64, 256), "12k": (12_288, 96, 256)}
COMPARED = (
    ("sampled", "cross_entropy"),
    ("top", "cross_entropy"),
    ("dense", "cross_entropy"),
    ("cross_entropy", "torch_best"),
    ("cross_entropy", "torch"),
    ("sampled", "naive"),
    ("dense", "naive"),
)
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
        options = torch.nn.LinearCrossEntropyOptions(batch_chunk_size=chunk)
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
    kept: Kept, shapes: Mapping[str, tuple[int, int, int]], pairs: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Ratios at each vocabulary, and their bars."""
    table, bars = [], []
    for name, shape in shapes.items():
        for one, other in COMPARED:
            # Where there is no bar, or the difference is manifold, fewer pairs show enough.
            near = one != "dense" and other in ("cross_entropy", "torch_best")
            times = pairs if near else -(-pairs // 3)
            found = kept.piece(f"{name} {one} over {other}", partial(compare, name, shape, one, other, times))
            table.append(found)
            if one in ("sampled", "top") and other == "cross_entropy":
                bars.append(bar(f"{one} over cross-entropy, loss alone, {name}", found["speed_ratio"], 0.97))
            if other.startswith("torch"):
                bars.append(bar(f"cross-entropy over {other}, {name}", found["speed_ratio"], 1.0))
    return table, bars


def compare(name: str, shape: tuple[int, int, int], one: str, other: str, pairs: int) -> dict[str, Any]:
    """One loss against another."""
    case = Case(*shape)
    runs, more = case.runs(), {}
    if other == "torch_best":
        more["torch_chunk"] = min((chunk for chunk in TORCH_CHUNKS if chunk <= case.rows), key=partial(once, case))
        runs["torch_best"] = partial(case.torch_fused, more["torch_chunk"])
    return row(name, one, other, case.rows, alternate(runs[one], runs[other], pairs, warmup=1)) | more


def step_speed(kept: Kept, tokens: int, layers: int, pairs: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Ratios of whole steps, and their bars."""

    def measure(name: str) -> dict[str, Any]:
        step = Step(tokens, layers)
        found = alternate(partial(step.run, name), partial(step.run, "cross_entropy"), pairs, warmup=1)
        return row("49k, whole step", name, "cross_entropy", tokens, found)

    table = [kept.piece(f"whole step {name}", partial(measure, name)) for name in ("sampled", "top")]
    bars = [bar(f"{found['loss']} over cross-entropy, whole step", found["speed_ratio"], 0.97) for found in table]
    return table, bars


def memory(kept: Kept, shapes: Mapping[str, tuple[int, int, int]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Peak memory of each loss in a process of its own, and the bars."""
    table, bars = [], []

    def measure(name: str, loss: str) -> dict[str, Any]:
        before, peak = run_child([str(Path(__file__)), "--child", loss, *map(str, shapes[name])])
        return {
            "vocabulary": name,
            "loss": loss,
            "peak_mib": peak / 2**20,
            "added_mib": (peak - before["before"]) / 2**20,
        }

    for name in shapes:
        peaks = {}
        for loss in ("cross_entropy", "sampled", "top", "dense", "torch", "naive"):
            table.append(kept.piece(f"memory {name} {loss}", partial(measure, name, loss)))
            peaks[loss] = table[-1]["peak_mib"]
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
    """A line of the table."""
    return {
        "vocabulary": where,
        "loss": one,
        "against": other,
        "rows": tokens,
        "speed_ratio": ratios.median,
        "low": ratios.low,
        "high": ratios.high,
        "tokens_per_second": tokens / ratios.a_seconds,
        "against_tokens_per_second": tokens / ratios.b_seconds,
        "pairs": ratios.pairs,
    }


def main() -> int:
    """Measure what is missing, then write the result."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, nothing is written")
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--tokens", type=int, default=512, help="of a whole step")
    parser.add_argument("--minutes", type=float, default=0, help="begin no piece after these; 0: no limit")
    parser.add_argument("--child", nargs=4, metavar=("LOSS", "VOCABULARY", "HIDDEN", "ROWS"))
    chosen = parser.parse_args()
    if chosen.child:
        child(chosen.child[0], *map(int, chosen.child[1:]))
        return 0
    shapes, pairs, tokens, layers = SHAPES, chosen.pairs, chosen.tokens, 30
    if chosen.quick:
        shapes, pairs, tokens, layers = QUICK_SHAPES, 3, 256, 2
    kept, tables, bars = Kept(NAME, chosen.minutes, not chosen.quick), {}, []
    for title, part in (
        ("loss alone", partial(speed, kept, shapes, pairs)),
        ("whole step", partial(step_speed, kept, tokens, layers, pairs)),
        ("memory", partial(memory, kept, shapes)),
    ):
        tables[title], held = part()
        bars += held
    figures = {"threads": torch.get_num_threads(), **tables}
    missing = [] if torch.cuda.is_available() else [{"name": "the same on a GPU", "reason": "no GPU on this machine"}]
    outcome = write(NAME, figures, bars, missing, **({"folder": None} if chosen.quick else {}))
    return 0 if all(item["holds"] for item in outcome["bars"]) else 1


if __name__ == "__main__":
    sys.exit(run(main))
