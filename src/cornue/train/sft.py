"""``sft``: cross-entropy on the teacher's text, as a mean over the completion tokens of a step.

The tokens of the prompt are read and never learnt.
"""

from __future__ import annotations

from collections.abc import Sequence

from cornue.records.recipe import Sft as SftStage
from cornue.records.samples import Example
from cornue.train.batches import Batch, Lesson
from cornue.train.loop import Settings
from cornue.train.materials import Student
from cornue.train.objectives import Labels, Objective
from cornue.train.offline import Offline


class Sft(Offline):
    """Cross-entropy on text that the teacher wrote."""

    @staticmethod
    def of(
        stage: SftStage,
        student: Student,
        examples: Sequence[Example],
        validation: Sequence[Example],
        settings: Settings,
        seed: int,
    ) -> Sft:
        """The method for some examples."""
        lessons, checks = ([lesson_of(student, example) for example in data] for data in (examples, validation))
        return Sft(student.model, lessons, checks, stage, settings, seed)

    def objectives(self, batch: Batch) -> dict[str, Objective]:
        """Cross-entropy with the next token of the text."""
        return {"cross_entropy": Labels(batch.ce_R, batch.labels_R)}


def lesson_of(student: Student, example: Example) -> Lesson:
    """An example as tokens; every token of the completion is learnt, the end of the turn too."""
    completion = tuple(student.completion_ids(example.completion))
    return Lesson(
        prompt=tuple(student.prompt_ids(example.messages)),
        completion=completion,
        author="student" if example.writer == "student" else "teacher",
        ce=(1.0,) * len(completion),
        name=f"{example.prompt_id}/{example.index}",
    )
