"""Reduces a teacher's distributions to a few entries a token, beside the matrix product that makes them.

Given texts are run through a transformers model; from its hidden states the logits of a few hundred rows at a time are
formed, reduced and thrown away, so no (tokens × vocabulary) tensor is kept and no Python runs per token. This is the
one file of the room that needs torch. It writes nothing.

Sampled rows are drawn systematically: one uniform number shifts a comb of n equal steps over the cumulated
distribution. Every id is then drawn n·p times on average, rounded up or down, so counts over n are unbiased for each
probability, as with independent draws (Random Sampling KD, arXiv 2503.16870), with much less noise.

Shapes: R rows, V vocabulary, H hidden size, B blocks of S ids, n draws.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from cornue.capture.fidelity import REPLICATES, Floats, measure
from cornue.capture.packing import Rows, Shape, log_codes
from cornue.capture.teacher import Scorer, Text
from cornue.models.head import Head
from cornue.models.int8 import Int8Linear
from cornue.models.load import load_model, load_tokenizer
from cornue.models.packed import hidden_states, pack, use_attention

BLOCK = 128
BATCH_TOKENS = 2048
CELLS = 1 << 24
COMMON_LEAST = 64


class DenseScorer(Scorer):
    """A model with dense weights that scores given texts.

    Args:
        model: a transformers causal model in evaluation mode.
        tokenizer: its tokenizer; the head's rows beyond its entries get no mass.
        weights: digest of the file or folder that the model was read from.
        temperature: divides the logits before anything else is done with them.
    """

    def __init__(self, model: Any, tokenizer: Any, weights: str = "", temperature: float = 1.0) -> None:
        self._model, self._tokenizer, self._weights = model, tokenizer, weights
        self._temperature = temperature
        self._head = Head.of(model, len(tokenizer))
        self._rows = max(1, CELLS // self._head.vocabulary)

    def identity(self) -> dict[str, Any]:
        """See ``Scorer``."""
        rounded = isinstance(self._head.layer, Int8Linear)
        return {
            "weights": self._weights,
            "arithmetic": "int8" if rounded else str(self._model.dtype).removeprefix("torch."),
            "engine": {"name": "transformers", "version": version("transformers"), "torch": version("torch")},
            "temperature": self._temperature,
        }

    @property
    def tokens(self) -> Sequence[str]:
        """See ``Scorer``."""
        names: list[str] = self._tokenizer.convert_ids_to_tokens(range(len(self._tokenizer)))
        return names

    def logits(self, hidden_RH: Tensor) -> Tensor:
        """Logits (R, V) in fp32 over the temperature."""
        logits_RV = self._head.logits(hidden_RH)
        return logits_RV if self._temperature == 1.0 else logits_RV.div_(self._temperature)

    @torch.inference_mode()
    def whole(self, texts: Sequence[Text]) -> Iterator[tuple[int, slice, NDArray[np.float32]]]:
        """See ``Scorer``."""
        for place, part, p_RV in self._whole(texts):
            yield place, part, p_RV.cpu().numpy()

    @torch.inference_mode()
    def errors(self, texts: Sequence[Text], shape: Shape) -> Iterator[Floats]:
        """See ``Scorer``."""
        times = REPLICATES if shape.form == "sampled" else 1
        for place, part, p_RV in self._whole(texts):
            seeds = [texts[place].seed + part.start + 7919 * (time + 1) for time in range(times)]
            replicates = [reduce_rows(p_RV.log(), shape, uniforms(seed, len(p_RV))) for seed in seeds]
            yield measure(p_RV.cpu().numpy(), replicates, shape)

    def _whole(self, texts: Sequence[Text]) -> Iterator[tuple[int, slice, Tensor]]:
        for place, hidden_LH in self._hidden(texts):
            for first in range(0, len(hidden_LH), self._rows):
                part = slice(first, min(first + self._rows, len(hidden_LH)))
                logits_RV = self.logits(hidden_LH[part])
                yield place, part, torch.softmax(logits_RV, dim=-1, out=logits_RV)

    @torch.inference_mode()
    def score(self, texts: Sequence[Text], shape: Shape) -> Iterator[tuple[int, Rows]]:
        """The reduced rows of each text, with its place among the texts, in any order.

        The draws depend on a text's seed, never on its neighbours.
        """
        waiting: list[tuple[int, Tensor]] = []
        for place, hidden_LH in self._hidden(texts):
            waiting.append((place, hidden_LH))
            if sum(len(hidden) for _, hidden in waiting) >= self._rows:
                yield from self._reduce(waiting, texts, shape)
                waiting = []
        yield from self._reduce(waiting, texts, shape)

    def _reduce(
        self, waiting: Sequence[tuple[int, Tensor]], texts: Sequence[Text], shape: Shape
    ) -> Iterator[tuple[int, Rows]]:
        """Reduce the hidden states of several texts, as many rows at a time as the logits' memory allows."""
        if not waiting:
            return
        hidden_RH = torch.cat([hidden for _, hidden in waiting])
        uniforms_R = np.concatenate([uniforms(texts[place].seed, len(hidden)) for place, hidden in waiting])
        parts = []
        for first in range(0, len(hidden_RH), self._rows):
            part = slice(first, first + self._rows)
            parts.append(reduce_rows(self.logits(hidden_RH[part]), shape, uniforms_R[part]))
        whole = join_rows(parts)
        first = 0
        for place, hidden in waiting:
            yield place, part_of_rows(whole, first, first + len(hidden))
            first += len(hidden)

    def _hidden(self, texts: Sequence[Text]) -> Iterator[tuple[int, Tensor]]:
        """Hidden states (L, H) from which the completion tokens of each text are predicted."""
        common = _common_beginning([text.prompt for text in texts])
        device = self._head.weight_VH.device
        order = sorted(range(len(texts)), key=lambda place: len(texts[place].prompt) + len(texts[place].completion))
        order = [place for place in order if texts[place].completion]
        if common >= COMMON_LEAST:
            yield from _after_common(self._model, texts, order, common, device)
            return
        for batch in _batches(texts, order, 0):
            packed = pack([_ids(texts[place]) for place in batch], device)
            hidden_NH = hidden_states(self._model, packed)
            for inside, start in zip(packed.order, packed.starts, strict=True):
                text = texts[batch[inside]]
                first = start + len(text.prompt) - 1
                yield batch[inside], hidden_NH[first : first + len(text.completion)]


def load_scorer(path: Path, weights: str, temperature: float) -> DenseScorer:
    """The dequantised weights of a GGUF file, or a folder of safetensors, as a scorer.

    Raises:
        BadInput: there is no model that can be read.
    """
    return DenseScorer(load_model(path), load_tokenizer(path), weights, temperature)


def uniforms(seed: int, count: int) -> NDArray[np.float64]:
    """Uniform numbers between 0 and 1, neither included, that depend on the seed only."""
    return (np.random.Generator(np.random.Philox(seed)).integers(0, 1 << 32, count) + 0.5) / (1 << 32)


def reduce_rows(logits_RV: Tensor, shape: Shape, uniforms_R: NDArray[np.float64]) -> Rows:
    """Logits reduced to the form that is wanted; they are overwritten."""
    if shape.form == "sampled":
        # A second matrix of this size would cost more time in fresh memory than the softmax itself.
        return draw(torch.softmax(logits_RV, dim=-1, out=logits_RV), shape.width, uniforms_R)
    return top(logits_RV, shape.width)


def draw(probabilities_RV: Tensor, draws: int, uniforms_R: NDArray[np.float64]) -> Rows:
    """Systematic draws from each row: E[count of an id] is exactly ``draws`` times its probability.

    Blocks of the vocabulary are cumulated in fp64 first, ids only within blocks that are hit, so that the smallest
    probabilities are not lost in rounding and one pass over the row is enough.
    """
    count_R, vocabulary = probabilities_RV.shape
    device = probabilities_RV.device
    if vocabulary % BLOCK:
        probabilities_RV = functional.pad(probabilities_RV, (0, BLOCK - vocabulary % BLOCK))
    cells_RBS = probabilities_RV.view(count_R, -1, BLOCK)
    blocks = cells_RBS.shape[1]
    mass_RB = cells_RBS.sum(-1).double()
    ends_RB = mass_RB.cumsum(1)
    comb_Rn = torch.arange(draws, device=device) + torch.from_numpy(uniforms_R).to(device)[:, None]
    comb_Rn = comb_Rn / draws * ends_RB[:, -1:]
    hit_Rn = torch.searchsorted(ends_RB, comb_Rn, right=True).clamp_(max=blocks - 1)
    into_Rn = comb_Rn - (ends_RB - mass_RB).gather(1, hit_Rn)
    into_Rn = (into_Rn / mass_RB.gather(1, hit_Rn)).clamp_(0.0, 1 - 1e-9)
    which = (hit_Rn + torch.arange(count_R, device=device)[:, None] * blocks).flatten()
    used_U, place = torch.unique_consecutive(which, return_inverse=True)
    inside_US = cells_RBS.reshape(-1, BLOCK)[used_U].double().cumsum(1)
    inside_US /= inside_US[:, -1:].clone()
    ladder = (inside_US + torch.arange(len(used_U), device=device)[:, None]).flatten()
    cell = torch.searchsorted(ladder, into_Rn.flatten() + place, right=True) - place * BLOCK
    drawn = used_U[place] * BLOCK + cell.clamp_(max=BLOCK - 1)
    entries, times = torch.unique_consecutive(drawn, return_counts=True)
    row = torch.div(entries, blocks * BLOCK, rounding_mode="floor")
    sizes = torch.bincount(row, minlength=count_R).cpu().numpy()
    ids = (entries - row * blocks * BLOCK).cpu().numpy()
    return Rows(_splits(sizes), ids, times.cpu().numpy(), np.zeros(0, dtype=np.int64))


def top(logits_RV: Tensor, entries: int) -> Rows:
    """The likeliest ids of each row with their log-probabilities, and the log-mass of all the others."""
    log_sum_R = torch.logsumexp(logits_RV, dim=-1)
    values_Rm, ids_Rm = logits_RV.topk(min(entries, logits_RV.shape[1]), dim=-1)
    logs_Rm = (values_Rm - log_sum_R[:, None]).double()
    kept_R = logs_Rm.exp().sum(-1).clamp(max=1.0)
    ids_Rm, order = ids_Rm.sort(dim=-1)
    logs_Rm = logs_Rm.gather(1, order)
    count, width = ids_Rm.shape
    return Rows(
        np.arange(0, count * width + 1, width),
        ids_Rm.flatten().cpu().numpy(),
        log_codes(logs_Rm.flatten().cpu().numpy()),
        log_codes(torch.log1p(-kept_R).cpu().numpy()),
    )


def join_rows(parts: Sequence[Rows]) -> Rows:
    """Rows one after the other."""
    sizes = np.concatenate([np.diff(part.splits) for part in parts])
    columns = [np.concatenate([getattr(part, name) for part in parts]) for name in ("ids", "codes", "tails")]
    return Rows(_splits(sizes), *columns)


def part_of_rows(rows: Rows, first: int, last: int) -> Rows:
    """The rows from ``first`` up to, not including, ``last``."""
    begin, end = int(rows.splits[first]), int(rows.splits[last])
    splits = rows.splits[first : last + 1] - begin
    return Rows(splits, rows.ids[begin:end], rows.codes[begin:end], rows.tails[first:last])


def _splits(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


def _ids(text: Text) -> tuple[int, ...]:
    # What follows the last token is not asked for.
    return (*text.prompt, *text.completion[:-1])


def _batches(texts: Sequence[Text], order: Sequence[int], common: int) -> Iterator[list[int]]:
    """Places of texts, neighbours in the order, up to so many tokens a batch."""
    batch: list[int] = []
    tokens = 0
    for place in order:
        length = len(texts[place].prompt) + len(texts[place].completion) - 1 - common
        if batch and tokens + length > BATCH_TOKENS:
            yield batch
            batch, tokens = [], 0
        batch.append(place)
        tokens += length
    if batch:
        yield batch


def _common_beginning(prompts: Sequence[tuple[int, ...]]) -> int:
    """How many ids all prompts begin with; at least one id of each prompt is left over."""
    if len(prompts) < 2:
        return 0
    shortest, longest = min(prompts), max(prompts)
    same = 0
    while same < min(len(shortest), len(longest)) and shortest[same] == longest[same]:
        same += 1
    return max(0, min(same, min(len(prompt) for prompt in prompts) - 1))


def _after_common(
    model: Any, texts: Sequence[Text], order: Sequence[int], common: int, device: torch.device
) -> Iterator[tuple[int, Tensor]]:
    """Hidden states of texts that begin alike: the beginning is run once and remembered."""
    from transformers import DynamicCache

    body = use_attention(model, "sdpa")
    beginning = torch.tensor([texts[0].prompt[:common]], device=device)
    memory = DynamicCache(config=body.config)
    body(input_ids=beginning, past_key_values=memory, use_cache=True)
    for batch in _batches(texts, order, common):
        rests = [_ids(texts[place])[common:] for place in batch]
        longest = max(len(rest) for rest in rests)
        # Padding stands to the right, where causal attention never looks back from.
        ids_BT = torch.tensor([list(rest) + [0] * (longest - len(rest)) for rest in rests], device=device)
        copy = _copied(memory, body.config, len(batch))
        hidden_BTH = body(input_ids=ids_BT, past_key_values=copy, use_cache=True).last_hidden_state
        for inside, place in enumerate(batch):
            text = texts[place]
            first = len(text.prompt) - common - 1
            yield place, hidden_BTH[inside, first : first + len(text.completion)]


def _copied(memory: Any, config: Any, times: int) -> Any:
    """A cache with the same beginning for so many texts, to be written on and thrown away."""
    from transformers import DynamicCache

    copy = DynamicCache(config=config)
    for number, layer in enumerate(memory.layers):
        keys, values = (tensor.expand(times, -1, -1, -1) for tensor in (layer.keys, layer.values))
        copy.update(keys, values, number)
    return copy
