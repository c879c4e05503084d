"""The step ``evaluate``: teacher, student, untouched start and baselines on the same held-out questions.

It exports the files that will be served and measures those, not the weights that were trained; how far the files agree
with the weights is measured too. Where the job has a register, the student's answers count twice: as it gave them,
which is compared with the teacher, and ``settled``, as people get them. Results are kept apart by stratum. Nothing is
chosen here, and nothing from here goes back into training.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cornue.evaluate.answers import Answered, answer_all
from cornue.evaluate.baselines import always_declines, nearest
from cornue.evaluate.score import by_stratum, compare_answerers, judge_all
from cornue.evaluate.statistics import share
from cornue.models.engine import Request
from cornue.models.export import export_gguf
from cornue.models.sample import generate
from cornue.models.student import Student
from cornue.records.progress import Progress
from cornue.records.recipe import Recipe
from cornue.records.samples import Example, Prompt, Sample, Verdict
from cornue.records.words import words
from cornue.seal.tables import write_records
from cornue.seal.write import write_json
from cornue.sources.register import Register
from cornue.verify.base import Verifier
from cornue.verify.doubts import TEMPERATURE, settle

START_QUESTIONS = 100
AT_ONCE = 100

Answerer = Callable[[Sequence[Prompt], int], Answered]


@dataclass(frozen=True)
class Exam:
    """What is examined, and on what.

    Args:
        prompts: the held-out prompts.
        teacher: the teacher's first answer to each, as the capture holds it.
        examples: what the student learnt from; the nearest one is a baseline.
        student: folder of the trained student.
        start: file or folder from which it started.
        register: the table that the questions are about, if there is one.
    """

    prompts: Sequence[Prompt]
    teacher: Sequence[Sample]
    examples: Sequence[Example]
    student: Path
    start: Path
    register: Register | None = None


def run_evaluate(
    recipe: Recipe, exam: Exam, verifier: Verifier, folder: Path, partial: Path, progress: Progress
) -> dict[str, Any]:
    """Export, ask, judge; writes the files, every answer with its verdict, and ``results.json``.

    Args:
        partial: where unfinished answers are kept; may lie inside ``folder``.

    Returns:
        What ``results.json`` holds.
    """
    student = Student.read(exam.student)
    files: dict[str, Path] = {}
    for kind in recipe.pack.formats:
        path = files[kind] = folder / f"student-{kind}.gguf"
        if not path.exists():
            progress.say(words(en=f"writing {path.name}", fr=f"écriture de {path.name}"))
            facts = {"general.license": recipe.pack.licence}
            export_gguf(student.model, student.tokenizer, path, kind=kind, name=recipe.recipe.name, facts=facts)
    render = _render(student)

    def answer(prompts: Sequence[Prompt], attempt: int) -> Answered:
        place = partial / (f"again-{attempt}" if attempt else "student")
        how = Request("", recipe.evaluate.max_tokens, temperature=TEMPERATURE if attempt else 0.0, seed=attempt)
        what = words(en="the student answers", fr="l'élève répond")
        if attempt:
            what = words(en=f"asked again ({attempt})", fr=f"réinterrogé ({attempt})")
        return answer_all(files[recipe.pack.serve], prompts, render, place, how, progress, what)

    served = answer(exam.prompts, 0)
    answers: dict[str, Sequence[Sample]] = {"student": served.samples, "teacher": exam.teacher}
    if exam.register:
        answers["settled"] = _settled(exam, exam.register, served.samples, answer)
    if recipe.evaluate.baseline:
        answers |= _baselines(recipe, exam, partial, progress)
    verdicts = {name: judge_all(verifier, exam.prompts, samples) for name, samples in answers.items()}
    for name, samples in answers.items():
        # How long an answer took differs between two sittings.
        timeless = [sample.model_copy(update={"seconds": 0.0}) for sample in samples]
        write_records(folder / f"answers-{name}.parquet", timeless, Sample)
        write_records(folder / f"verdicts-{name}.parquet", list(verdicts[name].values()), Verdict)
    results = {
        "answerers": {name: by_stratum(exam.prompts, found) for name, found in verdicts.items()},
        "student_against_teacher": compare_answerers(exam.prompts, verdicts["student"], verdicts["teacher"]),
        "agreement": _agreement(recipe, student, files, exam.prompts, partial, progress),
    }
    write_records(folder / "prompts.parquet", exam.prompts, Prompt)
    write_json(folder / "results.json", results)
    write_json(folder / "cost.json", {"core_seconds": served.core_seconds, "answers": served.given_now})
    return results


def _settled(exam: Exam, register: Register, first: Sequence[Sample], answer: Answerer) -> list[Sample]:
    """The student's answers as people get them: asked again where the register shows that the first was wrong."""

    def again(places: Sequence[int], attempt: int) -> list[str]:
        return [sample.text for sample in answer([exam.prompts[place] for place in places], attempt).samples]

    questions = [prompt.messages[-1].content for prompt in exam.prompts]
    texts = settle(questions, [sample.text for sample in first], again, register)
    return [
        sample if sample.text == text else Sample(prompt_id=sample.prompt_id, text=text, writer="student")
        for sample, text in zip(first, texts, strict=True)
    ]


def _render(student: Student) -> Callable[[Prompt], str]:
    return lambda prompt: student.prompt_text(prompt.messages)


def _baselines(recipe: Recipe, exam: Exam, partial: Path, progress: Progress) -> dict[str, Sequence[Sample]]:
    """The untouched start on the first questions of a fixed order, and what needs no model on all."""
    start = Student.read(exam.start)
    # Weights that have learnt nothing yet are asked in the form that they know.
    start.use_template("own" if recipe.student.template == "own" else "plain")
    few = sorted(exam.prompts, key=lambda prompt: prompt.id)[:START_QUESTIONS]
    what = words(en="the untouched start answers", fr="le modèle de départ répond")
    texts = _write_greedily(start, few, recipe.evaluate.max_tokens, partial / "start.json", progress, what)
    return {
        "always_declines": always_declines(exam.prompts),
        "nearest_question": nearest(exam.prompts, exam.examples),
        "start": [Sample(prompt_id=prompt.id, text=texts[prompt.id], writer="student") for prompt in few],
    }


def _agreement(
    recipe: Recipe,
    student: Student,
    files: Mapping[str, Path],
    prompts: Sequence[Prompt],
    partial: Path,
    progress: Progress,
) -> dict[str, Any]:
    """The share of prompts on which each file gives the very answer of the trained weights, greedily."""
    chosen = sorted(prompts, key=lambda prompt: prompt.id)[: recipe.evaluate.agreement]
    if not chosen:
        return {}
    what = words(en="the trained weights answer", fr="les poids entraînés répondent")
    most = recipe.evaluate.max_tokens
    wanted = _write_greedily(student, chosen, most, partial / "weights.json", progress, what)
    table: dict[str, Any] = {}
    for kind, path in files.items():
        what = words(en=f"{kind} against the weights", fr=f"{kind} face aux poids")
        place = partial / ("student" if kind == recipe.pack.serve else f"file-{kind}")
        found = answer_all(path, chosen, _render(student), place, Request("", most), progress, what).samples
        equal = [wanted[sample.prompt_id] == sample.text.strip() for sample in found]
        table[kind] = share(sum(equal), len(equal))
    return table


def _write_greedily(
    student: Student, prompts: Sequence[Prompt], most: int, place: Path, progress: Progress, what: str
) -> dict[str, str]:
    """What weights answer, greedily, many at once; kept in ``place``.

    Args:
        most: tokens that an answer may have.
    """
    if place.exists():
        held: dict[str, str] = json.loads(place.read_text(encoding="utf-8"))
        return held
    progress.begin(what, len(prompts))
    done = 0

    def count(index: int, text: object) -> None:
        nonlocal done
        done += 1
        progress.advance(done)

    written = generate(
        student.model,
        [student.prompt_ids(prompt.messages) for prompt in prompts],
        stop={student.end_id},
        max_tokens=most,
        slots=AT_ONCE,
        on_written=count,
    )
    texts = {p.id: student.decode(text.ids).strip() for p, text in zip(prompts, written, strict=True)}
    write_json(place, texts)
    return texts
