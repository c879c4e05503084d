"""Mistakes in what is learnt from a teacher's distribution: classes 1, 2, 3, 10, 11, 12, 13 and 24.

Each check takes the recipe's own stages, with the student's twin in the teacher's place, and looks at the loss and at
its gradient by the hidden states.

Shapes: R learnt rows, H hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from cornue.doctor import reference
from cornue.doctor.finding import Absent, require
from cornue.doctor.passes import Pass, Twin, distance, expected, learns_live, method_of, signal, take_step, twin_for
from cornue.doctor.subject import Subject, compares
from cornue.records.errors import Refused
from cornue.records.recipe import LogitKd
from cornue.records.words import words
from cornue.train.objectives import Dense, Sparse

NOTHING = 1e-3
SOMETHING = 0.05
CLOSE = 5e-3
# Counts of drawn rows scatter about their draws; a capture whose mean misses by this much was not read as it was drawn.
DRAWN = 0.2
FEW = 4


def no_hidden_labels(subject: Subject) -> str:
    """1: a student equal to its teacher has no loss and no gradient."""
    worst = 0.0
    for stage in _comparing(subject):
        equal, other = _learnt(subject, stage), _learnt(subject, stage, elsewhere=True)
        scale = float(other.gradient_RH.norm()) + 1e-12
        share = float(equal.gradient_RH.norm()) / scale
        worst = max(worst, share)
        require(
            abs(equal.loss) < NOTHING and share < NOTHING * 10,
            f"{stage.method}: the student as its own teacher has loss {equal.loss:.3g}, gradient {share:.3g} of usual",
            f"{stage.method} : l'élève comme son propre enseignant a une perte de {equal.loss:.3g}, un gradient de "
            f"{share:.3g} fois l'habituel",
        )
    return words(
        en=f"the student as its own teacher: no loss, gradient {worst:.1e} of usual",
        fr=f"l'élève comme son propre enseignant : perte nulle, gradient {worst:.1e} fois l'habituel",
    )


def temperature(subject: Subject) -> str:
    """2: the loss uses the stage's own temperature, and its square keeps the gradient's size."""
    worst = 0.0
    for stage in _comparing(subject):
        warm = stage.model_copy(update={"temperature": 2.0})
        twin = replace(Twin.of(subject), elsewhere=True, temperature=2.0)
        worst = max(worst, _gap(subject, warm, take_step(subject, warm, twin), twin))
        require(
            worst < CLOSE,
            f"{stage.method}: at temperature 2 the gradient is {worst:.2g} of its size away from the formula's",
            f"{stage.method} : à la température 2, le gradient s'écarte de la formule de {worst:.2g} fois sa taille",
        )
    return words(
        en=f"at temperature 2 the gradient is the formula's within {worst:.1e}",
        fr=f"à la température 2, le gradient est celui de la formule à {worst:.1e} près",
    )


def teacher_matters(subject: Subject) -> str:
    """3: another teacher gives another gradient."""
    for stage in _comparing(subject):
        equal, other = _learnt(subject, stage), _learnt(subject, stage, elsewhere=True)
        moved = distance(equal.gradient_RH, other.gradient_RH)
        require(
            moved > SOMETHING and other.gradient_RH.norm() > 1e-9,
            f"{stage.method}: another teacher changes the gradient by {moved:.2g} of its size",
            f"{stage.method} : un autre enseignant change le gradient de {moved:.2g} fois sa taille",
        )
    if learns_live(subject):
        apart = signal(subject)
        require(
            apart > 1e-6,
            f"the recipe's teacher says what the student says: {apart:.1g} nats apart",
            f"l'enseignant de la recette dit ce que dit l'élève : {apart:.1g} nats d'écart",
        )
    return words(en="another teacher gives another gradient", fr="un autre enseignant donne un autre gradient")


def no_clamped_sum(subject: Subject) -> str:
    """10: where the student holds the kept ids likelier than the teacher, there is a loss and a gradient."""
    worst = 0.0
    for stage in _cached(subject):
        twin = replace(Twin.of(subject), entries=FEW, kept=0.5)
        found = take_step(subject, stage, twin)
        worst = max(worst, _gap(subject, stage, found, twin))
        require(
            found.loss > 0 and worst < CLOSE,
            f"where the student exceeds the teacher on the kept ids, the loss is {found.loss:.3g} and the gradient "
            f"{worst:.2g} of its size away from the formula's",
            f"où l'élève dépasse l'enseignant sur les jetons gardés, la perte vaut {found.loss:.3g} et le gradient "
            f"s'écarte de la formule de {worst:.2g} fois sa taille",
        )
    return words(
        en="where the student exceeds the teacher on the kept ids, the gradient is the formula's",
        fr="où l'élève dépasse l'enseignant sur les jetons gardés, le gradient est celui de la formule",
    )


def tail_is_kept(subject: Subject) -> str:
    """11: a student equal to a teacher of whom few ids are known has nothing to learn."""
    for stage in _cached(subject):
        cut = take_step(subject, stage, replace(Twin.of(subject), entries=FEW))
        usual = float(_learnt(subject, stage, elsewhere=True).gradient_RH.norm()) + 1e-12
        share = float(cut.gradient_RH.norm()) / usual
        require(
            share < NOTHING * 10,
            f"an equal teacher of whom {FEW} ids are known pulls with {share:.2g} of the usual gradient",
            f"un enseignant égal dont on garde {FEW} jetons tire avec {share:.2g} fois le gradient habituel",
        )
    _require_rest(subject)
    return words(
        en=f"an equal teacher of whom {FEW} ids are known pulls at nothing; the rest keeps its mass",
        fr=f"un enseignant égal dont on garde {FEW} jetons ne tire pas ; le reste garde sa masse",
    )


def no_clipped_entries(subject: Subject) -> str:
    """12: the divergence is the whole sum, and a small step lowers it."""
    for stage in _comparing(subject):
        twin = twin_for(subject, stage, elsewhere=True)
        for part in _learnt(subject, stage, elsewhere=True).learnt:
            value, slope_RH = expected(subject, stage, part, twin)
            found = float(part.found.loss)
            require(
                abs(found - value) < CLOSE * abs(value) + 1e-5,
                f"{stage.method}: the loss is {found:.4g}, the formula's {value:.4g}",
                f"{stage.method} : la perte vaut {found:.4g}, celle de la formule {value:.4g}",
            )
            size = 0.01 * value / max(1e-12, float((slope_RH * part.gradient_RH.double()).sum()))
            moved = replace(part, hidden_RH=part.hidden_RH - size * part.gradient_RH)
            after, _ = expected(subject, stage, moved, twin)
            require(
                size > 0 and after < value,
                f"{stage.method}: a small step changes the divergence from {value:.5g} to {after:.5g}",
                f"{stage.method} : un petit pas fait passer la divergence de {value:.5g} à {after:.5g}",
            )
    return words(en="a small step lowers the whole divergence", fr="un petit pas réduit la divergence entière")


def direction(subject: Subject) -> str:
    """13: the divergence is the one that the stage names, by closed form on a lopsided pair and on the job's texts."""
    p, q = torch.tensor([[0.9, 0.09, 0.01]]).double(), torch.tensor([[0.3, 0.3, 0.4]]).double()
    named = []
    for stage in _comparing(subject):
        passed = _learnt(subject, stage, elsewhere=True)
        wanted = float(reference.formula_of(stage)(p, q))
        for part in passed.learnt:
            objective = part.objectives.get("divergence")
            if isinstance(objective, Dense):
                found = float(objective.divergence(p.log(), q.log())[0])
            else:
                found = float(reference.kl(p, q)) if isinstance(objective, Sparse) else float("nan")
            require(
                abs(found - wanted) < 1e-6,
                f"{stage.method}, {stage.objective}: {found:.4f} on a pair whose closed form is {wanted:.4f}",
                f"{stage.method}, {stage.objective} : {found:.4f} sur une paire dont la formule donne {wanted:.4f}",
            )
        away = _gap(subject, stage, passed, twin_for(subject, stage, elsewhere=True))
        require(
            away < CLOSE,
            f"{stage.method}: the gradient is {away:.2g} of its size away from that of {stage.objective}",
            f"{stage.method} : le gradient s'écarte de celui de {stage.objective} de {away:.2g} fois sa taille",
        )
        named.append(stage.objective)
    listed = ", ".join(sorted(set(named)))
    return words(en=f"{listed}: value and gradient of the name", fr=f"{listed} : la valeur et le gradient du nom")


def one_temperature(subject: Subject) -> str:
    """24: what was cut or drawn at one temperature is used at no other."""
    stages, kept = _cached(subject), subject.distributions
    if kept is not None:
        served = [t for t in (0.5, 1.0, 2.0) if kept.serves("forward_kl", t) != "no"]
        require(
            len(served) < 2,
            f"the capture says that it serves at temperatures {served}, and it was made at one",
            f"la capture dit servir aux températures {served}, et elle a été faite à une seule",
        )
    for stage in stages:
        warm = stage.model_copy(update={"temperature": 2.0})
        require(
            _refuses(subject, warm, replace(Twin.of(subject), entries=FEW)),
            "a capture made at temperature 1 is used at temperature 2",
            "une capture faite à la température 1 sert à la température 2",
        )
    return words(
        en="a capture is refused at any temperature but its own",
        fr="une capture est refusée à toute autre température que la sienne",
    )


def _comparing(subject: Subject) -> Sequence[Any]:
    """The stages that compare distributions, without the share of ground truth.

    Raises:
        Absent: there are none.
    """
    found = [stage for stage in subject.short_stages() if compares(stage)]
    if not found:
        raise Absent(
            words(en="no stage learns from a distribution", fr="aucune étape n'apprend d'une distribution de jetons")
        )
    return [stage.model_copy(update={"truth": 0.0}) if isinstance(stage, LogitKd) else stage for stage in found]


def _cached(subject: Subject) -> Sequence[LogitKd]:
    """Those that learn from a capture.

    Raises:
        Absent: there are none.
    """
    found = [stage for stage in _comparing(subject) if isinstance(stage, LogitKd) and not stage.live]
    if not found:
        raise Absent(
            words(
                en="no stage learns from the distributions of a capture",
                fr="aucune étape n'apprend des distributions d'une capture",
            )
        )
    return found


def _learnt(subject: Subject, stage: Any, elsewhere: bool = False) -> Pass:
    """The first step from the twin that says all, reading the same question or another one."""
    return take_step(subject, stage, twin_for(subject, stage, elsewhere))


def _gap(subject: Subject, stage: Any, passed: Pass, twin: Twin) -> float:
    """How far the gradient of a step is from the formula's."""
    wanted_RH = torch.cat([expected(subject, stage, part, twin)[1] for part in passed.learnt])
    return distance(passed.gradient_RH, wanted_RH)


def _refuses(subject: Subject, stage: LogitKd, twin: Twin) -> bool:
    try:
        method_of(subject, stage, twin)
    except Refused:
        return True
    return False


def _require_rest(subject: Subject) -> None:
    """The capture's own rows: masses and rest add up to one, drawn ones on average; likeliest ids leave a rest.

    Raises:
        Ill: they do not.
    """
    if subject.distributions is None or not subject.examples:
        return
    cut, gaps = subject.distributions.serves("forward_kl", 1.0) == "approximate", []
    for example in subject.examples:
        targets = subject.distributions.targets(example.prompt_id, example.index)
        require(
            not cut or bool(targets.rest.any()),
            f"{example.prompt_id}: the capture keeps the likeliest ids only, and gives all others no mass",
            f"{example.prompt_id} : la capture ne garde que les jetons probables, et ne donne rien aux autres",
        )
        row = np.repeat(np.arange(len(targets.rest)), np.diff(targets.splits))
        gaps.append(np.bincount(row, targets.weights, len(targets.rest)) + targets.rest - 1)
    gap_L = np.concatenate(gaps)
    gap = float(np.abs(gap_L).max() if cut else abs(gap_L.mean()))
    require(
        gap < (1e-3 if cut else DRAWN),
        f"masses and rest of the capture's rows miss 1 by {gap:.2g}",
        f"les masses et le reste des lignes de la capture manquent 1 de {gap:.2g}",
    )
