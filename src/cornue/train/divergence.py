"""Divergences between a teacher's and a student's whole distribution: value and gradient, formula by formula.

Each takes log-probabilities over the same ids, ``teacher_BV`` = log p and ``student_BV`` = log q, and returns the
divergence D of every row with ``slope_BV`` = q · ∂D/∂q, up to a multiple of q. By the chain rule of the softmax the
gradient by the student's logits z is then the same for all of them::

    ∂D/∂z = slope − q · Σ slope

p may sum to less than one: what the teacher gives to ids that the student lacks is left out, never renormalised.
Nothing here knows temperatures, weights or chunks; ``losses`` does.

Sources: Jensen-Shannon by β as in Generalized Knowledge Distillation (arXiv 2306.13649); skewed divergences as in
DistiLLM (arXiv 2402.03898). Shapes: B rows, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from cornue.records.errors import BadInput
from cornue.records.words import words

Divergence = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def forward(teacher_BV: Tensor, student_BV: Tensor) -> tuple[Tensor, Tensor]:
    """KL(p ‖ q): the student covers all that the teacher holds likely."""
    p_BV = teacher_BV.exp()
    return _expect(p_BV, teacher_BV - student_BV), p_BV.neg_()


def reverse(teacher_BV: Tensor, student_BV: Tensor) -> tuple[Tensor, Tensor]:
    """KL(q ‖ p): the student keeps to what the teacher holds likely."""
    gap_BV = student_BV - teacher_BV
    slope_BV = student_BV.exp().mul_(gap_BV)
    return slope_BV.sum(-1), slope_BV


def jensen_shannon(beta: float = 0.5) -> Divergence:
    """β KL(p ‖ m) + (1 − β) KL(q ‖ m) with m = β p + (1 − β) q.

    Raises:
        BadInput: β is not between 0 and 1; at both ends the divergence is 0 for every student.
    """
    _require_inside("beta", beta)

    def divergence(teacher_BV: Tensor, student_BV: Tensor) -> tuple[Tensor, Tensor]:
        mixed_BV = _mix(teacher_BV, student_BV, beta)
        slope_BV = student_BV.exp().mul_(student_BV - mixed_BV).mul_(1 - beta)
        return beta * _expect(teacher_BV.exp(), teacher_BV - mixed_BV) + slope_BV.sum(-1), slope_BV

    return divergence


def skewed_forward(alpha: float = 0.1) -> Divergence:
    """KL(p ‖ α p + (1 − α) q): forward KL that stays finite where the student gives nothing.

    Raises:
        BadInput: α is not between 0 and 1.
    """
    _require_inside("alpha", alpha)

    def divergence(teacher_BV: Tensor, student_BV: Tensor) -> tuple[Tensor, Tensor]:
        mixed_BV = _mix(teacher_BV, student_BV, alpha)
        slope_BV = (teacher_BV + student_BV - mixed_BV).exp_().mul_(alpha - 1)
        return _expect(teacher_BV.exp(), teacher_BV - mixed_BV), slope_BV

    return divergence


def _expect(weights_BV: Tensor, values_BV: Tensor) -> Tensor:
    expected_B: Tensor = torch.linalg.vecdot(weights_BV, values_BV)
    return expected_B


def _mix(teacher_BV: Tensor, student_BV: Tensor, share: float) -> Tensor:
    """log(share · p + (1 − share) · q). The mixture is one of probabilities, never of logarithms."""
    return torch.logaddexp(teacher_BV + math.log(share), student_BV + math.log1p(-share))


def _require_inside(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise BadInput(
            words(
                en=f"{name} = {value} is not between 0 and 1, both excluded",
                fr=f"{name} = {value} n'est pas compris entre 0 et 1, bornes exclues",
            ),
            words(
                en="for the ends take the forward or the reverse divergence",
                fr="aux bornes, prenez la divergence directe ou inverse",
            ),
        )
