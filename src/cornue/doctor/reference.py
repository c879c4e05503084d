"""Textbook formulas in float64, slow and plain: what every fast path is held against.

They share no code with the losses, the packing or the capture. Gradients come from autograd over whole logits.

Shapes: R rows, H hidden size, V vocabulary of the student, W of the teacher (W ≥ V), K entries a row, T tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from cornue.models.head import Head
from cornue.models.packed import use_attention
from cornue.records.recipe import LogitKd, OnPolicyKd

Formula = Callable[[Tensor, Tensor], Tensor]


def kl(p_RV: Tensor, q_RV: Tensor) -> Tensor:
    """Σ p log(p / q) of each row (R)."""
    terms_RV: Tensor = torch.special.xlogy(p_RV, p_RV) - torch.special.xlogy(p_RV, q_RV)
    return terms_RV.sum(-1)


def formula_of(stage: LogitKd | OnPolicyKd) -> Formula:
    """The divergence that a stage names, of teacher p and student q."""
    beta = stage.beta
    named: dict[str, Formula] = {
        "forward_kl": kl,
        "reverse_kl": lambda p, q: kl(q, p),
        "jensen_shannon": lambda p, q: (
            beta * kl(p, beta * p + (1 - beta) * q) + (1 - beta) * kl(q, beta * p + (1 - beta) * q)
        ),
        "skewed_kl": lambda p, q: kl(p, beta * p + (1 - beta) * q),
    }
    return named[stage.objective]


def coarse_kl(ids_RK: Tensor, p_RK: Tensor, rest_R: Tensor, q_RV: Tensor) -> Tensor:
    """KL of the named ids and one class for all others (R); −1 names none."""
    real_RK = ids_RK >= 0
    p_RK = torch.where(real_RK, p_RK.double(), 0)
    q_RK = torch.where(real_RK, q_RV.gather(1, ids_RK.clamp(min=0)), 0)
    # What is not named is summed itself: one less the named would round to nothing.
    named_RV = torch.zeros_like(q_RV, dtype=torch.bool)
    named_RV = named_RV.scatter_add(1, ids_RK.clamp(min=0), real_RK)
    outside_R = q_RV.masked_fill(named_RV, 0).sum(-1)
    p_RJ = torch.cat([p_RK, rest_R.double()[:, None]], 1)
    return kl(p_RJ, torch.cat([q_RK, outside_R[:, None]], 1).clamp(min=1e-300))


def logits_of(hidden_RH: Tensor, head: Head) -> Tensor:
    """Logits (R, V) in float64 from hidden states, with all that the head does to them."""
    logits_RV = hidden_RH.double() @ head.weight_VH.detach().double().T
    if head.bias_V is not None:
        logits_RV = logits_RV + head.bias_V.detach().double()
    if head.softcap:
        logits_RV = torch.tanh(logits_RV / head.softcap) * head.softcap
    return (logits_RV * head.scale)[:, : head.vocabulary or None]


def gradient(hidden_RH: Tensor, head: Head, loss: Callable[[Tensor], Tensor]) -> tuple[float, Tensor]:
    """A loss of whole logits (R, V): its value, and its gradient by the hidden states (R, H)."""
    leaf_RH = hidden_RH.detach().double().requires_grad_()
    with torch.enable_grad():
        value = loss(logits_of(leaf_RH, head))
        (gradient_RH,) = torch.autograd.grad(value, leaf_RH)
    return float(value.detach()), gradient_RH


@torch.no_grad()
def run(model: Any, ids: Sequence[int]) -> Tensor:
    """The model's own logits (T, V) of one text, alone, as transformers computes them."""
    use_attention(model, "sdpa")
    logits_TV: Tensor = model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0]
    return logits_TV
