"""What may be asked of a student's rows: labels, a teacher's entries, a teacher's whole distribution, a sampled token.

Each objective says, row by row, its value and how it pulls at the logits; ``losses.fused`` computes any mix of them in
one pass. Targets are data: no gradient runs into a teacher, an advantage or a sampler's log-probability.

Shapes: R rows that are learnt, K entries a row, J ids a row that are pulled at, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from cornue.models.head import Head
from cornue.train import divergence
from cornue.train.divergence import Divergence
from cornue.train.products import Products

LEAST_LOG = -1e30
MASS_SLACK = 0.01


@dataclass(frozen=True, eq=False)
class Objective:
    """A summand of the loss: Σ weight · value / total over rows.

    Args:
        weight_R: weight of each row; 0 leaves the row out of this summand.
        total: what the sum is divided by: the weights of a whole step, on all machines and in all its batches.
        temperature: divides the student's logits, and those of a dense teacher.
        squared: multiplies by the square of the temperature, so that gradients keep their size.
    """

    weight_R: Tensor
    total: float | Tensor = field(default=1.0, kw_only=True)
    temperature: float = field(default=1.0, kw_only=True)
    squared: bool = field(default=False, kw_only=True)

    def scaled_weight(self) -> Tensor:
        """What the value of each row is multiplied by (R)."""
        return self.weight_R * ((self.temperature**2 if self.squared else 1.0) / self.total)

    def faults(self, rows: int, vocabulary: int) -> list[str]:
        """What forbids to compute it for so many rows of a student with so many ids."""
        faults = [] if len(self.weight_R) == rows else [f"{len(self.weight_R)} weights for {rows} rows"]
        faults += [] if self.temperature > 0 else [f"temperature {self.temperature}"]
        return faults + ([] if self.total > 0 else [f"total {float(self.total)}"])


@dataclass(frozen=True, eq=False)
class Linear(Objective):
    """An objective that pulls at the log-probabilities of few ids."""

    least_id: ClassVar[int] = 0

    def columns(self) -> Tensor:
        """The ids (R, J) that are pulled at; −1 where there is none."""
        raise NotImplementedError

    def tail(self) -> Tensor | None:
        """The teacher's mass (R) outside of the columns, where that is a class of its own."""
        return None

    def faults(self, rows: int, vocabulary: int) -> list[str]:
        """The same, and ids that the student does not have."""
        faults, ids_RJ = super().faults(rows, vocabulary), self.columns()
        if len(ids_RJ) != rows:
            return [*faults, f"{len(ids_RJ)} rows of ids for {rows} rows"]
        if ids_RJ.numel() and (ids_RJ.min() < self.least_id or ids_RJ.max() >= vocabulary):
            faults.append(f"ids {int(ids_RJ.min())}…{int(ids_RJ.max())} of {vocabulary}")
        return faults

    def pull(self, logs_RJ: Tensor, log_rest_R: Tensor) -> tuple[Tensor, Tensor]:
        """Pulls (R, J) and values (R), from the student's log-probabilities of the columns and of all other ids."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Labels(Linear):
    """Cross-entropy with one right id per row."""

    ids_R: Tensor

    def columns(self) -> Tensor:
        """The label."""
        return self.ids_R[:, None]

    def pull(self, logs_RJ: Tensor, log_rest_R: Tensor) -> tuple[Tensor, Tensor]:
        """One, and −log q."""
        return torch.ones_like(logs_RJ), -logs_RJ[:, 0]


@dataclass(frozen=True, eq=False)
class Sparse(Linear):
    """Forward KL to a teacher of whom a few entries a row are known.

    *Sampled* entries (counts over draws, no tail) give a gradient that is unbiased for forward KL at the temperature of
    the draws; their value is a cross-entropy, unless ``entropy_R`` is given. *Top* entries with a tail give the exact
    KL of K + 1 classes, a lower bound of the full one. Mass on ids that the student lacks is left out of both, and what
    remains is not renormalised.

    Args:
        ids_RK: ids; −1 fills rows that have fewer. With a tail they are distinct.
        probs_RK: the teacher's mass on them.
        tail_R: its mass on all other ids.
        entropy_R: its entropy, taken off the value; with a tail it is that of the K + 1 classes unless given.
    """

    ids_RK: Tensor
    probs_RK: Tensor
    tail_R: Tensor | None = None
    entropy_R: Tensor | None = None
    least_id: ClassVar[int] = -1

    def columns(self) -> Tensor:
        """The entries."""
        return self.ids_RK

    def tail(self) -> Tensor | None:
        """The teacher's mass on all other ids."""
        return self.tail_R

    def faults(self, rows: int, vocabulary: int) -> list[str]:
        """The same, and for classes: ids that stand twice, masses that are none."""
        faults = super().faults(rows, vocabulary)
        if self.tail_R is not None and not faults and rows:
            sorted_RK = self.ids_RK.sort(-1).values
            if ((sorted_RK[:, 1:] == sorted_RK[:, :-1]) & (sorted_RK[:, 1:] >= 0)).any():
                faults.append("an id stands twice in a row")
            mass_RJ = torch.cat([self.probs_RK.float(), self.tail_R.float()[:, None]], dim=1)
            if mass_RJ.min() < 0 or mass_RJ.sum(-1).max() > 1 + MASS_SLACK:
                faults.append(
                    f"masses from {float(mass_RJ.min()):.3g}, in sum up to {float(mass_RJ.sum(-1).max()):.6g}"
                )
        return faults

    def pull(self, logs_RJ: Tensor, log_rest_R: Tensor) -> tuple[Tensor, Tensor]:
        """p, and the cross-entropy less the teacher's entropy."""
        p_RK = torch.where(self.ids_RK >= 0, self.probs_RK.to(logs_RJ.dtype), 0)
        value_R = -torch.linalg.vecdot(p_RK, logs_RJ)
        entropy_R = self.entropy_R
        if self.tail_R is not None:
            r_R = self.tail_R.to(logs_RJ.dtype)
            # Where every id of the student is an entry, the teacher's rest lies on ids that the student lacks.
            value_R -= torch.where(log_rest_R > LEAST_LOG, r_R * log_rest_R, 0)
            if entropy_R is None:
                entropy_R = -torch.xlogy(p_RK, p_RK).sum(-1) - torch.xlogy(r_R, r_R)
        return p_RK, value_R if entropy_R is None else value_R - entropy_R


@dataclass(frozen=True, eq=False)
class Policy(Linear):
    """Policy gradient on the sampled token.

    With ``sampler_R`` the importance ratio between learner and sampler multiplies the advantage, and has no gradient
    beyond 1 − ``clip_low`` or 1 + ``clip_high`` on the side where it would gain (PPO, arXiv 1707.06347; two clips as in
    DAPO, arXiv 2503.14476). Without it the ratio is one (REINFORCE).

    Args:
        ids_R: the sampled token.
        advantage_R: how much better than expected it turned out.
        sampler_R: the sampler's log-probability of it.
    """

    ids_R: Tensor
    advantage_R: Tensor
    sampler_R: Tensor | None = None
    clip_low: float = field(default=0.2, kw_only=True)
    clip_high: float = field(default=0.28, kw_only=True)

    def columns(self) -> Tensor:
        """The sampled token."""
        return self.ids_R[:, None]

    def pull(self, logs_RJ: Tensor, log_rest_R: Tensor) -> tuple[Tensor, Tensor]:
        """Advantage times ratio where it is not clipped, and minus the gain."""
        gain_R = self.advantage_R.to(logs_RJ.dtype)
        if self.sampler_R is None:
            return gain_R[:, None], -gain_R * logs_RJ[:, 0]
        ratio_R = (logs_RJ[:, 0] - self.sampler_R).exp()
        free_R, clipped_R = gain_R * ratio_R, gain_R * ratio_R.clamp(1 - self.clip_low, 1 + self.clip_high)
        return torch.where(free_R <= clipped_R, free_R, 0)[:, None], -torch.minimum(free_R, clipped_R)


@dataclass(frozen=True, eq=False)
class Dense(Objective):
    """A divergence from a teacher whose whole distribution is at hand.

    Args:
        teacher: the teacher's logits (C, V or more) of a slice of the rows, before temperature; see ``from_states``.
        divergence: one of ``cornue.train.divergence``.
    """

    teacher: Callable[[slice], Tensor]
    divergence: Divergence = divergence.forward


def from_states(hidden_RH: Tensor, head: Head) -> Callable[[slice], Tensor]:
    """A dense teacher from its hidden states, in the student's rows, and its head."""
    return Products(hidden_RH, head, gradients=False).logits


AnyObjective = TypeVar("AnyObjective", bound=Objective)


def part_of(objective: AnyObjective, rows: slice) -> AnyObjective:
    """The same objective of some rows only."""
    values = {item.name: getattr(objective, item.name) for item in fields(objective)}
    cut: dict[str, Any] = {
        name: value[rows] for name, value in values.items() if isinstance(value, Tensor) and value.ndim
    }
    return replace(objective, **cut)
