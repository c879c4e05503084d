"""The fused pass against plain formulas in float64: value and gradient, for every objective and option."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from cornue.models.head import Head
from cornue.records.errors import BadInput
from cornue.train import divergence, losses
from cornue.train.losses import Outcome, differentiable, fused
from cornue.train.objectives import Dense, Labels, Objective, Policy, Sparse, from_states

ROWS, HIDDEN, VOCABULARY, ENTRIES = 13, 6, 29, 5

DIVERGENCES: dict[str, tuple[divergence.Divergence, Any]] = {
    "forward": (divergence.forward, lambda p, q: kl(p, q)),
    "reverse": (divergence.reverse, lambda p, q: kl(q, p)),
    "jensen_shannon": (
        divergence.jensen_shannon(0.3),
        lambda p, q: 0.3 * kl(p, 0.3 * p + 0.7 * q) + 0.7 * kl(q, 0.3 * p + 0.7 * q),
    ),
    "skewed_forward": (divergence.skewed_forward(0.1), lambda p, q: kl(p, 0.1 * p + 0.9 * q)),
    "skewed_reverse": (divergence.skewed_reverse(0.1), lambda p, q: kl(q, 0.9 * p + 0.1 * q)),
}

HEADS: dict[str, dict[str, Any]] = {
    "plain": {},
    "padded": {"vocabulary": VOCABULARY - 4},
    "bias": {"bias": True},
    "softcap_and_scale": {"softcap": 2.0, "scale": 0.7},
    "everything": {"vocabulary": VOCABULARY - 4, "bias": True, "softcap": 2.0, "scale": 0.7},
}


def kl(p: Tensor, q: Tensor) -> Tensor:
    return torch.xlogy(p, p / q).sum(-1)


def case(seed: int = 0, rows: int = ROWS, dtype: torch.dtype = torch.float64, **options: Any) -> tuple[Tensor, Head]:
    """Hidden states and a head, both of which can move."""
    draw = torch.Generator().manual_seed(seed)
    hidden = torch.randn(rows, HIDDEN, generator=draw, dtype=torch.float64).to(dtype).requires_grad_()
    weight = torch.randn(VOCABULARY, HIDDEN, generator=draw, dtype=torch.float64).to(dtype).requires_grad_()
    bias = torch.randn(VOCABULARY, generator=draw, dtype=torch.float64).to(dtype).requires_grad_()
    return hidden, Head(weight, bias if options.pop("bias", False) else None, **options)


def targets(kind: str, seed: int = 1, rows: int = ROWS, temperature: float = 1.0) -> Objective:
    """An objective of each kind with random weights (some zero) and random targets below the padded vocabulary."""
    draw = torch.Generator().manual_seed(seed)
    real = VOCABULARY - 4
    weight = torch.rand(rows, generator=draw, dtype=torch.float64)
    weight[::5] = 0
    options = {"total": 3.7, "temperature": temperature, "squared": temperature != 1}
    ids = torch.stack([torch.randperm(real, generator=draw)[:ENTRIES] for _ in range(rows)])
    probs = torch.rand(rows, ENTRIES, generator=draw, dtype=torch.float64)
    probs /= probs.sum(-1, keepdim=True)
    if kind == "labels":
        return Labels(weight, ids[:, 0], **options)
    if kind == "sampled":
        return Sparse(weight, ids, probs, **options)
    if kind == "top":
        # Ids that only fill up, in front of and behind id 0, which must stay among the others.
        ids[2, 1:], ids[3, :2], ids[4] = -1, -1, -1
        return Sparse(weight, ids, 0.8 * probs * (ids >= 0), 1 - (0.8 * probs * (ids >= 0)).sum(-1), **options)
    if kind == "policy":
        advantage = torch.randn(rows, generator=draw, dtype=torch.float64)
        return Policy(weight, ids[:, 0], advantage, -2 - 2 * torch.rand(rows, generator=draw), **options)
    if kind == "reinforce":
        return Policy(weight, ids[:, 0], torch.randn(rows, generator=draw, dtype=torch.float64), **options)
    logits = 2 * torch.randn(rows, real, generator=draw, dtype=torch.float64)
    return Dense(weight, lambda rows: logits[rows], DIVERGENCES[kind][0], **options)


KINDS = ["labels", "sampled", "top", "policy", "reinforce"]


def reference_values(objective: Objective, logits: Tensor, kind: str) -> Tensor:
    """Each row's value by its textbook formula."""
    q = torch.softmax(logits / objective.temperature, -1)
    if isinstance(objective, Labels):
        return -q.gather(1, objective.ids_R[:, None])[:, 0].log()
    if isinstance(objective, Policy):
        log_q = q.gather(1, objective.ids_R[:, None])[:, 0].log()
        if objective.sampler_R is None:
            return -objective.advantage_R * log_q
        ratio = (log_q - objective.sampler_R).exp()
        clipped = ratio.clamp(1 - objective.clip_low, 1 + objective.clip_high)
        return -torch.minimum(ratio * objective.advantage_R, clipped * objective.advantage_R)
    if isinstance(objective, Sparse):
        rows = []
        for row in range(len(logits)):
            real = objective.ids_RK[row] >= 0
            p, inside = objective.probs_RK[row][real].double(), q[row][objective.ids_RK[row][real]]
            if objective.tail_R is None:
                rows.append(-(p * inside.log()).sum())
            else:
                p = torch.cat([p, objective.tail_R[row : row + 1].double()])
                others = torch.ones(q.shape[1], dtype=torch.bool)
                others[objective.ids_RK[row][real]] = False
                rows.append(kl(p, torch.cat([inside, q[row][others].sum()[None]])))
        return torch.stack(rows)
    assert isinstance(objective, Dense)
    p = torch.softmax(objective.teacher(slice(None)).double() / objective.temperature, -1)
    return DIVERGENCES[kind][1](p[:, : q.shape[1]], q)


def reference(hidden: Tensor, head: Head, objectives: dict[str, Objective]) -> tuple[Tensor, list[Tensor]]:
    """Loss and gradients (hidden, weight, bias) of all objectives by autograd over full logits in float64."""
    leaves = [t.detach().double().requires_grad_() for t in (hidden, head.weight_VH, head.bias_V) if t is not None]
    plain = Head(leaves[1], leaves[2] if len(leaves) > 2 else None, head.scale, head.softcap)
    logits = torch.nn.functional.linear(leaves[0], plain.weight_VH, plain.bias_V)
    logits = torch.tanh(logits / head.softcap) * head.softcap if head.softcap else logits
    logits = (logits * head.scale)[:, : head.vocabulary or None]
    loss = torch.zeros((), dtype=torch.float64)
    for kind, objective in objectives.items():
        values = reference_values(objective, logits, kind)
        square = objective.temperature**2 if objective.squared else 1.0
        loss = loss + (objective.weight_R.double() * values).sum() * square / objective.total
    return loss, list(torch.autograd.grad(loss, leaves))


def assert_agrees(hidden: Tensor, head: Head, objectives: dict[str, Objective], atol: float, **options: Any) -> None:
    loss, gradients = reference(hidden, head, objectives)
    found = fused(hidden, head, list(objectives.values()), **options)
    torch.testing.assert_close(found.loss.double(), loss, atol=atol, rtol=atol)
    for mine, theirs in zip(gradients_of(found), gradients, strict=True):
        torch.testing.assert_close(mine.double(), theirs, atol=atol, rtol=atol)


def gradients_of(found: Outcome) -> list[Tensor]:
    return [t for t in (found.hidden_RH, found.weight_VH, found.bias_V) if t is not None]


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("kind", [*KINDS, *DIVERGENCES])
def test_every_objective_agrees_with_its_formula(kind: str, temperature: float, head: str) -> None:
    options = dict(HEADS[head])
    options.setdefault("vocabulary", VOCABULARY - 4 if kind in DIVERGENCES else 0)
    hidden, top = case(**options)
    assert_agrees(hidden, top, {kind: targets(kind, temperature=temperature)}, 1e-11, chunk_rows=5)


@pytest.mark.parametrize("temperatures", [(1.0, 1.0, 1.0, 1.0), (1.0, 2.0, 1.0, 0.5)])
def test_a_mix_agrees_with_the_sum_of_its_formulas(temperatures: tuple[float, ...]) -> None:
    hidden, head = case(vocabulary=VOCABULARY - 4, bias=True)
    kinds = ["labels", "top", "policy", "reverse"]
    mix = {k: targets(k, seed=i, temperature=t) for i, (k, t) in enumerate(zip(kinds, temperatures, strict=True))}
    assert_agrees(hidden, head, mix, 1e-11, chunk_rows=4)


def test_a_label_may_be_one_of_the_teachers_entries() -> None:
    hidden, head = case()
    top = targets("top")
    assert isinstance(top, Sparse)
    label = replace(targets("labels"), ids_R=top.ids_RK[:, 0].clamp(min=0))
    assert_agrees(hidden, head, {"top": top, "labels": label}, 1e-11)
