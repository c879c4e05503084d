"""Lays the weights of a small model out once, while it writes, instead of anew in every product.

torch's products on x86 processors begin by laying the weight out; where few rows are multiplied this takes as long as
the multiplication. It leaves other processors as they are, and models that are too large to be held twice.

Source: the operators that torch's own compiler calls; torch has no public name for them.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

MOST_BYTES = 1 << 30
ROWS = 32


class PackedLinear(nn.Linear):
    """A linear layer whose weight is laid out."""

    packed: Tensor

    def forward(self, input: Tensor) -> Tensor:
        """As ``nn.Linear``, up to rounding."""
        product: Tensor = torch.ops.mkldnn._linear_pointwise(input, self.packed, self.bias, "none", [], "")
        return product


@contextmanager
def prepacked(model: Any) -> Iterator[None]:
    """Let a model in inference mode multiply by its weights as they are now; on leaving it is as it was."""
    layers = [module for module in model.modules() if type(module) is nn.Linear and _can(module.weight)]
    if sum(layer.weight.nbytes for layer in layers) > MOST_BYTES:
        layers = []
    try:
        for layer in layers:
            packed = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), ROWS)
            layer.__class__, vars(layer)["packed"] = PackedLinear, packed
        yield
    finally:
        for layer in layers:
            layer.__class__ = nn.Linear
            vars(layer).pop("packed", None)


def _can(weight: Tensor) -> bool:
    """Whether the operators are here and know this weight, which is not spread over processes."""
    if not torch._C._has_mkldnn or platform.machine() not in ("x86_64", "AMD64"):
        return False
    units: bool = weight.dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    plain = weight.device.type == "cpu" and not hasattr(weight, "full_tensor")
    return plain and (units or weight.dtype == torch.float32)
