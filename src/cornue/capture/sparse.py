"""Reduces a teacher's distributions to a few entries a token, beside the matrix product that makes them.

Given texts are run through a transformers model; from its hidden states the logits of a few hundred rows at a time are
formed, reduced and thrown away, so no (tokens × vocabulary) tensor is kept and no Python runs per token. This is the
one file of the room that needs torch. It writes nothing.

Sampled rows are drawn systematically, each id along the texts: what is expected of it, n·p, adds up from row to row
after a random beginning, and each whole number that is passed is a draw. Counts over n are unbiased for each
probability, as with independent draws (Random Sampling KD, arXiv 2503.16870), with much less noise: over any stretch of
rows an id is drawn as often as expected, give or take one. A row's counts add up to n on average only.

Shapes: R rows, V vocabulary, H hidden size, U ids that are drawn in some row, n draws.
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

from cornue.capture.fidelity import REPLICATES, Floats, measure
from cornue.capture.packing import Rows, Shape, log_codes
from cornue.capture.teacher import Scorer, Text
from cornue.models.head import Head
from cornue.models.int8 import Int8Linear
from cornue.models.load import load_model, load_tokenizer
from cornue.models.packed import hidden_states, pack, use_attention

BATCH_TOKENS = 2048
# In more rows at a time more ids are drawn, each of which is then looked at in every row.
DRAWN_ROWS = 64
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
        combs = [self._comb(time) for time in range(times)]
        for _, _, p_RV in self._whole(texts):
            replicates = [reduce_rows(p_RV.log(), shape, comb_V) for comb_V in combs]
            yield measure(p_RV.cpu().numpy(), replicates, shape)

    def _whole(self, texts: Sequence[Text]) -> Iterator[tuple[int, slice, Tensor]]:
        for place, hidden_LH in self._hidden(texts):
            for first in range(0, len(hidden_LH), self._rows):
                part = slice(first, min(first + self._rows, len(hidden_LH)))
                logits_RV = self.logits(hidden_LH[part])
                yield place, part, torch.softmax(logits_RV, dim=-1, out=logits_RV)

    @torch.inference_mode()
    def score(self, texts: Sequence[Text], shape: Shape, seed: int = 0) -> Iterator[tuple[int, Rows]]:
        """See ``Scorer``."""
        comb_V = self._comb(seed)
        waiting: list[tuple[int, Tensor]] = []
        for place, hidden_LH in self._hidden(texts):
            waiting.append((place, hidden_LH))
            if sum(len(hidden) for _, hidden in waiting) >= self._rows:
                yield from self._reduce(waiting, shape, comb_V)
                waiting = []
        yield from self._reduce(waiting, shape, comb_V)

    def _comb(self, seed: int) -> Tensor:
        return comb(seed, self._head.vocabulary, self._head.weight_VH.device)

    def _reduce(
        self, waiting: Sequence[tuple[int, Tensor]], shape: Shape, comb_V: Tensor
    ) -> Iterator[tuple[int, Rows]]:
        """Reduce the hidden states of several texts, as many rows at a time as the logits' memory allows."""
        if not waiting:
            return
        hidden_RH = torch.cat([hidden for _, hidden in waiting])
        parts = [slice(first, first + self._rows) for first in range(0, len(hidden_RH), self._rows)]
        whole = join_rows([reduce_rows(self.logits(hidden_RH[part]), shape, comb_V) for part in parts])
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


def comb(seed: int, vocabulary: int, device: torch.device | None = None) -> Tensor:
    """Where the draws of each id begin (V), in fp64: uniform numbers from 0 to 1 that depend on the seed only."""
    return torch.tensor(np.random.Generator(np.random.Philox(seed)).random(vocabulary), device=device)


def reduce_rows(logits_RV: Tensor, shape: Shape, comb_V: Tensor) -> Rows:
    """Logits reduced to the form that is wanted; they are overwritten, and the comb is moved on."""
    if shape.form == "sampled":
        # A second matrix of this size would cost more time in fresh memory than the softmax itself.
        return draw(torch.softmax(logits_RV, dim=-1, out=logits_RV), shape.width, comb_V)
    return top(logits_RV, shape.width)


def draw(probabilities_RV: Tensor, draws: int, comb_V: Tensor) -> Rows:
    """Draws from each row: E[count of an id] is exactly ``draws`` times its probability.

    Args:
        comb_V: how far each id has come towards its next draw, from 0 to 1: a ``comb`` before the first rows, moved on
            in place for those that follow. Ids beyond it have no mass.
    """
    parts = [slice(first, first + DRAWN_ROWS) for first in range(0, len(probabilities_RV), DRAWN_ROWS)]
    return join_rows([_draw(probabilities_RV[part, : len(comb_V)], draws, comb_V) for part in parts])


def _draw(probabilities_RV: Tensor, draws: int, comb_V: Tensor) -> Rows:
    """A product finds the few ids that can be drawn in these rows at all; only they are added up row by row."""
    ends_V = comb_V + probabilities_RV.new_full((len(probabilities_RV),), draws) @ probabilities_RV
    ids_U = (ends_V >= 1).nonzero()[:, 0]
    passed_RU = (probabilities_RV[:, ids_U].double() * draws).cumsum(0).add_(comb_V[ids_U])
    ends_V[ids_U] = passed_RU[-1].frac()
    comb_V.copy_(ends_V)
    counts_RU = passed_RU.floor().diff(dim=0, prepend=torch.zeros_like(passed_RU[:1])).long().cpu().numpy()
    row_E, column_E = counts_RU.nonzero()
    splits = _splits(np.bincount(row_E, minlength=len(counts_RU)))
    return Rows(splits, ids_U.cpu().numpy()[column_E], counts_RU[row_E, column_E], np.zeros(0, dtype=np.int64))


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
