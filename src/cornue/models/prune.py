"""Takes layers out of a model, those first whose absence costs least on a job's own answers.

Importance is measured, not guessed from place: each layer that is left is tried out, the cheapest one goes, and the
rest is measured again. A pruned model has forgotten something and must be trained. Width is not touched.

The idea of leaving out blocks by measured effect: Men et al., "ShortGPT", arXiv 2403.03853 (there by similarity of
hidden states, here by loss).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from cornue.models.head import Head
from cornue.models.load import parameters_of
from cornue.models.packed import Packed, hidden_states, pack, use_attention
from cornue.records.errors import BadInput
from cornue.records.words import words

# Rows whose logits are held at once.
ROWS = 1024


@dataclass(frozen=True)
class Pruned:
    """What pruning did.

    Args:
        kept: the old numbers of the layers that are left, from 0.
        loss_before: mean negative log-likelihood of a token of the answers, in nats.
        loss_after: the same without the layers that went.
        parameters_before: parameters, tied ones counted once.
        parameters_after: the same afterwards.
    """

    kept: tuple[int, ...]
    loss_before: float
    loss_after: float
    parameters_before: int
    parameters_after: int


def prune(model: PreTrainedModel, examples: Sequence[tuple[Sequence[int], Sequence[int]]], keep: int) -> Pruned:
    """Leaves ``keep`` layers in a model, in place.

    Args:
        examples: token ids of some of the job's prompts, and of their answers, which alone count; never held-out ones.
            The time is that of reading them once for every layer that is tried: a few hundred tokens are enough.
        keep: how many layers stay.

    Raises:
        BadInput: the model has not so many layers, or there is nothing to measure with.
    """
    body = model.get_decoder()
    layers = list(body.layers)
    if not 1 <= keep <= len(layers) or not examples:
        raise BadInput(
            words(
                en=f"{keep} layers cannot be kept of {len(layers)}, measured on {len(examples)} examples.",
                fr=f"On ne peut pas garder {keep} couches sur {len(layers)}, mesurées sur {len(examples)} exemples.",
            ),
            words(en="Change layers in [student].", fr="Changez layers dans [student]."),
        )
    parameters = parameters_of(model)
    kept = list(range(len(layers)))
    packed, attention = pack([[*prompt, *answer] for prompt, answer in examples]), body.config._attn_implementation
    answers = [range(len(prompt), len(prompt) + len(answer)) for prompt, answer in examples]
    starts = zip(packed.starts, packed.order, strict=True)
    told_R = torch.tensor([start + place for start, index in starts for place in answers[index]])
    before = after = _loss(model, packed, told_R)
    while len(kept) > keep:
        tried = []
        for number in kept:
            _set_layers(model, [layers[other] for other in kept if other != number])
            tried.append((_loss(model, packed, told_R), number))
        # Of two layers that cost the same the later one goes; the first ones shape what all others read.
        after, gone = min(tried, key=lambda entry: (entry[0], -entry[1]))
        kept.remove(gone)
    _set_layers(model, [layers[number] for number in kept])
    use_attention(model, attention)
    return Pruned(tuple(kept), before, after, parameters, parameters_of(model))


def _set_layers(model: PreTrainedModel, layers: Sequence[Any]) -> None:
    body = model.get_decoder()
    body.layers = nn.ModuleList(layers)
    body.config.num_hidden_layers = len(layers)
    for number, layer in enumerate(layers):
        # The cache of keys and values finds its place by this number.
        layer.self_attn.layer_idx = number
    if getattr(body.config, "layer_types", None):
        body.config.layer_types = body.config.layer_types[: len(layers)]


@torch.inference_mode()
def _loss(model: PreTrainedModel, packed: Packed, told_R: Tensor) -> float:
    """Mean negative log-likelihood of the tokens at ``told_R``, in nats."""
    hidden_RH, head = hidden_states(model, packed)[told_R - 1], Head.of(model)
    parts = zip(torch.split(hidden_RH, ROWS), torch.split(packed.ids_N[told_R], ROWS), strict=True)
    return sum(float(cross_entropy(head.logits(part), ids, reduction="sum")) for part, ids in parts) / len(told_R)
