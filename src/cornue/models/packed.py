"""Runs the body of a causal model over several sequences laid end to end, without a single padded token.

Sequences of equal length lie side by side; every linear layer sees one long row, and attention, the one place where
sequences must not meet, runs once per length, each time on a plain causal block. The result is that of running each
sequence alone. It computes hidden states only, never logits, and it knows nothing of what is learnt from them.

Shapes: N tokens in all, B sequences of length L in a group, A attention heads, D their size, H hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from cornue.records.errors import BadInput
from cornue.records.words import words

NAME = "cornue_packed"


@dataclass(frozen=True)
class Packed:
    """Sequences laid end to end.

    Args:
        ids_N: token ids.
        positions_N: position of each token in its own sequence.
        groups: (how many sequences, their length) in the order in which they lie.
        order: index of each sequence in the list that was packed.
        starts: where each sequence begins, in that order.
    """

    ids_N: Tensor
    positions_N: Tensor
    groups: tuple[tuple[int, int], ...]
    order: tuple[int, ...]
    starts: tuple[int, ...]


def pack(sequences: Sequence[Sequence[int]], device: torch.device | str = "cpu") -> Packed:
    """Lay sequences end to end, shortest first, those of equal length in their given order."""
    order = sorted(range(len(sequences)), key=lambda index: len(sequences[index]))
    lengths = [len(sequences[index]) for index in order]
    starts = [0]
    for length in lengths[:-1]:
        starts.append(starts[-1] + length)
    return Packed(
        ids_N=torch.tensor([token for index in order for token in sequences[index]], dtype=torch.long, device=device),
        positions_N=torch.cat([torch.arange(length, device=device) for length in lengths]),
        groups=tuple((len(list(same)), length) for length, same in groupby(lengths)),
        order=tuple(order),
        starts=tuple(starts),
    )


def hidden_states(model: Any, packed: Packed, pairs: list[tuple[Tensor, Tensor]] | None = None) -> Tensor:
    """Last hidden states after the final norm, (N, H), of a transformers causal model.

    Args:
        pairs: gets the keys and values of each layer, (1, A, N, D) both, where a sampler goes on from them.

    Raises:
        BadInput: the model's attention caps its scores, or sees less than a whole sequence.
    """
    output = use_attention(model, NAME)(
        input_ids=packed.ids_N[None],
        position_ids=packed.positions_N[None],
        use_cache=False,
        groups=packed.groups,
        pairs=pairs,
    )
    hidden_NH: Tensor = output.last_hidden_state[0]
    return hidden_NH


def use_attention(model: Any, name: str) -> Any:
    """The body of a model, set to an attention that is registered under a name."""
    body = model.get_decoder()
    if body.config._attn_implementation != name:
        body.set_attn_implementation(name)
    return body


def _attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    groups: tuple[tuple[int, int], ...] = (),
    pairs: list[tuple[Tensor, Tensor]] | None = None,
    **facts: Any,
) -> tuple[Tensor, None]:
    """Causal attention within each sequence; query, key and value are (1, A, N, D)."""
    window = facts.get("sliding_window") or 0
    if facts.get("softcap") or (window and window < max(length for _, length in groups)):
        raise BadInput(
            words(
                en=f"{type(module).__name__} caps its scores, or looks back over {window} tokens only",
                fr=f"{type(module).__name__} borne ses scores, ou ne regarde que {window} jetons en arrière",
            ),
            words(
                en="take a model with plain causal attention, or shorter texts",
                fr="prenez un modèle à attention causale simple, ou des textes plus courts",
            ),
        )
    if pairs is not None:
        pairs.append((key, value))
    sizes = [count * length for count, length in groups]
    grouped, dtype, parts = query.shape[1] != key.shape[1], query.dtype, []
    if query.device.type == "cpu" and dtype.itemsize < 4:
        # The gradient of short sequences takes three times as long in bf16, half of a step.
        query, key, value = query.float(), key.float(), value.float()
    # Splitting, unlike slicing, joins all gradients in one pass.
    for (count, length), *block in zip(
        groups, *(torch.split(tensor[0].transpose(0, 1), sizes) for tensor in (query, key, value)), strict=True
    ):
        q_BALD, k_BALD, v_BALD = (part.unflatten(0, (count, length)).transpose(1, 2) for part in block)
        out_BALD = scaled_dot_product_attention(
            q_BALD, k_BALD, v_BALD, is_causal=True, scale=scaling, enable_gqa=grouped
        )
        parts.append(out_BALD.transpose(1, 2).flatten(0, 1))
    return torch.cat(parts)[None].to(dtype), None


AttentionInterface.register(NAME, _attend)
