"""Mistakes outside of the arithmetic: a teacher that wavers, a grader that errs, an exported file of another model.

Classes 22, 26 and 27. Shapes: R rows, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import torch

from cornue.doctor import reference
from cornue.doctor.finding import Absent, require
from cornue.doctor.passes import (
    Pass,
    Twin,
    first_steps,
    learns_live,
    mean_kl,
    read_by_teacher,
    rows_of,
    signal,
    states,
    still_head,
)
from cornue.doctor.subject import Subject
from cornue.models.engine import Engine, Request
from cornue.models.load import load_model, load_tokenizer
from cornue.records.errors import CheckFailed
from cornue.records.recipe import Grpo, OnPolicyKd
from cornue.records.samples import Example, Prompt
from cornue.records.words import words
from cornue.train.objectives import Labels

NOISE = 0.1
DRIFT = {"F32": 1e-4, "F16": 1e-3, "BF16": 0.05, "Q8_0": 0.02}
AGREEMENT, NEARLY = 0.9, 0.1
WRITTEN = 8


def teacher_repeats_itself(subject: Subject) -> str:
    """22: two readings of a text, in other company, differ by less than what is learnt; sampler and learner too."""
    said = []
    if learns_live(subject):
        noise, apart = _wavering(subject), signal(subject)
        require(
            noise < max(NOISE * apart, 1e-5),
            f"two readings by the teacher differ by {noise:.2g} nats; it differs from the student by {apart:.2g}",
            f"deux lectures de l'enseignant diffèrent de {noise:.2g} nats ; il diffère de l'élève de {apart:.2g}",
        )
        said.append(
            words(
                en=f"two readings differ by {noise:.0e} nats, the student by {apart:.2g}",
                fr=f"deux lectures diffèrent de {noise:.0e} nats, l'élève de {apart:.2g}",
            )
        )
    for stage, passed in first_steps(subject):
        if isinstance(stage, (OnPolicyKd, Grpo)):
            gap = _sampler_gap(subject, stage, passed)
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
        drift = mean_kl(own_RV, found_RV)
        favoured_R = own_RV.gather(-1, found_RV.argmax(-1, keepdim=True))[:, 0]
        same = float((favoured_R > own_RV.amax(-1) - NEARLY).double().mean())
        require(
            drift < DRIFT[kind] and same >= AGREEMENT,
            f"{kind}: {drift:.2g} nats away from the weights, the same likeliest token in {same:.0%} of places",
            f"{kind} : à {drift:.2g} nats des poids, le même jeton probable à {same:.0%} des places",
        )
        if subject.engine is not None:
            _require_same_in_engine(subject, subject.engine, path, example)
        path.unlink()
        said.append(
            words(en=f"{kind}: {drift:.0e} nats, {same:.0%} alike", fr=f"{kind} : {drift:.0e} nats, {same:.0%}")
        )
    return ", ".join(said)


def _require_same_in_engine(subject: Subject, engine: Callable[..., Engine], path: Path, example: Example) -> None:
    """The engine that serves the file cuts a question as the student does, and writes what the weights hold likely.

    Raises:
        Ill: it does not.
    """
    prompt = subject.student.prompt_ids(example.messages)
    with engine(path, slots=1, context=len(prompt) + WRITTEN + 1, threads=1) as running:
        found = running.tokenize(subject.student.prompt_text(example.messages))
        require(
            found == prompt,
            f"the engine cuts a question into {len(found)} tokens, training into {len(prompt)}: "
            f"{found[:4]}, {prompt[:4]}",
            f"le moteur découpe une question en {len(found)} jetons, l'entraînement en {len(prompt)} : "
            f"{found[:4]}, {prompt[:4]}",
        )
        written = running.ask(Request(prompt, max_tokens=WRITTEN)).token_ids
    own_TV = torch.log_softmax(reference.run(Twin.of(subject).model, [*prompt, *written]).double(), -1)
    own_LV = own_TV[len(prompt) - 1 : -1]
    behind = float((own_LV.amax(-1) - own_LV.gather(-1, torch.tensor(written)[:, None])[:, 0]).median())
    require(
        behind < NEARLY * 5,
        f"the engine writes tokens that the weights hold {behind:.2g} nats less likely than their own",
        f"le moteur écrit des jetons que les poids jugent moins probables que les leurs, de {behind:.2g} nats",
    )


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


def _wavering(subject: Subject) -> float:
    """Mean KL (nats) between two readings of a text by the teacher, alone and in company."""
    batch, alone_RW = read_by_teacher(subject, 1)
    company, given_RW = read_by_teacher(subject, 2)
    parts = torch.split(given_RW, [len(places) for places in company.places])
    beside_RW = next(
        part for lesson, part in zip(company.lessons, parts, strict=True) if lesson.name == batch.lessons[0].name
    )
    return abs(mean_kl(alone_RW, beside_RW))


def _sampler_gap(subject: Subject, stage: OnPolicyKd | Grpo, passed: Pass) -> float:
    """Mean distance (nats) between log-probabilities when tokens were drawn and when they are learnt."""
    gaps: list[float] = []
    for batch in (part.batch for part in passed.learnt):
        drawn = [lesson.sampler[place] if lesson.sampler else math.nan for lesson, place in rows_of(batch)]
        labels = Labels(torch.ones(len(drawn)), batch.labels_R, temperature=stage.temperature)
        logs_R = subject.fused(states(subject, batch), still_head(subject), [labels], gradients=False).figures.logs_OR[
            0
        ]
        gaps += [abs(a - b) for a, b in zip(logs_R.tolist(), drawn, strict=True) if not math.isnan(b)]
    return sum(gaps) / max(1, len(gaps))


def _asked(prompt: Prompt) -> str:
    return prompt.messages[-1].content
