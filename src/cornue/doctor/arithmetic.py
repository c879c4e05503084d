"""Mistakes in the arithmetic of the head and the losses: classes 4, 14, 15, 16, 19, 20, 21 and 28.

Most are looked for on the student's own head and hidden states, in the number types of training, against float64.

Shapes: R rows, H hidden size, V vocabulary, K entries a row.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from cornue.doctor import reference
from cornue.doctor.finding import Absent, require
from cornue.doctor.passes import Twin, distance, first_steps, still_head, take_step
from cornue.doctor.subject import Subject, compares
from cornue.models.head import Head
from cornue.models.packed import pack
from cornue.records.recipe import Grpo
from cornue.records.words import words
from cornue.train import divergence
from cornue.train.objectives import Dense, Labels, Objective, Policy, Sparse

CLOSE = 5e-3
ROWS = 12
ENTRIES = 8
CLIP = 0.5


def head_is_the_models(subject: Subject) -> str:
    """4: hidden states times the head are the model's own logits."""
    hidden_RH, ids = _text(subject)
    own_RV = reference.run(Twin.of(subject).model, ids)[: len(hidden_RH)]
    head = still_head(subject)
    found_RV = head.logits(hidden_RH)[:, : head.vocabulary]
    away = distance(found_RV, own_RV[:, : head.vocabulary])
    require(
        away < CLOSE,
        f"the head's logits are {away:.2g} of their size away from the model's own",
        f"les logits de la tête s'écartent de ceux du modèle de {away:.2g} fois leur taille",
    )
    return words(
        en=f"hidden states times the head are the model's logits within {away:.0e}",
        fr=f"états cachés fois tête : les logits du modèle à {away:.0e} près",
    )


def policy_sees_its_token(subject: Subject) -> str:
    """14: the expected policy gradient is that of the expected reward; a pull to a reference is a divergence's."""
    stages = [stage for stage in subject.short_stages() if isinstance(stage, Grpo)]
    if not stages:
        raise Absent(words(en="no stage learns from rewards", fr="aucune étape n'apprend de récompenses"))
    hidden_RH, head = _toy()
    vocabulary = len(head.weight_VH)
    reward_V = torch.linspace(-1, 2, vocabulary, dtype=torch.float64) ** 2
    total_RH = torch.zeros_like(hidden_RH)
    for token in range(vocabulary):
        ids_R = torch.full((len(hidden_RH),), token)
        policy = Policy(torch.ones(len(ids_R)), ids_R, reward_V[token].expand(len(ids_R)))
        found = subject.fused(hidden_RH, head, [policy], gradients=True)
        q_R = torch.softmax(reference.logits_of(hidden_RH, head), -1)[:, token]
        assert found.hidden_RH is not None
        total_RH += q_R[:, None] * found.hidden_RH
    _, wanted_RH = reference.gradient(hidden_RH, head, lambda z: -(torch.softmax(z, -1) * reward_V).sum())
    away = distance(total_RH, wanted_RH)
    require(
        away < 1e-6,
        f"the expected policy gradient is {away:.2g} of its size away from that of the expected reward",
        f"le gradient espéré s'écarte de celui de la récompense espérée de {away:.2g} fois sa taille",
    )
    for stage in stages:
        _require_pull(subject, stage.model_copy(update={"reference_kl": stage.reference_kl or 0.1}))
    return words(
        en=f"the expected policy gradient is that of the expected reward within {away:.0e}",
        fr=f"le gradient espéré est celui de la récompense espérée à {away:.0e} près",
    )


def targets_are_still(subject: Subject) -> str:
    """15: no gradient runs into a teacher, an advantage or a sampler."""
    seen = 0
    for stage, passed in first_steps(subject):
        for part in passed.learnt:
            for name, objective in part.objectives.items():
                seen += 1
                moving = [key for key, value in vars(objective).items() if isinstance(value, Tensor) and moves(value)]
                if isinstance(objective, Dense):
                    with torch.enable_grad():
                        moving += ["teacher"] * moves(objective.teacher(slice(0, 1)))
                require(
                    not moving,
                    f"{stage.method}, {name}: a gradient runs into {', '.join(moving)}",
                    f"{stage.method}, {name} : un gradient passe par {', '.join(moving)}",
                )
    return words(
        en=f"{seen} objectives: their targets are still",
        fr=f"{seen} objectifs : leurs cibles ne bougent pas",
    )


def padded_rows_are_empty(subject: Subject) -> str:
    """16: ids that stand for no token get no mass and no gradient."""
    known, head = len(subject.student.tokenizer), still_head(subject)
    require(
        head.vocabulary <= known,
        f"the student's head has {head.vocabulary} ids, its tokenizer {known}: the others get mass",
        f"la tête de l'élève a {head.vocabulary} identifiants, son tokenizer {known} : les autres ont de la masse",
    )
    hidden_RH = _text(subject)[0][:ROWS]
    width = head.weight_VH.shape[1]
    padded = replace(head, weight_VH=torch.cat([head.weight_VH, 9 * torch.ones(5, width)]).requires_grad_())
    if head.bias_V is not None:
        padded = replace(padded, bias_V=torch.cat([head.bias_V, torch.ones(5)]))
    for name, objective in _objectives(subject, hidden_RH, head):
        plain = subject.fused(hidden_RH, head, [objective], gradients=True)
        found = subject.fused(hidden_RH, padded, [objective], gradients=True)
        assert found.hidden_RH is not None and plain.hidden_RH is not None and found.weight_VH is not None
        away = distance(found.hidden_RH, plain.hidden_RH)
        mass = float(found.weight_VH[len(head.weight_VH) :].abs().max())
        require(
            away < CLOSE and mass == 0,
            f"{name}: rows that stand for no token change the gradient by {away:.2g} and get {mass:.2g} themselves",
            f"{name} : des lignes sans jeton changent le gradient de {away:.2g} et en reçoivent {mass:.2g}",
        )
    return words(
        en=f"{head.vocabulary} ids of {known}: rows that stand for no token get nothing",
        fr=f"{head.vocabulary} identifiants sur {known} : les lignes sans jeton ne reçoivent rien",
    )


def enough_digits(subject: Subject) -> str:
    """19: small divergences over the whole vocabulary come out as in float64, never negative."""
    hidden_RH, head = _text(subject)[0][:ROWS], still_head(subject)
    noise_RH = torch.randn(hidden_RH.shape, generator=torch.Generator().manual_seed(0))
    near_RH = hidden_RH + 0.02 * noise_RH * hidden_RH.std()
    teacher_RV = reference.logits_of(near_RH, head).float()
    worst = 0.0
    formulas = {"forward": divergence.forward, "reverse": divergence.reverse, "js": divergence.jensen_shannon(0.5)}
    plain = {"forward": reference.kl, "reverse": lambda p, q: reference.kl(q, p), "js": _js}
    for name, formula in formulas.items():
        objective = Dense(torch.ones(len(hidden_RH)), lambda rows: teacher_RV[rows], formula)
        found_R = subject.fused(hidden_RH, head, [objective], gradients=False).figures.values_OR[0]
        p_RV = torch.softmax(teacher_RV.double(), -1)
        wanted_R = plain[name](p_RV, torch.softmax(reference.logits_of(hidden_RH, head), -1))
        away = float(((found_R.double() - wanted_R).abs() / (wanted_R + 1e-4)).max())
        worst = max(worst, away)
        require(
            worst < 0.02 and float(found_R.min()) > -1e-5,
            f"{name}: a divergence of {float(wanted_R.mean()):.2g} nats comes out {away:.0%} wrong",
            f"{name} : une divergence de {float(wanted_R.mean()):.2g} nats sort fausse de {away:.0%}",
        )
    return words(
        en=f"divergences over {head.vocabulary} ids agree with float64 within {worst:.1%}",
        fr=f"les divergences sur {head.vocabulary} identifiants suivent le calcul en float64 à {worst:.1%} près",
    )


def gradients_are_finite(subject: Subject) -> str:
    """20: masses of 1e-30, logits far apart and rows without weight give finite losses and gradients."""
    hidden_RH, head = _text(subject)[0][:ROWS], still_head(subject)
    far_RH = hidden_RH * 300
    for name, objective in _objectives(subject, hidden_RH, head):
        weight_R = torch.ones(len(hidden_RH))
        weight_R[::3] = 0
        found = subject.fused(far_RH, head, [replace(objective, weight_R=weight_R)], gradients=True)
        assert found.hidden_RH is not None
        require(
            bool(torch.isfinite(found.hidden_RH).all() and torch.isfinite(found.loss)),
            f"{name}: the loss or a gradient is not a number where masses are tiny",
            f"{name} : la perte ou un gradient n'est pas un nombre là où les masses sont infimes",
        )
    return words(en="finite at masses below 1e-30", fr="nombres finis à des masses inférieures à 1e-30")


def clamps_agree(subject: Subject) -> str:
    """21: finite differences, with every clamp at work; metrics stay in their range."""
    hidden_RH, head = _toy()
    worst = 0.0
    for name, objective in _toy_objectives(len(hidden_RH), len(head.weight_VH)):
        found = subject.fused(hidden_RH, head, [objective], gradients=True, entropy_every=1)
        assert found.hidden_RH is not None
        sides = []
        direction_RH = torch.randn(hidden_RH.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
        for sign in (1, -1):
            moved_RH = hidden_RH + sign * 1e-5 * direction_RH
            sides.append(float(subject.fused(moved_RH, head, [objective], gradients=False).loss))
        slope, wanted = (sides[0] - sides[1]) / 2e-5, float((found.hidden_RH * direction_RH).sum())
        away = abs(slope - wanted) / (abs(slope) + abs(wanted) + 1e-9)
        worst = max(worst, away)
        require(
            worst < 1e-3,
            f"{name}: finite differences give {slope:.5g}, the gradient {wanted:.5g}",
            f"{name} : les différences finies donnent {slope:.5g}, le gradient {wanted:.5g}",
        )
        most = math.log(len(head.weight_VH)) + 1e-6
        entropy_R = found.figures.entropy_R
        require(
            bool(((entropy_R >= -1e-9) & (entropy_R <= most)).all()),
            f"{name}: an entropy is {float(entropy_R.max()):.3g}, outside of 0 to {most:.3g}",
            f"{name} : une entropie vaut {float(entropy_R.max()):.3g}, hors de 0 à {most:.3g}",
        )
    return words(
        en=f"finite differences agree within {worst:.0e}, with clamps at work",
        fr=f"les différences finies s'accordent à {worst:.0e} près, écrêtages actifs",
    )


def paths_agree(subject: Subject) -> str:
    """28: few entries or all of them, one chunk or many, alone or mixed: one loss."""
    hidden_RH, head = _text(subject)[0][:ROWS], still_head(subject)
    p_RV = torch.softmax(reference.logits_of(hidden_RH.flip(0), head) / 2, -1)
    weight_R = torch.linspace(0, 1, len(hidden_RH))
    ids_RV = torch.arange(p_RV.shape[1]).expand(len(hidden_RH), -1)
    options: dict[str, Any] = {"total": 3.0, "temperature": 2.0, "squared": True}
    logits_RV = (p_RV.log() * 2).float()
    sparse = Sparse(weight_R, ids_RV, p_RV.float(), torch.zeros(len(hidden_RH)), **options)
    dense = Dense(weight_R, lambda rows: logits_RV[rows], **options)
    labels = Labels(weight_R, p_RV.argmax(-1), total=3.0)

    def loss(logits_RV: Tensor) -> Tensor:
        return (weight_R.double() * reference.kl(p_RV, torch.softmax(logits_RV / 2, -1))).sum() * 4 / 3

    value, wanted_RH = reference.gradient(hidden_RH, head, loss)
    ways: dict[str, tuple[list[Objective], int]] = {
        "all entries": ([sparse], 0),
        "whole distribution": ([dense], 0),
        "entries, in chunks": ([sparse], 5),
        "distribution, in chunks": ([dense], 5),
    }
    worst = 0.0
    for name, (objectives, chunk_rows) in ways.items():
        found = subject.fused(hidden_RH, head, objectives, gradients=True, chunk_rows=chunk_rows)
        mixed = subject.fused(hidden_RH, head, [*objectives, labels], gradients=True, chunk_rows=chunk_rows)
        alone = subject.fused(hidden_RH, head, [labels], gradients=True)
        assert found.hidden_RH is not None and mixed.hidden_RH is not None and alone.hidden_RH is not None
        away = distance(found.hidden_RH, wanted_RH) + abs(float(found.loss) - value) / value
        away += distance(mixed.hidden_RH, found.hidden_RH + alone.hidden_RH)
        worst = max(worst, away)
        require(
            away < CLOSE,
            f"{name}: value and gradient are {away:.2g} away from the formula's",
            f"{name} : valeur et gradient s'écartent de la formule de {away:.2g}",
        )
    return words(
        en=f"{len(ways)} ways to the same loss agree within {worst:.0e}",
        fr=f"{len(ways)} chemins vers la même perte s'accordent à {worst:.0e} près",
    )


def moves(tensor: Tensor) -> bool:
    """Whether a gradient would run into a tensor."""
    return bool(tensor.requires_grad)


def _text(subject: Subject) -> tuple[Tensor, Sequence[int]]:
    """Hidden states (N, H) of one text of the job, and its ids."""
    example = max(subject.examples, key=lambda item: len(item.completion))
    ids = subject.student.prompt_ids(example.messages) + subject.student.completion_ids(example.completion)

    def make() -> Tensor:
        with torch.no_grad():
            return subject.hidden_states(subject.student.model, pack([ids]))

    hidden_NH: Tensor = subject.once(("text", tuple(ids)), make)
    return hidden_NH, ids


def _objectives(subject: Subject, hidden_RH: Tensor, head: Head) -> Iterator[tuple[str, Objective]]:
    """What the recipe's stages ask for, on some rows, with teachers that hold tiny masses too."""
    count = len(hidden_RH)
    ones_R, ids_R = torch.ones(count), torch.arange(count) % head.vocabulary
    far_RV = 40 * reference.logits_of(hidden_RH.flip(0), head).float()
    p_RK, ids_RK = torch.softmax(far_RV, -1).topk(min(ENTRIES, head.vocabulary))
    yield "cross_entropy", Labels(ones_R, ids_R)
    if any(compares(stage) for stage in subject.stages):
        yield "entries", Sparse(ones_R, ids_RK, p_RK, (1 - p_RK.sum(-1)).clamp(min=0))
        for name in ("forward", "reverse"):
            yield name, Dense(ones_R, lambda rows: far_RV[rows], getattr(divergence, name))
        yield "jensen_shannon", Dense(ones_R, lambda rows: far_RV[rows], divergence.jensen_shannon(0.5))
    if any(isinstance(stage, Grpo) for stage in subject.stages):
        yield "policy", Policy(ones_R, ids_R, ones_R, -ones_R)


def _toy() -> tuple[Tensor, Head]:
    """Hidden states (R, H) and a head of seven ids, in float64."""
    draw = torch.Generator().manual_seed(1)
    hidden_RH = torch.randn(4, 5, generator=draw, dtype=torch.float64)
    return hidden_RH, Head(torch.randn(7, 5, generator=draw, dtype=torch.float64), vocabulary=7)


def _toy_objectives(rows: int, vocabulary: int) -> Iterator[tuple[str, Objective]]:
    """Objectives on the toy head, the policy's ratio both inside and outside of its clip."""
    draw = torch.Generator().manual_seed(2)
    ones_R = torch.ones(rows, dtype=torch.float64)
    ids_R = torch.arange(rows) % vocabulary
    advantage_R = torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64)[:rows]
    sampler_R = torch.tensor([-9.0, -9.0, -0.1, -0.1], dtype=torch.float64)[:rows]
    teacher_RV = 3 * torch.randn(rows, vocabulary, generator=draw, dtype=torch.float64)
    p_RK, ids_RK = torch.softmax(teacher_RV, -1).topk(3)
    yield "cross_entropy", Labels(ones_R, ids_R)
    yield "policy", Policy(ones_R, ids_R, advantage_R, sampler_R, clip_low=CLIP, clip_high=CLIP)
    yield "entries", Sparse(ones_R, ids_RK, p_RK, 1 - p_RK.sum(-1))
    yield "forward", Dense(ones_R, lambda rows: teacher_RV[rows], divergence.forward)
    yield "reverse", Dense(ones_R, lambda rows: teacher_RV[rows], divergence.reverse)


def _js(p_RV: Tensor, q_RV: Tensor) -> Tensor:
    middle_RV = (p_RV + q_RV) / 2
    return (reference.kl(p_RV, middle_RV) + reference.kl(q_RV, middle_RV)) / 2


def _require_pull(subject: Subject, stage: Grpo) -> None:
    """The pull towards the reference is the gradient of a divergence, not a reward that ignores the token.

    Raises:
        Ill: it is not.
    """
    for part in take_step(subject, stage, Twin.of(subject)).learnt:
        noise_RH = torch.randn(part.hidden_RH.shape, generator=torch.Generator().manual_seed(0))
        moved_RH = part.hidden_RH + 0.3 * noise_RH * part.hidden_RH.std()
        head = still_head(subject)
        pull = part.objectives["reference"]
        found = subject.fused(moved_RH, head, [pull], gradients=True)
        p_RV = torch.softmax(reference.logits_of(part.hidden_RH, head), -1)
        weight_R = part.batch.kl_R.double()

        def loss(logits_RV: Tensor, p_RV: Tensor = p_RV, weight_R: Tensor = weight_R) -> Tensor:
            return (weight_R * reference.kl(torch.softmax(logits_RV, -1), p_RV)).sum()

        _, wanted_RH = reference.gradient(moved_RH, head, loss)
        assert found.hidden_RH is not None
        away = distance(found.hidden_RH, wanted_RH)
        require(
            away < CLOSE,
            f"the pull towards the reference is {away:.2g} of its size away from the divergence's gradient",
            f"le rappel vers la référence s'écarte du gradient de la divergence de {away:.2g} fois sa taille",
        )
