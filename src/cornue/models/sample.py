"""Lets a model write: many prompts at once, each in a slot of a cache that is allocated once.

A slot whose text is finished takes the next prompt, so no slot waits for the longest text of a batch; prompts that are
asked several times are read once, and so is a long beginning that all prompts share. Each text has its own seed and
depends on nothing but its own probabilities, whatever shares the batch with it (up to rounding). It returns token ids,
with the log-probability of each; text, templates and verdicts are the caller's.

Shapes: S slots in use, A attention heads, G of them that carry keys, X queries for each of those, D head size,
P tokens of the shared beginning, L longest text after it so far, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from os.path import commonprefix
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from transformers import AttentionInterface

from cornue.models.head import Head
from cornue.models.packed import hidden_states, pack, use_attention
from cornue.models.prepacked import prepacked

NAME = "cornue_slots"
WORTH_SHARING = 64
DRAWN_BLOCK = 256


@dataclass(frozen=True)
class Written:
    """A text that the model wrote.

    Args:
        ids: its tokens, with the token that ended it.
        logprobs: natural log-probability of each under the distribution that it was drawn from; that of the untempered
            distribution where the text is greedy.
        finish: ``stop`` if a stop token ended it, ``length`` if it was cut.
    """

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish: Literal["stop", "length"]


@dataclass(eq=False)
class _Slot:
    """A text that is being written; what is left of its prompt is read token by token, beside the others' writing."""

    request: int
    length: int
    draws: np.ndarray[Any, np.dtype[np.float64]]
    unread: list[int] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)


class _Cache:
    """Keys and values of all layers, one row per slot; ``use`` says which rows and positions a step writes."""

    def __init__(self, config: Any, slots: int, length: int, like: Tensor) -> None:
        heads, size = config.num_key_value_heads, getattr(config, "head_dim", None)
        size = size or config.hidden_size // config.num_attention_heads
        shape = (config.num_hidden_layers, slots, heads, length, size)
        self.keys, self.values = (torch.zeros(shape, dtype=like.dtype, device=like.device) for _ in range(2))
        self.shared: list[tuple[Tensor, Tensor]] = []
        self.shared_length = 0

    def share(self, model: Any, prefix: Sequence[int]) -> None:
        """Read the beginning that all texts share; its keys and values, (G, P, D), are held once."""
        pairs: list[tuple[Tensor, Tensor]] = []
        hidden_states(model, pack([prefix], self.keys.device), pairs)
        self.shared = [(key[0].clone(), value[0].clone()) for key, value in pairs]
        self.shared_length = len(prefix)

    def fill(self, slot: int, pairs: Sequence[tuple[Tensor, Tensor]], tokens: slice) -> None:
        """Put the keys and values of a text that was read, (1, G, N, D) per layer, in a slot."""
        length = tokens.stop - tokens.start
        for layer, (key, value) in enumerate(pairs):
            self.keys[layer, slot, :, :length] = key[0, :, tokens]
            self.values[layer, slot, :, :length] = value[0, :, tokens]

    def move(self, source: int, target: int, length: int) -> None:
        """Copy one slot over another."""
        for store in (self.keys, self.values):
            store[:, target, :, :length] = store[:, source, :, :length]


@torch.inference_mode()
def generate(
    model: Any,
    prompts: Sequence[Sequence[int]],
    *,
    stop: Collection[int],
    max_tokens: int,
    temperature: float = 0.0,
    seeds: Sequence[int] = (),
    slots: int = 32,
    cache_bytes: int = 1 << 30,
    on_written: Callable[[int, Written], None] | None = None,
) -> list[Written]:
    """Let a transformers causal model answer prompts.

    Args:
        prompts: token ids of each; equal ones that stand side by side are read once.
        stop: token ids that end a text.
        max_tokens: longest text.
        temperature: 0 is greedy.
        seeds: one per prompt; needed unless greedy.
        slots: texts written at once.
        cache_bytes: most memory of the cache; fewer slots are used if it would take more.
        on_written: called with the index and the text of each prompt as it is finished.
    """
    if temperature and len(seeds) != len(prompts):
        raise ValueError(f"{len(seeds)} seeds for {len(prompts)} prompts")
    if not prompts:
        return []
    body, prefix = model.get_decoder(), _shared(prompts)
    longest = max(map(len, prompts)) - len(prefix) + max_tokens
    like = body.get_input_embeddings().weight[:0]
    one = _Cache(body.config, 1, longest, like)
    slots = max(1, min(slots, len(prompts), cache_bytes // (2 * one.keys.nbytes)))
    cache = _Cache(body.config, slots, longest, like)
    written: list[Written | None] = [None] * len(prompts)
    queue = list(range(len(prompts)))[::-1]
    active: list[_Slot] = []

    def extend(chosen: Sequence[_Slot], hidden_SH: Tensor) -> None:
        """Add a token to each text, and hand over those that are finished."""
        ids, logprobs = _choose(head.logits(hidden_SH), chosen, temperature)
        for slot, token, logprob in zip(chosen, ids, logprobs, strict=True):
            slot.ids.append(token)
            slot.logprobs.append(logprob)
            if token in stop or len(slot.ids) == max_tokens:
                text = Written(tuple(slot.ids), tuple(slot.logprobs), "stop" if token in stop else "length")
                written[slot.request] = text
                if on_written:
                    on_written(slot.request, text)

    with prepacked(model):
        head = Head.of(model)
        if prefix:
            cache.share(model, prefix)
        while active or queue:
            free = slots - len(active)
            if queue and (not active or free >= max(1, slots // 8)):
                chosen = [queue.pop() for _ in range(min(free, len(queue)))]
                if prefix:
                    fresh = [_Slot(place, 0, np.empty(0), list(prompts[place][len(prefix) :])) for place in chosen]
                else:
                    fresh, hidden_SH = _read(model, cache, prompts, chosen, len(active))
                for slot in fresh if temperature else ():
                    slot.draws = np.random.Generator(np.random.Philox(seeds[slot.request])).random(max_tokens)
                active += fresh
                if not prefix:
                    extend(fresh, hidden_SH)
            else:
                hidden_SH = _advance(model, cache, active)
                ready = [place for place, slot in enumerate(active) if not slot.unread]
                if ready:
                    extend([active[place] for place in ready], hidden_SH[ready])
            active = _close_ranks(cache, active, written)
    return [text for text in written if text is not None]


def _shared(prompts: Sequence[Sequence[int]]) -> Sequence[int]:
    """The beginning that all prompts share, if it is long enough to be worth holding apart; never a whole prompt."""
    prefix: Sequence[int] = commonprefix([list(prompt) for prompt in prompts])
    prefix = prefix[: min(map(len, prompts)) - 1]
    return prefix if len(prompts) > 1 and len(prefix) >= WORTH_SHARING else []


def _read(
    model: Any, cache: _Cache, prompts: Sequence[Sequence[int]], chosen: Sequence[int], first: int
) -> tuple[list[_Slot], Tensor]:
    """Read prompts into the slots from ``first`` on; returns the slots and the hidden state after each prompt."""
    different = list(dict.fromkeys(tuple(prompts[request]) for request in chosen))
    packed = pack(different, cache.keys.device)
    pairs: list[tuple[Tensor, Tensor]] = []
    hidden_NH = hidden_states(model, packed, pairs)
    starts = {different[index]: start for index, start in zip(packed.order, packed.starts, strict=True)}
    slots, last = [], []
    for place, request in enumerate(chosen, start=first):
        prompt = tuple(prompts[request])
        tokens = slice(starts[prompt], starts[prompt] + len(prompt))
        cache.fill(place, pairs, tokens)
        slots.append(_Slot(request, len(prompt), np.empty(0)))
        last.append(tokens.stop - 1)
    return slots, hidden_NH[last]


def _advance(model: Any, cache: _Cache, active: Sequence[_Slot]) -> Tensor:
    """Read the next token of each text, its newest or one of its prompt; returns the hidden state after it, (S, H)."""
    device = cache.keys.device
    positions_S = torch.tensor([slot.length for slot in active], device=device)
    ids_S = torch.tensor([slot.unread.pop(0) if slot.unread else slot.ids[-1] for slot in active], device=device)
    for slot in active:
        slot.length += 1
    reach = max(slot.length for slot in active)
    seen_SL = torch.arange(reach, device=device) <= positions_S[:, None]
    body = use_attention(model, NAME)
    output = body(
        input_ids=ids_S[None],
        position_ids=positions_S[None] + cache.shared_length,
        use_cache=False,
        slots=(cache, torch.arange(len(active), device=device), positions_S, seen_SL[:, None, None]),
    )
    hidden_SH: Tensor = output.last_hidden_state[0]
    return hidden_SH


def _attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    slots: tuple[_Cache, Tensor, Tensor, Tensor] | None = None,
    **facts: Any,
) -> tuple[Tensor, None]:
    """One new token per slot, (1, A, S, D), attends to all of its slot; heads that share keys go as one block.

    The shared beginning is read once for all slots. Written out, as torch's own is slower for single tokens on CPUs.
    """
    if slots is None:
        raise ValueError("the cache is missing")
    cache, rows_S, positions_S, seen = slots
    keys, values = cache.keys[module.layer_idx], cache.values[module.layer_idx]
    keys[rows_S, :, positions_S] = key[0].transpose(0, 1)
    values[rows_S, :, positions_S] = value[0].transpose(0, 1)
    count, reach = len(rows_S), seen.shape[-1]
    query_SGXD = query[0].transpose(0, 1).reshape(count, keys.shape[1], -1, query.shape[-1])
    query_SGXD = query_SGXD * (scaling or query.shape[-1] ** -0.5)
    scores = (query_SGXD @ keys[:count, :, :reach].transpose(-1, -2)).masked_fill_(~seen, float("-inf"))
    if not cache.shared:
        return (scores.softmax(-1) @ values[:count, :, :reach]).flatten(1, 2)[None], None
    keys_GPD, values_GPD = cache.shared[module.layer_idx]
    scores_before = torch.einsum("sgxd,gpd->sgxp", query_SGXD, keys_GPD)
    weights = torch.cat([scores_before, scores], -1).softmax(-1)
    before, own = torch.split(weights, [keys_GPD.shape[1], reach], -1)
    out_SGXD = torch.einsum("sgxp,gpd->sgxd", before, values_GPD) + own @ values[:count, :, :reach]
    return out_SGXD.flatten(1, 2)[None], None


def _choose(logits_SV: Tensor, slots: Sequence[_Slot], temperature: float) -> tuple[list[int], list[float]]:
    """A token for each row and its log-probability."""
    logprobs_SV = torch.log_softmax(logits_SV / temperature if temperature else logits_SV, dim=-1)
    if temperature:
        drawn_S = torch.tensor([slot.draws[len(slot.ids)] for slot in slots], device=logits_SV.device)
        ids_S = draw(logprobs_SV.exp(), drawn_S)
    else:
        ids_S = logprobs_SV.argmax(-1)
    return ids_S.tolist(), logprobs_SV.gather(-1, ids_S[:, None])[:, 0].tolist()


def draw(probs_SV: Tensor, drawn_S: Tensor) -> Tensor:
    """The id (S) that each uniform number in [0, 1) falls on: first which block of ids, then which id of the block.

    Sums are in fp64, but only those of the blocks and of the one block that was hit are ever formed.
    """
    rows, vocabulary = probs_SV.shape
    blocks_SBK = torch.nn.functional.pad(probs_SV, (0, -vocabulary % DRAWN_BLOCK)).view(rows, -1, DRAWN_BLOCK)
    reached_SB = blocks_SBK.sum(-1, dtype=torch.float64).cumsum(-1)
    aim_S1 = drawn_S.double()[:, None] * reached_SB[:, -1:]
    block_S1 = torch.searchsorted(reached_SB, aim_S1, right=True).clamp_(max=reached_SB.shape[1] - 1)
    hit_SK = blocks_SBK[torch.arange(rows, device=probs_SV.device), block_S1[:, 0]].double()
    before_S1 = reached_SB.gather(1, block_S1) - hit_SK.sum(-1, keepdim=True)
    within_S1 = torch.searchsorted(before_S1 + hit_SK.cumsum(-1), aim_S1, right=True).clamp_(max=DRAWN_BLOCK - 1)
    return (block_S1 * DRAWN_BLOCK + within_S1)[:, 0].clamp_(max=vocabulary - 1)


def _close_ranks(cache: _Cache, active: list[_Slot], written: Sequence[Written | None]) -> list[_Slot]:
    """Drop finished texts and move the last ones into the gaps, so that slots in use lie side by side."""
    active, place = list(active), 0
    while place < len(active):
        if written[active[place].request]:
            last = active.pop()
            if place < len(active):
                active[place] = last
                cache.move(len(active), place, last.length)
            continue
        place += 1
    return active


AttentionInterface.register(NAME, _attend)
