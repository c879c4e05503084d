"""Mistakes in which token is learnt where, and how much: classes 5, 6, 7, 8, 9 and 23.

Batches come from the recipe's own stages. A row is right if it predicts the token after its own, as the model itself
does when it reads that text alone.

Shapes: R learnt rows, N tokens of a batch, W vocabulary of the teacher.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cornue.doctor import reference
from cornue.doctor.finding import Absent, require
from cornue.doctor.passes import (
    Pass,
    Twin,
    first_steps,
    learns_live,
    method_of,
    read_by_teacher,
    rows_of,
    states,
    still_head,
    take_step,
    twin_for,
    twin_rows,
)
from cornue.doctor.subject import Subject, compares
from cornue.models.packed import pack
from cornue.records.recipe import Grpo, LogitKd
from cornue.records.words import words
from cornue.train.batches import Batch, Lesson
from cornue.train.objectives import Dense, Labels

CLOSE = 2e-3
PADS = 64
LEAST = 0.01
CLEARLY = 0.3


def labels_follow_their_rows(subject: Subject) -> str:
    """5: the label of each row is the token after it, and its likelihood is that of the text alone."""
    rows, worst = 0, 0.0
    for stage, batch in _batches(subject):
        wanted = [lesson.completion[place] for lesson, place in rows_of(batch)]
        require(
            batch.labels_R.tolist() == wanted,
            f"{stage.method}: labels are not the tokens that follow their rows",
            f"{stage.method} : les étiquettes ne sont pas les jetons qui suivent leurs lignes",
        )
        labels = Labels(torch.ones(len(wanted)), batch.labels_R)
        logs_R = subject.fused(states(subject, batch), still_head(subject), [labels], gradients=False).figures.logs_OR
        alone_RV = torch.log_softmax(_own_rows(Twin.of(subject), batch).double(), -1)
        gap_R = (logs_R[0].double() - alone_RV.gather(1, torch.tensor(wanted)[:, None])[:, 0]).abs()
        worst, rows = max(worst, float(gap_R.max())), rows + len(wanted)
        require(
            worst < CLOSE * 5,
            f"{stage.method}: a token's log-probability is {worst:.2g} nats away from that of its text read alone",
            f"{stage.method} : la log-probabilité d'un jeton s'écarte de {worst:.2g} nats de celle du texte lu seul",
        )
    return words(
        en=f"{rows} rows predict the token that follows, within {worst:.1e} nats of each text read alone",
        fr=f"{rows} lignes prédisent le jeton qui suit, à {worst:.1e} nats de chaque texte lu seul",
    )


def teacher_rows_match(subject: Subject) -> str:
    """6: the teacher's rows are those of the same tokens, row by row."""
    rows, worst = 0, 0.0
    twin = replace(Twin.of(subject), elsewhere=True)
    for stage, passed in first_steps(subject):
        if not compares(stage):
            continue
        for part in passed.learnt:
            objective = part.objectives.get("divergence")
            rows += len(part.batch.labels_R)
            if isinstance(objective, Dense):
                given_RW = torch.log_softmax(objective.teacher(slice(None)).double(), -1)
                alone_RW = torch.log_softmax(twin_rows(subject, twin, part.batch).double(), -1)
                worst = max(worst, float((given_RW - alone_RW).exp().sub(1).mul(alone_RW.exp()).abs().sum(-1).max()))
            require(
                worst < CLOSE * 5,
                f"{stage.method}: a row of the teacher is {worst:.2g} of its mass away from that of its text alone",
                f"{stage.method} : une ligne de l'enseignant s'écarte de {worst:.2g} fois sa masse du texte lu seul",
            )
    if not rows:
        raise Absent(
            words(en="no stage learns from a distribution", fr="aucune étape n'apprend d'une distribution de jetons")
        )
    if learns_live(subject):
        _require_own_reading(subject)
    lessons = _cached_lessons(subject)
    for lesson in lessons:
        _require_same_tokens(subject, lesson)
    _require_no_shift(lessons)
    return words(
        en=f"{rows} rows of the teacher stand beside their own tokens",
        fr=f"{rows} lignes de l'enseignant sont en face de leurs jetons",
    )


def end_of_turn_is_learnt(subject: Subject) -> str:
    """7: what is learnt of a text, decoded, is the whole answer with the end of the turn, once, at its end."""
    texts = {(example.prompt_id, example.index): example.completion for example in subject.examples}
    end, seen = subject.student.end_id, 0
    for stage, batch in _batches(subject):
        for lesson, places in zip(batch.lessons, batch.places, strict=True):
            trained = [lesson.completion[place] for place in places]
            prompt_id, index = lesson.name.split("/")
            if lesson.author != "teacher":
                continue
            seen += 1
            text, wanted = subject.student.decode(trained), texts[prompt_id, int(index)]
            require(
                text == wanted and trained.count(end) == 1 and trained[-1] == end,
                f"{stage.method}: of “{wanted[:40]}” is learnt “{text[:40]}”, its end {trained.count(end)} times",
                f"{stage.method} : de « {wanted[:40]} » on apprend « {text[:40]} », sa fin {trained.count(end)} fois",
            )
    if not seen:
        raise Absent(
            words(en="no stage learns a text of the teacher", fr="aucune étape n'apprend un texte de l'enseignant")
        )
    return words(
        en=f"{seen} answers are learnt whole, the end of the turn among their tokens",
        fr=f"{seen} réponses sont apprises en entier, la fin du tour parmi leurs jetons",
    )


def only_completions_are_learnt(subject: Subject) -> str:
    """8: no token of a prompt is learnt, and neighbours in a batch, padding or not, change nothing."""
    rows = 0
    for stage, batch in _batches(subject):
        allowed = set()
        for lesson, start in zip(batch.lessons, batch.packed.starts, strict=True):
            first = start + len(lesson.prompt) - 1
            allowed |= set(range(first, first + len(lesson.completion)))
        weight_R = batch.ce_R.abs() + batch.kl_R.abs() + batch.pg_R.abs()
        wrong = [
            row for row, weight in zip(batch.rows_R.tolist(), weight_R.tolist(), strict=True) if row not in allowed
        ]
        rows += len(batch.rows_R)
        require(
            not wrong,
            f"{stage.method}: {len(wrong)} tokens of prompts or padding are learnt",
            f"{stage.method} : {len(wrong)} jetons de questions ou de remplissage sont appris",
        )
    away = _changed_by_company(subject)
    require(
        away < CLOSE,
        f"{PADS} tokens beside a text change its hidden states by {away:.2g} of their size",
        f"{PADS} jetons à côté d'un texte changent ses états cachés de {away:.2g} fois leur taille",
    )
    return words(
        en=f"{rows} rows, all within completions; {PADS} tokens beside a text change nothing ({away:.0e})",
        fr=f"{rows} lignes, toutes dans les réponses ; {PADS} jetons à côté n'y changent rien ({away:.0e})",
    )


def parts_add_up(subject: Subject) -> str:
    """9: a step in one batch or in many is the same step, and its weights add up to one."""
    worst, most = 0.0, 1
    for stage, whole in first_steps(subject):
        half = -(-sum(part.batch.tokens for part in whole.learnt) // 2)
        parts = take_step(subject, stage, twin_for(subject, stage, elsewhere=True), micro_tokens=half)
        most = max(most, len(parts.learnt))
        by_place, by_place_in_parts = _gradients(whole), _gradients(parts)
        scale = max(float(gradient.norm()) for gradient in by_place.values()) + 1e-12
        away = max(float((by_place[key] - by_place_in_parts[key]).norm()) / scale for key in by_place)
        # Advantages add up to nothing, and so may a loss.
        worst = max(worst, away, abs(whole.loss - parts.loss) / max(abs(whole.loss), LEAST))
        total = sum(float((part.batch.ce_R + part.batch.kl_R).sum()) for part in whole.learnt)
        require(
            worst < CLOSE * 5,
            f"{stage.method}: in {len(parts.learnt)} batches instead of one, the step differs by {worst:.2g}",
            f"{stage.method} : en {len(parts.learnt)} lots au lieu d'un, le pas diffère de {worst:.2g}",
        )
        require(
            isinstance(stage, Grpo) or abs(total - 1) < CLOSE,
            f"{stage.method}: the weights of a step add up to {total:.4g}, not to 1",
            f"{stage.method} : les poids d'un pas font {total:.4g}, et non 1",
        )
    return words(
        en=f"in 1 batch or in {most}, the same step within {worst:.0e}; its weights add up to 1",
        fr=f"en 1 lot ou en {most}, le même pas à {worst:.0e} près ; ses poids font 1",
    )


def cache_joins_its_text(subject: Subject) -> str:
    """23: what a capture says of a text does not depend on when it is asked, and belongs to that text."""
    kept = subject.distributions
    lessons = list(_cached_lessons(subject))
    if kept is None or not lessons:
        raise Absent(words(en="no stage reads a capture's distributions", fr="aucune étape ne lit de capture"))
    to_student = kept.student_ids(subject.student)
    for lesson in lessons[::-1]:
        prompt_id, index = lesson.name.split("/")
        fresh = kept.targets(prompt_id, int(index)).for_student(to_student)
        same = all(
            np.array_equal(getattr(fresh, name), getattr(lesson.targets, name))
            for name in ("splits", "ids", "weights", "rest")
        )
        require(
            same,
            f"{prompt_id}: the capture says something else of this text when it is asked in another order",
            f"{prompt_id} : la capture dit autre chose de ce texte quand on la lit dans un autre ordre",
        )
    return words(
        en=f"{len(lessons)} texts have their own rows, in whatever order they are read",
        fr=f"{len(lessons)} textes ont leurs propres lignes, quel que soit l'ordre de lecture",
    )


def _batches(subject: Subject) -> Iterator[tuple[Any, Batch]]:
    """The batches of the first step of each stage."""
    for stage, passed in first_steps(subject):
        for part in passed.learnt:
            yield stage, part.batch


def _own_rows(twin: Twin, batch: Batch) -> Tensor:
    """The student's logits (R, V) at the learnt rows, each text read alone."""
    return torch.cat(
        [
            twin.rows(lesson.prompt, lesson.completion)[list(places)]
            for lesson, places in zip(batch.lessons, batch.places, strict=True)
        ]
    )


def _gradients(passed: Pass) -> dict[tuple[str, int], Tensor]:
    """The gradient by the hidden state (H) of each row, by its text and place."""
    return {
        (lesson.name, place): gradient_H
        for part in passed.learnt
        for (lesson, place), gradient_H in zip(rows_of(part.batch), part.gradient_RH, strict=True)
    }


def _changed_by_company(subject: Subject) -> float:
    """How far a text's hidden states move when others lie beside it."""
    example = min(subject.examples, key=lambda item: len(item.completion))
    ids = subject.student.prompt_ids(example.messages) + subject.student.completion_ids(example.completion)
    # Shorter texts lie in front of it, longer ones behind.
    others = [[subject.student.end_id] * count for count in (2, PADS)]
    with torch.no_grad():
        alone_NH = subject.hidden_states(subject.student.model, pack([ids]))
        packed = pack([ids, *others])
        start = packed.starts[packed.order.index(0)]
        beside_NH = subject.hidden_states(subject.student.model, packed)[start : start + len(ids)]
    return float((alone_NH - beside_NH).norm() / alone_NH.norm())


def _cached_lessons(subject: Subject) -> Sequence[Lesson]:
    """What the stages that read the recipe's capture learn."""
    kept = subject.distributions
    if kept is None:
        return []
    return [
        lesson
        for stage in subject.short_stages()
        if isinstance(stage, LogitKd) and not stage.live
        for batch in method_of(subject, stage, None).plan(0)
        for lesson in batch.lessons
        if kept.knows(lesson.name.split("/")[0], int(lesson.name.split("/")[1]))
    ]


def _require_same_tokens(subject: Subject, lesson: Lesson) -> None:
    """A capture's rows are as many as the tokens that are learnt, and those decode to the answer.

    Raises:
        Ill: they are not.
    """
    kept = subject.distributions
    assert kept is not None
    prompt_id, index = lesson.name.split("/")
    written = np.asarray(kept.completion(prompt_id, int(index)), dtype=np.int64)
    mapped = kept.student_ids(subject.student)[written].tolist()
    rows = len(lesson.targets.rest)
    require(
        list(lesson.completion[: len(mapped)]) == mapped and rows == len(mapped),
        f"{prompt_id}: {rows} rows of the capture for {len(mapped)} tokens of the answer",
        f"{prompt_id} : {rows} lignes de la capture pour {len(mapped)} jetons de la réponse",
    )
    text = next(e.completion for e in subject.examples if e.prompt_id == prompt_id and e.index == int(index))
    found = subject.student.decode(mapped)
    require(
        found.strip() == text.strip(),
        f"{prompt_id}: the capture's tokens say “{found[:40]}”, the answer is “{text[:40]}”",
        f"{prompt_id} : les jetons de la capture disent « {found[:40]} », la réponse est « {text[:40]} »",
    )


def _require_own_reading(subject: Subject) -> None:
    """The recipe's own teacher, in a step, says what it says of the same tokens when it reads them alone.

    Raises:
        Ill: it does not.
    """
    batch, given_RW = read_by_teacher(subject, 1)
    (lesson,), teacher = batch.lessons, subject.teacher
    assert teacher is not None
    ids = subject.ids_in(subject.student.tokenizer, teacher.tokenizer)
    prompt = teacher.prompt_ids(subject.messages()[lesson.name.split("/")[0]])
    tokens = ids[list(lesson.completion)].tolist()
    alone_TW = reference.run(teacher.model, [*prompt, *tokens])[len(prompt) - 1 : -1, : len(teacher.tokenizer)]
    alone_R = torch.log_softmax(alone_TW.double(), -1).gather(1, torch.tensor(tokens)[:, None])[:, 0]
    given_R = given_RW.gather(1, torch.tensor(lesson.completion)[:, None])[:, 0]
    away = float((alone_R[list(batch.places[0])] - given_R[: len(batch.places[0])]).abs().max())
    require(
        away < CLOSE * 20,
        f"the teacher's log-probability of a token is {away:.2g} nats away from that of the text read alone",
        f"la log-probabilité d'un jeton par l'enseignant s'écarte de {away:.2g} nats de celle du texte lu seul",
    )


def _require_no_shift(lessons: Sequence[Lesson]) -> None:
    """A capture holds the tokens that were written likelier than their neighbours.

    Raises:
        Ill: it clearly holds the next or the former ones likelier.
    """
    masses = {-1: 0.0, 0: 0.0, 1: 0.0}
    rows = 0
    for lesson in lessons:
        targets = lesson.targets
        for place in range(1, len(targets.rest) - 1):
            row = slice(int(targets.splits[place]), int(targets.splits[place + 1]))
            rows += 1
            for shift in masses:
                masses[shift] += float(targets.weights[row][targets.ids[row] == lesson.completion[place + shift]].sum())
    own, other = masses[0], max(masses[-1], masses[1])
    require(
        own * 2 >= other or other < rows * CLEARLY,
        f"the capture gives the tokens that were written {own / max(1, rows):.2f}, their neighbours "
        f"{other / max(1, rows):.2f}",
        f"la capture donne {own / max(1, rows):.2f} aux jetons écrits, et {other / max(1, rows):.2f} à leurs voisins",
    )
