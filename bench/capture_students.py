"""Do students notice? The same small student learns from whole distributions, from draws, and from the 50 likeliest.

A real teacher's distributions over real text are computed once; three students per form, one for each seed, learn from
them by forward KL with the same data in the same order. What counts is their divergence from the teacher, in full, on
text that none has seen. It shows what a form does to learning, not how good so small a student can be.

Run it with ``make bench-capture-students``; ``--model`` names the teacher.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

import results
from capture import CHOSEN, MODELS, MODELS_FOLDER, WORK, once, open_model
from cornue.capture.packing import Shape, Targets, targets_of
from cornue.capture.sparse import draw, uniforms
from cornue.models.packed import hidden_states, pack

FORMS = ("whole", "sampled", "top-50")
SEEDS = (1, 2, 3)
# The 97.5 % point at two degrees of freedom.
STUDENT_T = 4.303
HELD_OUT = 0.2
RATE = 2e-3
BATCH = 4


def main() -> int:
    """Train and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=MODELS_FOLDER / MODELS[0])
    parser.add_argument("--tokens", type=int, default=20_000)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--trial", action="store_true", help="print only")
    options = parser.parse_args()
    name = f"students-{options.model.stem}-{options.tokens}"
    ids = once(name, lambda: teach(options.model, options.tokens, WORK / f"{name}.whole"))
    starts = np.concatenate([[0], np.cumsum([len(completion) for _, completion in ids["texts"]])])
    rows, vocabulary = int(starts[-1]), ids["vocabulary"]
    store = np.memmap(WORK / f"{name}.whole", np.float16, "r", shape=(rows, vocabulary))
    lessons = Lessons([(*prompt, *completion[:-1]) for prompt, completion in ids["texts"]], starts, store)
    cut = int(len(ids["texts"]) * (1 - HELD_OUT))
    parts = range(cut), range(cut, len(ids["texts"]))
    losses = {
        (form, seed): once(
            f"{name}-{options.epochs}-{form}-{seed}",
            lambda form=form, seed=seed: learn(lessons, *parts, form, seed, options.epochs),
        )
        for seed in SEEDS
        for form in FORMS
    }
    report(losses, rows, vocabulary, options)
    return 0


def teach(path: Path, tokens: int, store: Path) -> dict[str, Any]:
    """Let the teacher write texts, and put its whole distributions at every token on the disk, where they fit."""
    scorer, texts, _ = open_model(path, tokens)
    rows, vocabulary = sum(len(text.completion) for text in texts), len(scorer.tokens)
    store.parent.mkdir(parents=True, exist_ok=True)
    whole_RV = np.memmap(store, np.float16, "w+", shape=(rows, vocabulary))
    starts = np.concatenate([[0], np.cumsum([len(text.completion) for text in texts])])
    for place, part, p_RV in scorer.whole(texts):
        whole_RV[starts[place] + part.start : starts[place] + part.stop] = p_RV[:, :vocabulary]
    whole_RV.flush()
    return {"vocabulary": vocabulary, "texts": [[text.prompt, text.completion] for text in texts]}


class Lessons:
    """Texts with the teacher's whole distributions at every token."""

    def __init__(self, ids: Sequence[tuple[int, ...]], starts: Any, store: Any) -> None:
        self.ids, self.starts, self.store = ids, starts, store

    def rows(self, place: int) -> int:
        """Tokens of a text that the teacher wrote."""
        return int(self.starts[place + 1] - self.starts[place])

    def whole(self, places: Sequence[int]) -> Tensor:
        """The teacher's distributions (R, V) of some texts, in their order."""
        parts = [self.store[self.starts[place] : self.starts[place + 1]] for place in places]
        p_RV = torch.from_numpy(np.concatenate(parts).astype(np.float32))
        return p_RV / p_RV.sum(1, keepdim=True)

    def kept(self, places: Sequence[int], form: str, seed: int) -> Tensor:
        """What a form keeps of them, as a dense matrix (R, V)."""
        p_RV = self.whole(places)
        if form == "whole":
            return p_RV
        if form == "top-50":
            kept = p_RV.topk(50, dim=-1)
            return torch.zeros_like(p_RV).scatter_(1, kept.indices, kept.values / kept.values.sum(1, keepdim=True))
        shape = Shape(form="sampled", width=CHOSEN[1], vocabulary=p_RV.shape[1])
        found: Targets = targets_of(draw(p_RV, shape.width, uniforms(seed, len(p_RV))), shape)
        row = torch.from_numpy(np.repeat(np.arange(len(p_RV)), np.diff(found.splits)))
        return torch.zeros_like(p_RV).index_put_((row, torch.from_numpy(found.ids)), torch.from_numpy(found.weights))


def learn(lessons: Lessons, train: range, held_out: range, form: str, seed: int, epochs: int) -> list[float]:
    """Train one student; its divergence from the teacher on each held-out text, in nats a token."""
    torch.manual_seed(seed)
    vocabulary = lessons.store.shape[1]
    sizes = {"hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 2, "num_attention_heads": 4}
    student = LlamaForCausalLM(LlamaConfig(vocab_size=vocabulary, num_key_value_heads=4, **sizes))
    optimizer = torch.optim.AdamW(student.parameters(), lr=RATE, weight_decay=0.0)
    steps = [
        list(order[first : first + BATCH])
        for epoch in range(epochs)
        for order in [np.random.default_rng([seed, epoch]).permutation(list(train))]
        for first in range(0, len(order), BATCH)
    ]
    for number, places in enumerate(steps):
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, (number + 1) / 10) * (1 - number / len(steps))
        # The same text gets the same draws in every epoch, as it would from a capture.
        kept_RV = torch.cat([lessons.kept([place], form, 1000 + place) for place in places])
        loss = -(kept_RV * student_log_p(student, lessons, places)).sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
    with torch.no_grad():
        return [divergence(student, lessons, place) for place in held_out]


def student_log_p(student: Any, lessons: Lessons, places: Sequence[int]) -> Tensor:
    """The student's log-probabilities (R, V) at every token of some texts, in their order."""
    packed = pack([lessons.ids[place] for place in places])
    hidden_NH = hidden_states(student, packed)
    lengths = [len(lessons.ids[places[inside]]) for inside in packed.order]
    parts = dict(zip(packed.order, hidden_NH.split(lengths), strict=True))
    # Of each text only the rows that predict the teacher's own tokens.
    rows = [parts[inside][-lessons.rows(place) :] for inside, place in enumerate(places)]
    return torch.log_softmax(student.lm_head(torch.cat(rows)), dim=-1)


def divergence(student: Any, lessons: Lessons, place: int) -> float:
    """Forward KL of the teacher to the student on one text, over the whole vocabulary."""
    p_RV = lessons.whole([place])
    gap_RV = p_RV * (p_RV.clamp(min=1e-12).log() - student_log_p(student, lessons, [place]))
    return float(gap_RV.sum(1).mean())


def report(losses: dict[tuple[str, int], list[float]], rows: int, vocabulary: int, options: Any) -> None:
    """Write means and paired differences."""
    table, bars = [], []
    for form in FORMS:
        means = [statistics.fmean(losses[form, seed]) for seed in SEEDS]
        gaps = [mean - statistics.fmean(losses["whole", seed]) for mean, seed in zip(means, SEEDS, strict=True)]
        low, high = interval(gaps) if form != "whole" else (0.0, 0.0)
        table.append(
            {
                "form": form,
                "divergence": statistics.fmean(means),
                "seeds": means,
                "more_than_whole_low": low,
                "more_than_whole_high": high,
            }
        )
        if form == "sampled":
            bars.append(
                results.bar("sampled: lower bound of the difference to whole distributions", low, 0, at_most=True)
            )
    figures = {
        "teacher": options.model.stem,
        "tokens": rows,
        "vocabulary": vocabulary,
        "draws": CHOSEN[1],
        "students": table,
    }
    results.write("bench-capture-students", figures, bars, folder=None if options.trial else results.RESULTS)


def interval(gaps: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the mean of three values by Student's t: one value per seed, since texts share its luck."""
    mean, half = statistics.fmean(gaps), STUDENT_T * statistics.stdev(gaps) / len(gaps) ** 0.5
    return mean - half, mean + half


if __name__ == "__main__":
    sys.exit(main())
