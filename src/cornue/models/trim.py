"""Fits a vocabulary to a job: drops the entries that the job never uses, and adds entries that shorten its texts.

A small model spends much of its weights on a vocabulary for every topic, and cuts text of another language into
crumbs. ``trim`` keeps control tokens, all bytes, and every merge that takes part in cutting the job's texts: they are
cut exactly as before, and any other text can still be written, in smaller pieces. ``extend`` continues byte pair
encoding on the job's texts. Both return a ``Fitted``, which says for each new row of the embedding of which old rows it
is the mean; ``refit`` does that to a model. Training does the rest: the new rows are a beginning, not knowledge.

Method of ``extend``: Sennrich, Haddow and Birch, "Neural machine translation of rare words with subword units", 2016.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import BPE
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from cornue.models.load import parameters_of
from cornue.models.merges import Merges, learn_merges
from cornue.models.tokenizer import backend_of, rule_of, tokenizer_from_backend
from cornue.records.errors import CheckFailed
from cornue.records.words import words


@dataclass(frozen=True)
class Fitted:
    """A vocabulary made from another.

    Args:
        tokenizer: the new one.
        rows: for each new id, the old ids of whose rows the new row is the mean; a kept entry has one.
    """

    tokenizer: PreTrainedTokenizerBase
    rows: tuple[tuple[int, ...], ...] = field(repr=False)

    def new_ids(self) -> dict[int, int]:
        """The new id of each old one that was kept."""
        return {old[0]: new for new, old in enumerate(self.rows) if len(old) == 1}

    def then(self, later: Fitted) -> Fitted:
        """Both changes as one; ``later`` was made from this one's tokenizer."""
        rows = tuple(tuple(old for new in parts for old in self.rows[new]) for parts in later.rows)
        return Fitted(later.tokenizer, rows)


@dataclass(frozen=True)
class Saving:
    """What another vocabulary does to a model's size."""

    entries_before: int
    entries_after: int
    parameters_before: int
    parameters_after: int


def trim(tokenizer: PreTrainedTokenizerBase, texts: Iterable[str], *, keep_first: int = 0) -> Fitted:
    """The part of a vocabulary that a job needs.

    Args:
        texts: texts of the job, those of training and of register or documents alike; never held-out ones.
        keep_first: merges to keep from the head of the list in any case; they are the commonest of the language.

    Raises:
        BadInput: the tokenizer is not a byte-level BPE of a known kind.
        CheckFailed: a text would be cut otherwise than before.
    """
    texts, cutter = list(texts), _Cutter(tokenizer)
    pairs = cutter.merges.pairs
    used = set(pairs[:keep_first])
    for word in dict.fromkeys(word for text in texts for word in cutter.words(text)):
        used.update(cutter.merges.applied(word))
    kept_pairs = [pair for pair in pairs if pair in used]
    kept = set(cutter.added) | set(byte_letters()) | {left + right for left, right in kept_pairs}
    tokens = [token for token in cutter.tokens if token in kept]
    rows: list[tuple[int, ...]] = [(cutter.tokens[token],) for token in tokens]
    # Some vocabularies lack rare bytes and would lose characters; a new byte begins as the mean of all bytes.
    missing = [letter for letter in byte_letters() if letter not in cutter.tokens]
    rows += [tuple(cutter.tokens[letter] for letter in byte_letters() if letter in cutter.tokens)] * len(missing)
    fitted = Fitted(_rebuilt(tokenizer, [*tokens, *missing], kept_pairs), tuple(rows))
    _require_same_cut(tokenizer, fitted, texts)
    return fitted


def extend(
    tokenizer: PreTrainedTokenizerBase, groups: Mapping[str, Sequence[str]], *, most: int = 1000, weight: float = 3.0
) -> Fitted:
    """A vocabulary with more merges, learnt on a job's texts within the words into which the tokenizer cuts first.

    A word weighs the sum, over groups, of the share of the group's texts in which it occurs. What belongs to a form of
    question weighs one for each form; a place or name, which is another in each text, weighs next to nothing and stays
    spelt out, so that the student learns to copy it.

    Args:
        groups: texts by the question form or document type that they were made from.
        most: merges to add at most.
        weight: the least weight of a pair of pieces, summed over the words that hold it.

    Raises:
        BadInput: the tokenizer is not a byte-level BPE of a known kind.
    """
    cutter = _Cutter(tokenizer)
    weights: dict[str, int] = {}
    for texts in groups.values():
        for text in texts:
            for word in dict.fromkeys(cutter.words(text)):
                # Whole numbers add up to the same sum in any order.
                weights[word] = weights.get(word, 0) + WEIGHT_UNIT // len(texts)
    learnt = learn_merges(cutter.merges, weights, most=most, least=round(weight * WEIGHT_UNIT))
    rows: dict[str, tuple[int, ...]] = {token: (number,) for token, number in cutter.tokens.items()}
    for left, right in learnt:
        rows.setdefault(left + right, rows[left] + rows[right])
    return Fitted(_rebuilt(tokenizer, list(rows), [*cutter.merges.pairs, *learnt]), tuple(rows.values()))


def refit(model: PreTrainedModel, fitted: Fitted) -> Saving:
    """Gives a model the new vocabulary, in place: embedding, output, settings."""
    entries, parameters = model.get_input_embeddings().weight.shape[0], parameters_of(model)
    tied = model.config.tie_word_embeddings
    embedding = _mean_rows(model.get_input_embeddings().weight, fitted.rows)
    model.set_input_embeddings(_embedding_of(embedding))
    if not tied:
        head = nn.Linear(embedding.shape[1], len(fitted.rows), bias=False, dtype=embedding.dtype)
        head.weight = nn.Parameter(_mean_rows(model.get_output_embeddings().weight, fitted.rows))
        model.set_output_embeddings(head)
    model.config.vocab_size = len(fitted.rows)
    model.tie_weights()
    new_ids = fitted.new_ids()
    for settings in filter(None, (model.config, getattr(model, "generation_config", None))):
        for role in ("bos_token_id", "eos_token_id", "pad_token_id"):
            setattr(settings, role, _renamed(getattr(settings, role, None), new_ids))
    return Saving(entries, len(fitted.rows), parameters, parameters_of(model))


@cache
def byte_letters() -> tuple[str, ...]:
    """The letters that stand for the bytes 0 to 255 in a byte-level vocabulary."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    shifted = (byte for byte in range(256) if byte not in printable)
    letters = {byte: chr(byte) for byte in printable} | {byte: chr(256 + place) for place, byte in enumerate(shifted)}
    return tuple(letters[byte] for byte in range(256))


WEIGHT_UNIT = 1 << 40


class _Cutter:
    """How a tokenizer cuts text: added tokens first, then words, then merges.

    ``tokens`` holds every token with its id, in the order of ids; ``added`` those that are never cut.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        rule_of(tokenizer)
        content = backend_of(tokenizer)
        self.added: dict[str, int] = {entry["content"]: entry["id"] for entry in content["added_tokens"]}
        everything: dict[str, int] = content["model"]["vocab"] | self.added
        self.tokens = dict(sorted(everything.items(), key=lambda item: item[1]))
        self.merges = Merges(content["model"]["merges"])
        self._rule = tokenizer.backend_tokenizer.pre_tokenizer
        longest_first = sorted(self.added, key=len, reverse=True)
        self._split = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    def words(self, text: str) -> list[str]:
        """The words of a text in the letters of the vocabulary, without added tokens."""
        return [word for part in self._split.split(text) if part for word, _ in self._rule.pre_tokenize_str(part)]


def _rebuilt(
    tokenizer: PreTrainedTokenizerBase, tokens: Sequence[str], pairs: Sequence[tuple[str, str]]
) -> PreTrainedTokenizerBase:
    """A tokenizer like another with these tokens, in the order of their ids, and these merges."""
    backend = Tokenizer(BPE({token: number for number, token in enumerate(tokens)}, list(pairs)))
    backend.add_tokens([_added_token(entry) for entry in backend_of(tokenizer)["added_tokens"]])
    roles = ("bos_token", "eos_token", "pad_token")
    named = {role: str(getattr(tokenizer, role)) for role in roles if getattr(tokenizer, role) is not None}
    return tokenizer_from_backend(backend, rule_of(tokenizer), named, tokenizer.chat_template or "")


def _added_token(entry: Mapping[str, Any]) -> AddedToken:
    flags = {name: entry[name] for name in ("single_word", "lstrip", "rstrip", "normalized", "special")}
    return AddedToken(entry["content"], **flags)


def _require_same_cut(tokenizer: PreTrainedTokenizerBase, fitted: Fitted, texts: Sequence[str]) -> None:
    new_ids = fitted.new_ids()
    if not texts:
        return
    # All in one call: the tokenizer shares the work among the cores, and Python is not asked once per text.
    whole, trimmed = (own(list(texts), add_special_tokens=False)["input_ids"] for own in (tokenizer, fitted.tokenizer))
    for text, before, after in zip(texts, whole, trimmed, strict=True):
        if [new_ids.get(number) for number in before] != after:
            raise CheckFailed(
                words(
                    en=f"The trimmed vocabulary cuts a text of the job otherwise than the whole one: {text[:80]!r}.",
                    fr=f"Le vocabulaire réduit découpe un texte de la tâche autrement que l'entier : {text[:80]!r}.",
                ),
                words(en="Train without trimming.", fr="Entraînez sans réduire le vocabulaire."),
            )


@torch.no_grad()
def _mean_rows(weight_VH: Tensor, rows: Sequence[tuple[int, ...]]) -> Tensor:
    """New rows as means of old ones; a row of one is copied bit for bit."""
    first = torch.tensor([parts[0] for parts in rows])
    new = weight_VH[first].clone()
    for number, parts in enumerate(rows):
        if len(parts) > 1:
            new[number] = weight_VH[list(parts)].float().mean(0).to(new.dtype)
    return new


def _embedding_of(weight_VH: Tensor) -> nn.Embedding:
    entries, width = weight_VH.shape
    embedding = nn.Embedding(entries, width, device="meta")
    embedding.weight = nn.Parameter(weight_VH)
    return embedding


def _renamed(ids: Any, new_ids: Mapping[int, int]) -> Any:
    """A token id, or a list of them, in the new vocabulary; None for what was dropped."""
    if isinstance(ids, (list, tuple)):
        return [new_ids[number] for number in ids if number in new_ids]
    return new_ids.get(ids)
