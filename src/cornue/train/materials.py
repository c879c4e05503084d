"""What methods learn from besides examples: distributions of a capture, a teacher at hand, prompts, a judge.

``sft`` needs none of it. These are the doors to other rooms; nothing is computed here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cornue.capture.packing import Targets
from cornue.capture.reader import Service
from cornue.records.errors import BadInput
from cornue.records.samples import Message, Prompt, Sample, Verdict
from cornue.records.words import words


class Student(Protocol):
    """The model that learns, with its tokenizer and template."""

    model: Any
    tokenizer: Any

    @property
    def end_id(self) -> int:
        """The token that ends a turn."""

    def prompt_ids(self, messages: Sequence[Message]) -> Sequence[int]:
        """Token ids of a conversation up to where the answer begins."""

    def completion_ids(self, text: str) -> Sequence[int]:
        """Token ids of an answer with the end-of-turn token."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids."""

    def save(self, folder: Any) -> None:
        """Write weights, tokenizer and template into a folder."""


class Distributions(Protocol):
    """The token distributions of a capture."""

    def serves(self, objective: str, temperature: float) -> Service:
        """How well they stand in for a live teacher."""

    def knows(self, prompt_id: str, index: int) -> bool:
        """Whether there are distributions of this answer."""

    def completion(self, prompt_id: str, index: int) -> Sequence[int]:
        """What the teacher wrote, in its own ids, the end of the turn included where it was captured."""

    def targets(self, prompt_id: str, index: int) -> Targets:
        """One row per token of the completion, in the teacher's ids."""

    def student_ids(self, student: Student) -> NDArray[np.int64]:
        """The student's id of each id of the teacher, -1 where it has none."""


class TeacherAtHand(Protocol):
    """A teacher whose weights are in this process."""

    model: Any
    tokenizer: Any

    def prompt_ids(self, messages: Sequence[Message]) -> Sequence[int]:
        """What the teacher sees of a conversation, its own instructions included, in its own ids."""


@dataclass(frozen=True)
class Materials:
    """What a run can offer its methods.

    Args:
        distributions: of the capture that the examples come from.
        approximate: whether uses are allowed for which the distributions are only approximate.
        teacher: a teacher that can be asked in the step.
        prompts: questions that the student may write to, by split; empty takes those of the examples.
        judge: a verdict on what it wrote.
    """

    distributions: Distributions | None = None
    approximate: bool = False
    teacher: TeacherAtHand | None = None
    prompts: Sequence[Prompt] = ()
    judge: Callable[[Prompt, Sample], Verdict] | None = None


def missing(method: str, what_en: str, what_fr: str) -> BadInput:
    """The error for a method that lacks a material."""
    return BadInput(
        words(en=f"{method} needs {what_en}, and there is none", fr=f"{method} demande {what_fr}, et il n'y en a pas"),
        words(
            en="change the recipe's [capture] or [teacher] so that it provides it, or take another method",
            fr="changez [capture] ou [teacher] dans la recette pour le fournir, ou prenez une autre méthode",
        ),
    )
