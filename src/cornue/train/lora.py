"""Low-rank updates: instead of a matrix W, learn two thin ones, W + scale·B·A (Hu et al., 2021, arXiv 2106.09685).

Every linear layer of the body gets one; embeddings, norms and the head stay as they are. ``merge`` folds the updates
in, so that nothing of them is left in the model that is published.

Shapes: I inputs, O outputs, K rank.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

SCALE = 2.0


class LowRank(nn.Module):
    """A frozen linear layer with a low-rank update that starts at zero."""

    def __init__(self, base: nn.Linear, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        self.base = base
        device, dtype = base.weight.device, base.weight.dtype
        down_KI = torch.randn(rank, base.in_features, generator=generator) / base.in_features**0.5
        self.down_KI = nn.Parameter(down_KI.to(device, dtype))
        self.up_OK = nn.Parameter(torch.zeros(base.out_features, rank, device=device, dtype=dtype))

    def forward(self, inputs: Tensor) -> Tensor:
        """The layer's output with its update."""
        update: Tensor = (inputs @ self.down_KI.T) @ self.up_OK.T
        output: Tensor = self.base(inputs)
        return output + SCALE * update

    def merged(self) -> nn.Linear:
        """The plain layer that does the same."""
        with torch.no_grad():
            self.base.weight += SCALE * (self.up_OK @ self.down_KI)
        return self.base


def attach(model: Any, rank: int, seed: int) -> None:
    """Freeze a model and put an update of some rank beside every linear layer of its body."""
    frozen_below = [not any(p.requires_grad for p in layer.parameters()) for layer in model.get_decoder().layers]
    model.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for layer, frozen in zip(model.get_decoder().layers, frozen_below, strict=True):
        for parent, name, child in _linears(layer):
            if not frozen:
                setattr(parent, name, LowRank(child, rank, generator))


def merge(model: Any) -> None:
    """Fold every update into its layer."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, LowRank):
                setattr(parent, name, child.merged())


def _linears(layer: nn.Module) -> list[tuple[nn.Module, str, nn.Linear]]:
    return [
        (parent, name, child)
        for parent in layer.modules()
        for name, child in parent.named_children()
        if isinstance(child, nn.Linear)
    ]
