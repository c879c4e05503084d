"""From a recipe to the subject that is examined: the student as training will have it, and few, short texts of the job.

Where the teacher has been asked, its own answers are taken; where it has not, true answers stand in for them. The
teacher's weights are loaded only where a stage asks it in the step. Nothing is asked of anyone, and nothing is spent.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cornue.capture.reader import CaptureReader
from cornue.capture.teacher import Ask, Sampling
from cornue.capture.teacher_replay import ReplayTeacher
from cornue.curate.choose import curate
from cornue.doctor.subject import Subject
from cornue.job import Job
from cornue.models.student import Student
from cornue.records.errors import BadInput
from cornue.records.recipe import LogitKd, OnPolicyKd, TrainStage
from cornue.records.samples import Example, Prompt, Sample
from cornue.records.words import words
from cornue.train.captured import CapturedDistributions
from cornue.train.materials import Distributions, TeacherAtHand
from cornue.train.teacher import LoadedTeacher
from cornue.verify.base import Verifier
from cornue.verify.run import make_verifier

PROMPTS, TEXTS = 60, 3
USUAL = 160


def admit(path: Path, folder: Path) -> Subject:
    """The subject of a recipe.

    Args:
        folder: a place that is thrown away afterwards.

    Raises:
        BadInput: the recipe or a file of it cannot be used.
    """
    job = Job.read(path)
    recipe = job.recipe
    verifier = make_verifier(recipe.verify, job.base, job.register)
    capture = job.capture if job.uses_capture else None
    prompts = _spread([prompt for prompt in job.prompts if prompt.split == "train"])
    answers = _answers(job, capture, prompts)
    known = _examples(job, prompts, answers, verifier)
    student = Student.read(job.student_start)
    student.use_template(recipe.student.template)
    student.fit(recipe.student, known, [])
    return Subject(
        student=student,
        examples=_some(known),
        prompts=prompts,
        stages=recipe.train,
        folder=folder,
        teacher=_teacher(job),
        distributions=_distributions(recipe.train, capture),
        answers=answers,
        verifier=verifier,
        kinds=(recipe.pack.serve,),
    )


def _spread(prompts: Sequence[Prompt]) -> list[Prompt]:
    """Some of many prompts, from all parts of the list.

    Raises:
        BadInput: there is none.
    """
    if not prompts:
        raise BadInput(
            words(en="No prompt is for training.", fr="Aucune question n'est pour l'entraînement."),
            words(en='Give some prompts the split "train".', fr='Donnez à des questions la part "train".'),
        )
    return list(prompts[:: max(1, len(prompts) // PROMPTS)][:PROMPTS])


def _answers(job: Job, capture: CaptureReader | None, prompts: Sequence[Prompt]) -> list[Sample]:
    """What the teacher has answered to some prompts, if anything."""
    wanted = {prompt.id for prompt in prompts}
    if capture:
        return [sample for sample in capture.samples() if sample.prompt_id in wanted]
    teacher = job.recipe.teacher
    if teacher.kind != "replay":
        return []
    said = ReplayTeacher(job.file(teacher.model)).sample([Ask(prompt) for prompt in prompts], Sampling())
    return [sample for sample in said if not sample.error]


def _examples(job: Job, prompts: Sequence[Prompt], answers: Sequence[Sample], verifier: Verifier) -> list[Example]:
    """What curation would keep of the answers; true answers where there are none.

    Raises:
        BadInput: there is neither.
    """
    by_id = {prompt.id: prompt for prompt in prompts}
    verdicts = [verifier.judge(by_id[answer.prompt_id], answer) for answer in answers]
    kept = curate(job.recipe.curate, by_id, answers, verdicts).train
    found = kept or [
        Example(prompt_id=prompt.id, messages=prompt.messages, completion=verifier.gold(prompt), form=prompt.form)
        for prompt in prompts
        if prompt.truth is not None
    ]
    if not found:
        raise BadInput(
            words(en="There is no text to learn from.", fr="Il n'y a pas de texte dont apprendre."),
            words(
                en="Give some prompts a truth, or name a finished capture in capture.use.",
                fr="Donnez une vérité à des questions, ou nommez une capture finie dans capture.use.",
            ),
        )
    return found


def _some(known: Sequence[Example]) -> list[Example]:
    """A short text, one of middling length and a longer one, all different and none very long."""
    different = {example.completion: example for example in reversed(known)}
    ordered = sorted(different.values(), key=_length)
    usual = [example for example in ordered if _length(example) <= USUAL] or ordered[:1]
    places = {place * (len(usual) - 1) // (TEXTS - 1) for place in range(TEXTS)}
    return [usual[place] for place in sorted(places)]


def _length(example: Example) -> int:
    """Characters of question and answer."""
    return len(example.completion) + sum(len(message.content) for message in example.messages)


def _teacher(job: Job) -> TeacherAtHand | None:
    """The recipe's teacher where a stage asks it in the step."""
    asked = any(
        isinstance(stage, OnPolicyKd) or (isinstance(stage, LogitKd) and stage.live) for stage in job.recipe.train
    )
    schema = job.register.schema if job.register else ""
    return LoadedTeacher(job.recipe.teacher, job.base, schema) if asked else None


def _distributions(stages: Sequence[TrainStage], capture: CaptureReader | None) -> Distributions | None:
    """Those of a finished capture, where a stage learns from them."""
    cached = any(isinstance(stage, LogitKd) and not stage.live for stage in stages)
    return CapturedDistributions(capture) if capture and cached else None
