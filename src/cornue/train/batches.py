"""From token sequences to batches: which tokens are learnt, how much, in which order, and in which step.

The order is a pure function of (seed, epoch, step): any step can be planned again without those before it. Sequences
are packed end to end, so nothing is padded. It does not compute a loss, and it does not know where weights come from.

Shapes: T tokens of one sequence, N tokens of a batch, R rows of it from which a token is learnt.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from cornue.models.packed import Packed, pack
from cornue.records.errors import BadInput
from cornue.records.words import words
from cornue.train import processes

Author = Literal["teacher", "student"]


@dataclass(frozen=True, eq=False)
class Lesson:
    """A prompt with one completion, and what is learnt from each token of the completion.

    Args:
        prompt: token ids of the context, never learnt.
        completion: token ids that follow it, the end-of-turn token among them.
        author: who wrote the completion.
        ce: weight of cross-entropy on each completion token; empty learns nothing by it.
        kl: weight of the divergence on each completion token; empty likewise.
        pg: weight (advantage) of the policy gradient on each completion token; empty likewise.
        sampler: log-probability of each completion token when it was drawn, where a policy gradient needs it.
        targets: the teacher's distributions at the completion tokens, in a method's own form.
        name: which prompt and sample this is.

    Raises:
        BadInput: cross-entropy on the student's own text, which teaches it nothing but confidence; an empty prompt; or
            weights that are not one per token.
    """

    prompt: tuple[int, ...]
    completion: tuple[int, ...]
    author: Author
    ce: tuple[float, ...] = ()
    kl: tuple[float, ...] = ()
    pg: tuple[float, ...] = ()
    sampler: tuple[float, ...] = ()
    targets: Any = field(default=None, repr=False)
    name: str = ""

    def __post_init__(self) -> None:
        if self.author == "student" and any(self.ce):
            raise BadInput(
                words(
                    en=f"{self.name}: cross-entropy on a completion that the student itself wrote",
                    fr=f"{self.name} : entropie croisée sur un texte écrit par l'élève lui-même",
                ),
                words(
                    en="learn it by on_policy_kd or grpo, or record the frozen model that wrote it as the teacher",
                    fr="passez par on_policy_kd ou grpo, ou déclarez le modèle figé qui l'a écrit comme enseignant",
                ),
            )
        if not self.prompt or not self.completion:
            raise BadInput(
                words(en=f"{self.name}: an empty prompt or completion", fr=f"{self.name} : question ou réponse vide"),
                words(en="remove this example", fr="retirez cet exemple"),
            )
        for weights in (self.ce, self.kl, self.pg, self.sampler):
            if weights and len(weights) != len(self.completion):
                raise ValueError(f"{self.name}: {len(weights)} weights for {len(self.completion)} tokens")

    def learnt(self) -> tuple[int, ...]:
        """Which completion tokens have any weight."""
        weights = [own for own in (self.ce, self.kl, self.pg) if own]
        return tuple(place for place, own in enumerate(zip(*weights, strict=True)) if any(own))

    def __len__(self) -> int:
        return len(self.prompt) + len(self.completion)


@dataclass(frozen=True, eq=False)
class Batch:
    """Lessons packed end to end. Row r of the loss predicts ``labels_R[r]`` from hidden state ``rows_R[r]``.

    Args:
        lessons: in the order in which they lie in ``packed``.
        places: for each lesson, which of its completion tokens are learnt; the rows follow them.
        ce_R, kl_R, pg_R: weights, already divided so that the weights of a whole step add up as its method wants.
    """

    lessons: tuple[Lesson, ...]
    packed: Packed
    places: tuple[tuple[int, ...], ...]
    rows_R: Tensor
    labels_R: Tensor
    ce_R: Tensor
    kl_R: Tensor
    pg_R: Tensor

    @property
    def tokens(self) -> int:
        """Tokens that the model reads."""
        return len(self.packed.ids_N)


def make_batch(lessons: Sequence[Lesson], scale: float = 1.0, device: torch.device | str = "cpu") -> Batch:
    """Pack lessons and gather their weights, each times ``scale``; tokens without any weight get no row."""
    packed = pack([lesson.prompt + lesson.completion for lesson in lessons], device)
    laid = tuple(lessons[index] for index in packed.order)
    places = tuple(lesson.learnt() for lesson in laid)
    rows_R = torch.tensor(
        [
            start + len(lesson.prompt) - 1 + place
            for lesson, start, learnt in zip(laid, packed.starts, places, strict=True)
            for place in learnt
        ],
        dtype=torch.long,
        device=device,
    )

    def gather(weights: Sequence[Sequence[float]]) -> Tensor:
        values = [own[place] if own else 0.0 for own, learnt in zip(weights, places, strict=True) for place in learnt]
        return torch.tensor(values, dtype=torch.float32, device=device) * scale

    return Batch(
        lessons=laid,
        packed=packed,
        places=places,
        rows_R=rows_R,
        labels_R=packed.ids_N[rows_R + 1],
        ce_R=gather([lesson.ce for lesson in laid]),
        kl_R=gather([lesson.kl for lesson in laid]),
        pg_R=gather([lesson.pg for lesson in laid]),
    )


def split(lessons: Sequence[Lesson], most_tokens: int) -> list[list[Lesson]]:
    """Cut one step's lessons into parts of similar size that fit in memory, equal lengths together.

    Where several processes train, each gets as many parts, dealt like cards.

    Raises:
        BadInput: there are fewer lessons than processes.
    """
    ordered, shares = sorted(lessons, key=len), processes.count()
    if shares > 1:
        parts = shares * -(-sum(map(len, ordered)) // (most_tokens * shares))
        if len(ordered) < parts:
            raise BadInput(
                words(
                    en=f"a step of {len(ordered)} texts for {parts} parts on {shares} processes",
                    fr=f"un pas de {len(ordered)} textes pour {parts} parts sur {shares} processus",
                ),
                words(en="raise train.batch_tokens", fr="augmentez train.batch_tokens"),
            )
        return [ordered[part::parts] for part in range(parts)]
    return [part for part in _cut(ordered, -(-sum(map(len, ordered)) // most_tokens)) if part]


class Order:
    """Which of some sequences are learnt in which step.

    Every epoch visits each sequence once, in an order drawn from (seed, epoch), cut into steps of nearly equal numbers
    of tokens: ``batch_tokens`` on average at most. A last part of an epoch takes the beginning of its order.

    Args:
        lengths: tokens of each sequence.
        epochs: passes over all of them; 0.5 takes half of the steps of the first.
        max_steps: most steps in all; 0 sets no limit.

    Raises:
        BadInput: there is no sequence, or one has more tokens than a step.
    """

    def __init__(
        self, lengths: Sequence[int], *, seed: int, epochs: float, batch_tokens: int, max_steps: int = 0
    ) -> None:
        longest = max(lengths, default=0)
        if not 0 < longest <= batch_tokens:
            raise BadInput(
                words(
                    en=f"the longest of {len(lengths)} examples has {longest} tokens; a step takes {batch_tokens}",
                    fr=f"le plus long des {len(lengths)} exemples a {longest} jetons ; un pas en prend {batch_tokens}",
                ),
                words(
                    en="keep at least one example, and set train.batch_tokens to the longest or more",
                    fr="gardez au moins un exemple, et donnez à train.batch_tokens au moins la taille du plus long",
                ),
            )
        self.lengths = tuple(lengths)
        self.seed = seed
        # Steps as long as the longest sequence are never empty.
        self.steps_per_epoch = min(-(-sum(lengths) // batch_tokens), sum(lengths) // longest)
        steps = max(1, round(epochs * self.steps_per_epoch))
        self.steps = min(steps, max_steps) if max_steps else steps
        self._epoch: tuple[int, list[list[int]]] = (-1, [])

    def at(self, step: int) -> list[int]:
        """Indices of the sequences of a step, counted from 0."""
        epoch, within = divmod(step, self.steps_per_epoch)
        if self._epoch[0] != epoch:
            order = list(range(len(self.lengths)))
            random.Random(f"order/{self.seed}/{epoch}").shuffle(order)
            self._epoch = (epoch, _cut(order, self.steps_per_epoch, self.lengths))
        return self._epoch[1][within]


def _cut(items: Sequence[Any], parts: int, lengths: Sequence[int] = ()) -> list[list[Any]]:
    """Cut a sequence, in its order, into parts of nearly equal numbers of tokens."""
    sizes = [lengths[item] for item in items] if lengths else [len(item) for item in items]
    total, done = sum(sizes), 0
    cut: list[list[Any]] = [[] for _ in range(parts)]
    for item, size in zip(items, sizes, strict=True):
        # The middle of a sequence decides to which part it belongs.
        cut[min(parts - 1, (2 * done + size) * parts // (2 * total))].append(item)
        done += size
    return cut
