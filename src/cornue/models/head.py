"""The last step of a causal model: from hidden states to logits, with all that a family does to them.

Some families add a bias, multiply or divide the logits, or cap them; heads are often padded with rows that stand for no
token. It reads these facts from the model in one place, so that sampling, scoring and every loss agree.

Shapes: R rows, H hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cornue.models.int8 import Int8Linear
from cornue.models.prepacked import PackedLinear


@dataclass(frozen=True)
class Head:
    """The head of a model.

    Args:
        weight_VH: its matrix; the model's own, not a copy.
        bias_V: its bias, if any.
        scale: multiplies the logits.
        softcap: caps them by ``softcap * tanh(logits / softcap)``, before scaling; 0 does not.
        vocabulary: ids that stand for tokens; rows beyond get no mass.
        layer: takes hidden states to products in a way of its own, bias included: 8-bit integers, whose ``weight_VH``
            is empty or their source, or a layout of the weights.
    """

    weight_VH: Tensor
    bias_V: Tensor | None = None
    scale: float = 1.0
    softcap: float = 0.0
    vocabulary: int = 0
    layer: Callable[[Tensor], Tensor] | None = None

    @staticmethod
    def of(model: Any, vocabulary: int = 0) -> Head:
        """The head of a transformers causal model whose tokenizer knows ``vocabulary`` ids; 0 takes all rows."""
        layer, config = model.get_output_embeddings(), model.config.get_text_config()
        return Head(
            weight_VH=_whole(layer.weight),
            bias_V=None if getattr(layer, "bias", None) is None else _whole(layer.bias),
            scale=float(getattr(config, "logit_scale", None) or 1.0)
            / float(getattr(config, "logits_scaling", None) or 1.0),
            softcap=float(getattr(config, "final_logit_softcapping", None) or 0.0),
            vocabulary=vocabulary or len(layer.weight) or layer.out_features,
            layer=layer if isinstance(layer, (Int8Linear, PackedLinear)) else None,
        )

    def logits(self, hidden_RH: Tensor) -> Tensor:
        """Logits (R, V) in fp32; those of ids beyond the vocabulary are minus infinity."""
        if self.layer:
            logits_RV = self.layer(hidden_RH).float()
        else:
            logits_RV = torch.nn.functional.linear(hidden_RH, self.weight_VH, self.bias_V).float()
        if self.softcap:
            logits_RV = torch.tanh(logits_RV / self.softcap) * self.softcap
        if self.scale != 1.0:
            logits_RV = logits_RV * self.scale
        if self.vocabulary < logits_RV.shape[-1]:
            logits_RV[:, self.vocabulary :] = -torch.inf
        return logits_RV

    def chosen(self, hidden_RH: Tensor, ids_R: Tensor) -> Tensor:
        """The logit (R) of one id a row, in fp32, without those of the others."""
        logits_R = (hidden_RH.float() * self.weight_VH[ids_R].float()).sum(-1)
        if self.bias_V is not None:
            logits_R = logits_R + self.bias_V[ids_R].float()
        if self.softcap:
            logits_R = torch.tanh(logits_R / self.softcap) * self.softcap
        return logits_R * self.scale


def _whole(weight: Tensor) -> Tensor:
    """A weight, gathered where it is spread over several processes."""
    gather = getattr(weight, "full_tensor", None)
    return weight if gather is None else gather().detach().requires_grad_(weight.requires_grad)
