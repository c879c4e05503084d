"""Mistakes outside of the arithmetic: a teacher that wavers, a grader that errs, an exported file of another model.

Classes 22, 26 and 27. Shapes: R rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from cornue.doctor import reference
from cornue.doctor.finding import Absent, require
from cornue.doctor.passes import Twin, method_of, states, still_head
from cornue.doctor.subject import Subject
from cornue.models.load import load_model, load_tokenizer
from cornue.records.errors import CheckFailed
from cornue.records.recipe import Grpo, LogitKd, OnPolicyKd
from cornue.records.samples import Prompt
from cornue.records.words import words
from cornue.train.objectives import Dense, Labels

NOISE = 0.1
DRIFT = {"F32": 1e-4, "F16": 1e-3, "BF16": 0.05, "Q8_0": 0.02}
AGREEMENT, NEARLY = 0.9, 0.1


def teacher_repeats_itself(subject: Subject) -> str:
    """22: two readings of a text, in other company, differ by less than what is learnt; sampler and learner too."""
    said = []
    live = [
        stage
        for stage in subject.short_stages()
        if isinstance(stage, OnPolicyKd) or (isinstance(stage, LogitKd) and stage.live)
    ]
    if live and subject.teacher is not None:
        noise, signal = _wavering(subject, live[0])
        require(
            noise < max(NOISE * signal, 1e-5),
            f"two readings by the teacher differ by {noise:.2g} nats; it differs from the student by {signal:.2g}",
            f"deux lectures de l'enseignant diffèrent de {noise:.2g} nats ; il diffère de l'élève de {signal:.2g}",
        )
        said.append(
            words(
                en=f"two readings differ by {noise:.0e} nats, the student by {signal:.2g}",
                fr=f"deux lectures diffèrent de {noise:.0e} nats, l'élève de {signal:.2g}",
            )
        )
    for stage in subject.short_stages():
        if isinstance(stage, (OnPolicyKd, Grpo)):
            gap = _sampler_gap(subject, stage)
            require(
                gap < 1e-2,
                f"{stage.method}: sampler and learner differ by {gap:.2g} nats a token",
                f"{stage.method} : l'écriture et l'apprentissage diffèrent de {gap:.2g} nats par jeton",
            )
            said.append(words(en=f"sampler and learner by {gap:.0e}", fr=f"l'écriture et l'apprentissage de {gap:.0e}"))
    if not said:
        raise Absent(
            words(
                en="no stage asks a teacher in the step, and the student does not write while it learns",
                fr="aucune étape n'interroge d'enseignant en chemin, et l'élève n'écrit pas en apprenant",
            )
        )
    return "; ".join(said)


def verifier_is_right(subject: Subject) -> str:
    """26: true answers are accepted in any spacing, spoilt and swapped ones are not, and the teacher's are graded."""
    verifier = subject.verifier
    prompts = [prompt for prompt in subject.prompts if prompt.truth is not None]
    if verifier is None or not prompts:
        raise Absent(words(en="no prompt has a ground truth", fr="aucune question n'a de vérité connue"))
    try:
        proved = verifier.prove(prompts)
    except CheckFailed as error:
        require(False, error.message, error.message)
    for prompt in prompts:
        gold = verifier.gold(prompt)
        for text in (f"{gold}\n", f"\n{gold}  "):
            require(
                verifier.weigh(prompt, text)[0] == "correct",
                f"the true answer with spaces around it is not correct to “{_asked(prompt)}”",
                f"la vraie réponse entourée d'espaces n'est pas correcte pour « {_asked(prompt)} »",
            )
    swapped = [(a, b) for a, b in zip(prompts, prompts[1:], strict=False) if a.truth != b.truth]
    accepted = sum(verifier.weigh(a, verifier.gold(b))[0] == "correct" for a, b in swapped)
    require(
        accepted * 2 <= len(swapped),
        f"{accepted} of {len(swapped)} answers to other questions are found correct",
        f"{accepted} réponses à d'autres questions sur {len(swapped)} sont jugées correctes",
    )
    return _graded(subject, proved)


def exported_is_the_same(subject: Subject) -> str:
    """27: an exported file, read again, gives the same distributions, cuts text alike and holds the same template."""
    example = max(subject.examples, key=lambda item: len(item.completion))
    student, said = subject.student, []
    ids = [*student.prompt_ids(example.messages), *student.completion_ids(example.completion)]
    own_RV = torch.log_softmax(reference.run(Twin.of(subject).model, ids).double(), -1)
    for kind in subject.kinds:
        path = subject.folder / f"doctor-{kind}.gguf"
        subject.export(student.model, student.tokenizer, path, kind=kind)
        tokenizer = load_tokenizer(path)
        require(
            tokenizer.chat_template == student.tokenizer.chat_template and tokenizer.eos_token_id == student.end_id,
            f"{kind}: the file has another template or end of turn",
            f"{kind} : le fichier a un autre gabarit ou une autre fin de tour",
        )
        for text in {e.completion for e in subject.examples}:
            require(
                tokenizer(text, add_special_tokens=False)["input_ids"]
                == student.tokenizer(text, add_special_tokens=False)["input_ids"],
                f"{kind}: the file's tokenizer cuts “{text[:40]}” otherwise",
                f"{kind} : le tokenizer du fichier découpe « {text[:40]} » autrement",
            )
        found_RV = torch.log_softmax(reference.run(load_model(path), ids).double(), -1)
        path.unlink()
        drift = float((own_RV.exp() * (own_RV - found_RV)).sum(-1).mean())
        favoured_R = own_RV.gather(-1, found_RV.argmax(-1, keepdim=True))[:, 0]
        same = float((favoured_R > own_RV.amax(-1) - NEARLY).double().mean())
        require(
            drift < DRIFT[kind] and same >= AGREEMENT,
            f"{kind}: {drift:.2g} nats away from the weights, the same likeliest token in {same:.0%} of places",
            f"{kind} : à {drift:.2g} nats des poids, le même jeton probable à {same:.0%} des places",
        )
        said.append(
            words(en=f"{kind}: {drift:.0e} nats, {same:.0%} alike", fr=f"{kind} : {drift:.0e} nats, {same:.0%}")
        )
    return ", ".join(said)


def _graded(subject: Subject, proved: int) -> str:
    """How the teacher's own answers fare, where it has been asked.

    Raises:
        Ill: none of many is right, which says more of the verifier than of the teacher.
    """
    assert subject.verifier is not None
    by_id: dict[str, Prompt] = {prompt.id: prompt for prompt in subject.prompts}
    judged = [subject.verifier.judge(by_id[a.prompt_id], a).value for a in subject.answers if a.prompt_id in by_id]
    right = judged.count("correct")
    require(
        right > 0 or len(judged) < 10,
        f"not one of {len(judged)} answers of the teacher is found correct",
        f"aucune des {len(judged)} réponses de l'enseignant n'est jugée correcte",
    )
    told = words(en=f"; the teacher: {right} of {len(judged)}", fr=f" ; l'enseignant : {right} sur {len(judged)}")
    return words(
        en=f"true and wrong answers told apart on {proved} questions",
        fr=f"vraies et fausses réponses distinguées sur {proved} questions",
    ) + (told if judged else "")


def _wavering(subject: Subject, stage: Any) -> tuple[float, float]:
    """Mean KL in nats: between two readings of a text by the teacher, alone and in company; from it to the student."""
    readings: list[dict[str, Tensor]] = []
    examples = sorted(subject.examples, key=lambda item: len(item.completion))[:2]
    signal = 0.0
    for company in (examples[:1], examples):
        few = replace(subject, examples=company)
        stage = LogitKd(method="logit_kd", live=True, epochs=1, batch_tokens=stage.batch_tokens)
        (batch, *_) = method_of(few, stage, None).plan(0)
        dense = method_of(few, stage, None).objectives(batch)["divergence"]
        assert isinstance(dense, Dense)
        rows_RW = torch.log_softmax(dense.teacher(slice(None)).double(), -1)
        sizes = [len(places) for places in batch.places]
        parts = zip(batch.lessons, torch.split(rows_RW, sizes), strict=True)
        readings.append({lesson.name: part for lesson, part in parts})
        own_RV = torch.log_softmax(reference.logits_of(states(few, batch), still_head(few)), -1)
        width = min(own_RV.shape[1], rows_RW.shape[1])
        signal = float(_mean_kl(rows_RW[:, :width], own_RV[:, :width]))
    (name,) = readings[0]
    return abs(_mean_kl(readings[0][name], readings[1][name])), signal


def _mean_kl(first_RV: Tensor, second_RV: Tensor) -> float:
    """From log-probabilities."""
    return float((first_RV.exp() * (first_RV - second_RV)).sum(-1).mean())


def _sampler_gap(subject: Subject, stage: OnPolicyKd | Grpo) -> float:
    """Mean distance (nats) between log-probabilities when tokens were drawn and when they are learnt."""
    gaps: list[float] = []
    for batch in method_of(subject, stage, Twin.of(subject)).plan(0):
        drawn: Sequence[float] = [
            lesson.sampler[place] if lesson.sampler else float("nan")
            for lesson, places in zip(batch.lessons, batch.places, strict=True)
            for place in places
        ]
        labels = Labels(torch.ones(len(drawn)), batch.labels_R, temperature=stage.temperature)
        logs_R = subject.fused(states(subject, batch), still_head(subject), [labels], gradients=False).figures.logs_OR[
            0
        ]
        gaps += [abs(a - b) for a, b in zip(logs_R.tolist(), drawn, strict=True) if b == b]
    return sum(gaps) / max(1, len(gaps))


def _asked(prompt: Prompt) -> str:
    return prompt.messages[-1].content
