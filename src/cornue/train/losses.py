"""Losses over a vocabulary and their gradients, from hidden states, in one pass over chunks of rows.

``fused`` computes any mix of objectives on the same logits. No (rows × vocabulary) tensor is kept: a chunk's logits
become its gradient in place and are gone. It does not choose rows (it gets those that are learnt and no others), nor
weights, nor what a step divides by.

*Linear* objectives pull at few ids: L = −Σ_j a_j log q_j. With M = Σ_j a_j the gradient by the logits z is ::

    ∂L/∂z = M q − a                              (a is zero but for a few ids)

A *tail* adds one class: all ids outside a set S, of teacher mass r and student mass q_r. With M = Σ_j a_j + r ::

    ∂L/∂z_j = M q_j − a_j                        inside S
    ∂L/∂z_j = (M q_r − r) · q_j / q_r            outside: q_j / q_r is a softmax of its own, exact however small q_r is

Both are a factor f per row times e = exp(z − max z), plus a few entries. So e stays as it is, the entries are divided
by f, and f is applied on the narrow side of the products: all that the vocabulary costs is three matrix products, a
maximum, a subtraction, an exponential and a sum.

Shapes: R rows, C rows of a chunk, B of a block, H hidden size, V vocabulary, J ids a row that are pulled at, O
objectives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from cornue.models.head import Head
from cornue.records.errors import BadInput
from cornue.records.words import words
from cornue.train.objectives import LEAST_LOG, Dense, Labels, Linear, Objective, part_of
from cornue.train.products import Products

BLOCK_BYTES = 400_000
LEAST_FACTOR = 1e-16


@dataclass(frozen=True, eq=False)
class Figures:
    """One number a row, detached: all that outlives a chunk besides the gradients.

    Args:
        values_OR: the value of each row under each objective, not weighted.
        logs_OR: the student's log-probability of the id, for objectives with one id a row; NaN for others.
        entropy_R: the student's entropy in nats at the temperature of the first objective; NaN where not measured.
        logsum_R: log Σ exp of the logits over that temperature.
    """

    values_OR: Tensor
    logs_OR: Tensor
    entropy_R: Tensor
    logsum_R: Tensor

    @staticmethod
    def blank(objectives: int, like_R: Tensor) -> Figures:
        """Nothing is known yet."""
        blank_OR = like_R.new_full((objectives, len(like_R)), torch.nan)
        return Figures(blank_OR, blank_OR.clone(), blank_OR[0].clone(), blank_OR[0].clone())

    def of(self, rows: slice) -> Figures:
        """The same memory, of some rows."""
        return Figures(self.values_OR[:, rows], self.logs_OR[:, rows], self.entropy_R[rows], self.logsum_R[rows])

    @property
    def entropy(self) -> Tensor:
        """Mean entropy over the rows where it was measured."""
        return self.entropy_R.nanmean()


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a pass found, all of it detached.

    Args:
        loss: the sum of all objectives.
        sums_O: each objective's part of it.
        figures: what was found row by row.
        hidden_RH, weight_VH, bias_V: gradients of the loss, the latter two in the type of its sums; or None.
    """

    loss: Tensor
    sums_O: Tensor
    figures: Figures
    hidden_RH: Tensor | None
    weight_VH: Tensor | None
    bias_V: Tensor | None


def fused(
    hidden_RH: Tensor,
    head: Head,
    objectives: Sequence[Objective],
    *,
    gradients: bool | None = None,
    chunk_rows: int = 0,
    entropy_every: int = 8,
) -> Outcome:
    """The loss of a mix of objectives, and its gradients by hidden states and head.

    Args:
        hidden_RH: states of the rows that are learnt. Products are in their type; sums are fp32, or fp64 for fp64. In
            fp16 let the weights carry the loss scale.
        head: the student's head.
        gradients: whether they are wanted; None: where autograd is on. Weight and bias get one where they can move.
        chunk_rows: most rows whose logits live at once; 0 chooses.
        entropy_every: measure the entropy in every n-th block of rows; 1: in all.

    Raises:
        BadInput: shapes, ids, temperatures or totals that cannot be.
    """
    _check(hidden_RH, head, objectives)
    wanted = torch.is_grad_enabled() if gradients is None else gradients
    with torch.no_grad():
        products = Products(hidden_RH, head, wanted, chunk_rows)
        figures = Figures.blank(len(objectives), hidden_RH.new_empty(len(hidden_RH), dtype=products.dtype))
        for rows in products.chunks():
            parts = [part_of(objective, rows) for objective in objectives]
            rows_CV, factor_C1 = _mix(products.logits(rows), parts, rows, figures.of(rows), entropy_every)
            products.pull_back(rows_CV, factor_C1, rows)
        weights_OR = torch.stack([objective.scaled_weight().to(products.dtype) for objective in objectives])
        # The value of a row without weight may be infinite, and must not become NaN.
        sums_O = torch.where(weights_OR == 0, 0, weights_OR * figures.values_OR).double().sum(-1)
        return Outcome(sums_O.sum(), sums_O, figures, *products.gradients())


def score(hidden_RH: Tensor, head: Head, ids_R: Tensor, temperature: float = 1.0) -> Tensor:
    """The student's log-probability (R) of one id a row, without gradient."""
    labels = Labels(torch.ones(len(ids_R), device=ids_R.device), ids_R, temperature=temperature)
    return fused(hidden_RH, head, [labels], gradients=False).figures.logs_OR[0]


def entropy(hidden_RH: Tensor, head: Head, temperature: float = 1.0) -> Tensor:
    """The student's entropy (R) in nats, without gradient."""
    any_id_R = torch.zeros(len(hidden_RH), dtype=torch.long, device=hidden_RH.device)
    labels = Labels(torch.ones_like(any_id_R), any_id_R, temperature=temperature)
    return fused(hidden_RH, head, [labels], gradients=False, entropy_every=1).figures.entropy_R


def _mix(
    logits_CV: Tensor, objectives: Sequence[Objective], rows: slice, figures: Figures, every: int
) -> tuple[Tensor, Tensor]:
    """The gradient of a chunk by its logits: rows (C, V) and a factor for each (C, 1). ``logits_CV`` is spent.

    Linear objectives of one temperature share one softmax; every other one takes a copy of the logits.
    """
    layers: dict[object, list[int]] = {}
    for place, objective in enumerate(objectives):
        layers.setdefault(objective.temperature if isinstance(objective, Linear) else objective, []).append(place)
    total_CV: Tensor | None = None
    # The first objective comes last, so that entropy and log-sum are its own.
    for number, places in enumerate(reversed(list(layers.values())), start=1):
        rows_CV = logits_CV.clone() if number < len(layers) else logits_CV
        first = objectives[places[0]]
        if isinstance(first, Dense):
            factor_C1 = _dense(rows_CV, first, rows, places[0], figures, every)
        else:
            linear = {place: part for place in places if isinstance(part := objectives[place], Linear)}
            factor_C1 = _linear(rows_CV, linear, figures, every)
        if len(layers) == 1:
            break
        rows_CV.mul_(factor_C1)
        factor_C1 = torch.ones_like(factor_C1)
        total_CV = rows_CV if total_CV is None else rows_CV.add_(total_CV)
    return rows_CV, factor_C1


def _linear(logits_CV: Tensor, parts: dict[int, Linear], figures: Figures, every: int) -> Tensor:
    """Turns logits into rows of the gradient, in place, and returns their factors (C, 1)."""
    temperature = next(iter(parts.values())).temperature
    columns = [part.columns() for part in parts.values()]
    columns_CJ = torch.cat(columns, dim=1).long().clamp_(min=0)
    struck_CJ = torch.cat([(part.columns() >= 0) & (part.tail() is not None) for part in parts.values()], dim=1)
    chosen_CJ = logits_CV.gather(1, columns_CJ).div_(temperature)
    # Adding rather than writing: ids that only fill a row up point at column 0, which may also be an entry.
    if any(part.tail() is not None for part in parts.values()):
        logits_CV.scatter_add_(1, columns_CJ, torch.zeros_like(chosen_CJ).masked_fill_(struck_CJ, -torch.inf))
    sum_C, outside_C = _exponentiate(logits_CV, temperature, figures, every)
    logsum_C = torch.logaddexp(outside_C, chosen_CJ.masked_fill(~struck_CJ, -torch.inf).logsumexp(1))
    log_rest_C, logs_CJ = outside_C - logsum_C, chosen_CJ.sub_(logsum_C[:, None])

    pull_CJ, push_C = torch.empty_like(logs_CJ), torch.zeros_like(logsum_C)
    bounds = pairwise(accumulate((ids.shape[1] for ids in columns), initial=0))
    for (place, part), (first, last) in zip(parts.items(), bounds, strict=True):
        pull_CJ[:, first:last], figures.values_OR[place] = part.pull(logs_CJ[:, first:last], log_rest_C)
        weight_C = part.scaled_weight()
        pull_CJ[:, first:last] *= weight_C[:, None]
        tail_C = part.tail()
        if tail_C is not None:
            push_C += weight_C * tail_C
        if last == first + 1:
            figures.logs_OR[place] = logs_CJ[:, first]

    q_CJ, rest_C = logs_CJ.exp().masked_fill_(~struck_CJ, 0), log_rest_C.exp()
    inside_C = torch.special.entr(q_CJ).sum(1)
    figures.entropy_R.sub_(log_rest_C.clamp(min=LEAST_LOG)).mul_(rest_C).add_(inside_C)
    figures.logsum_R.copy_(logsum_C)
    mass_C = pull_CJ.sum(1) + push_C
    factor_C = (mass_C * rest_C - push_C) / sum_C
    least_C = (pull_CJ.abs().sum(1) + push_C) * LEAST_FACTOR / sum_C
    factor_C = torch.where(factor_C.abs() < least_C, least_C, factor_C)
    entries_CJ = q_CJ.mul_(mass_C[:, None]).sub_(pull_CJ)
    logits_CV.scatter_add_(1, columns_CJ, entries_CJ / torch.where(factor_C == 0, 1, factor_C)[:, None])
    return (factor_C / temperature)[:, None]


def _exponentiate(logits_CV: Tensor, temperature: float, figures: Figures, every: int) -> tuple[Tensor, Tensor]:
    """exp((z − max z) / τ) in place, its sums (C) and log-sums of z / τ (C).

    Block by block, so that a block is read from memory once and stays in the cache through its four passes.
    """
    tiny = torch.finfo(logits_CV.dtype)
    peak_C1 = logits_CV.new_empty(len(logits_CV), 1)
    sum_C1 = torch.empty_like(peak_C1)
    for number, block in enumerate(_blocks(logits_CV)):
        block_BV = logits_CV[block]
        peak_B1 = torch.amax(block_BV, 1, keepdim=True, out=peak_C1[block])
        # A row whose ids are all struck out has no peak.
        block_BV.sub_(peak_B1.clamp_(min=tiny.min))
        if temperature != 1.0:
            block_BV.div_(temperature)
        sum_B1 = torch.sum(block_BV.exp_(), 1, keepdim=True, out=sum_C1[block])
        if number % every == 0:
            sum_B1.clamp_(min=tiny.tiny)
            figures.entropy_R[block] = torch.special.entr(block_BV).sum(1) / sum_B1[:, 0] + sum_B1[:, 0].log()
    sum_C1.clamp_(min=tiny.tiny)
    return sum_C1[:, 0], (peak_C1 / temperature + sum_C1.log())[:, 0]


def _dense(logits_CV: Tensor, part: Dense, rows: slice, place: int, figures: Figures, every: int) -> Tensor:
    """The same for a whole distribution: by the softmax's chain rule, with the slope that the divergence gives."""
    teacher_CV = part.teacher(rows)
    vocabulary = logits_CV.shape[1]
    if teacher_CV.shape[1] < vocabulary:
        raise BadInput(
            words(
                en=f"the teacher gives {teacher_CV.shape[1]} logits, the student has {vocabulary} ids",
                fr=f"l'enseignant donne {teacher_CV.shape[1]} logits, l'élève a {vocabulary} identifiants",
            ),
            words(en="align the vocabularies first", fr="alignez d'abord les vocabulaires"),
        )
    for number, block in enumerate(_blocks(logits_CV)):
        block_BV = logits_CV[block]
        scaled_BV = block_BV / part.temperature
        student_BV = torch.log_softmax(scaled_BV, 1)
        # Over all that the teacher gives: its mass on ids that the student lacks is not shared out among the others.
        teacher_BV = torch.log_softmax(teacher_CV[block].to(logits_CV.dtype) / part.temperature, 1)[:, :vocabulary]
        figures.values_OR[place, block], slope_BV = part.divergence(teacher_BV.clamp_(min=LEAST_LOG), student_BV)
        figures.logsum_R[block] = scaled_BV[:, 0] - student_BV[:, 0]
        q_BV = torch.exp(student_BV, out=scaled_BV)
        if number % every == 0:
            figures.entropy_R[block] = -torch.linalg.vecdot(q_BV, student_BV)
        torch.sub(slope_BV, q_BV.mul_(slope_BV.sum(1, keepdim=True)), out=block_BV)
    return (part.scaled_weight() / part.temperature).to(logits_CV.dtype)[:, None]


def _blocks(logits_CV: Tensor) -> list[slice]:
    """Slices of rows that fit the caches of a CPU's threads; all rows at once elsewhere."""
    count, vocabulary = logits_CV.shape
    step = max(1, count)
    if logits_CV.device.type == "cpu":
        step = max(1, torch.get_num_threads() * BLOCK_BYTES // (vocabulary * logits_CV.itemsize))
    return [slice(first, min(first + step, count)) for first in range(0, count, step)]


def _check(hidden_RH: Tensor, head: Head, objectives: Sequence[Objective]) -> None:
    """Refuses what could only be computed wrongly."""
    tails = [item.temperature for item in objectives if isinstance(item, Linear) and item.tail() is not None]
    faults = ["no objective"] * (not objectives) + ["two tails at one temperature"] * (len(set(tails)) < len(tails))
    if hidden_RH.ndim != 2 or hidden_RH.shape[1] != head.weight_VH.shape[1]:
        faults.append(f"hidden states {tuple(hidden_RH.shape)} for a head {tuple(head.weight_VH.shape)}")
    for item in objectives:
        found = item.faults(len(hidden_RH), head.vocabulary or len(head.weight_VH))
        faults += [f"{type(item).__name__}: {fault}" for fault in found]
    if faults:
        raise BadInput(
            words(en=f"losses: {'; '.join(faults)}", fr=f"pertes : {'; '.join(faults)}"),
            words(
                en="every row needs a weight and ids below the vocabulary, every distribution a mass of at most one",
                fr="chaque ligne veut un poids et des identifiants du vocabulaire, chaque loi une masse d'au plus un",
            ),
        )
