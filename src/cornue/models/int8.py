"""Rounds a frozen model to 8-bit integers, which some processors multiply four times faster than floats.

Rows of both factors of a product are scaled to -127 … 127 and rounded, multiplied exactly in 32-bit integers, and
scaled back: the only error is that of rounding, about one part in a hundred. Normalisation and attention stay in
floats. It serves teachers; for the smaller products of a student that learns, rounding costs what it saves.

Source: row-wise scales as in Dettmers et al. (arXiv 2208.07339). Shapes: N rows of tokens, I inputs, O outputs.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

LEVELS = 127.0


class Rounded(NamedTuple):
    """A matrix as 8-bit integers, (R, C), times one scale a row, (R, 1)."""

    integers: Tensor
    scales: Tensor


def quantise(rows: Tensor) -> Rounded:
    """A float matrix, rounded row by row."""
    scales = rows.abs().amax(-1, keepdim=True).clamp_(min=1e-30).div_(LEVELS)
    return Rounded((rows / scales).round_().to(torch.int8), scales)


def multiply(left: Rounded, right: Rounded) -> Tensor:
    """left · rightᵀ in fp32; the sums themselves are exact."""
    sums = torch._int_mm(left.integers, right.integers.t())
    return sums.float().mul_(left.scales).mul_(right.scales.t())


class Int8Linear(nn.Linear):
    """A linear layer whose weight was rounded; it learns no more."""

    rounded: Rounded

    def forward(self, input: Tensor) -> Tensor:
        """As ``nn.Linear``, rounded."""
        flat_NI = input.reshape(-1, self.in_features)
        out_NO = multiply(quantise(flat_NI), self.rounded)
        if self.bias is not None:
            out_NO += self.bias
        return out_NO.reshape(*input.shape[:-1], self.out_features)


def freeze(model: Any) -> None:
    """Round the linear layers of a transformers causal model, head included, and let go of their floats."""
    embedding = model.get_input_embeddings().weight
    for module in model.modules():
        if type(module) is nn.Linear:
            rounded = quantise(module.weight.detach())
            module.__class__ = Int8Linear
            cast(Int8Linear, module).rounded = rounded
            if module.weight is not embedding:
                module.weight = nn.Parameter(torch.empty(0), requires_grad=False)
