"""A teacher that is asked in the step: what it makes of the text that the student learns from.

It reads the text after its own prompt, with its own instructions, and gives its hidden states; its logits are formed
chunk by chunk inside the loss and never kept. Its ids are put in the student's order; what the student lacks keeps its
mass, behind the student's ids, and is never shared out.

Shapes: R learnt rows, C rows of a chunk, V vocabulary of the student, W of the teacher.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cornue.capture.teacher import instructed, read_instructions, require_digest
from cornue.capture.teachers import weights_of
from cornue.models.align import ids_in
from cornue.models.head import Head
from cornue.models.load import load_model, load_tokenizer
from cornue.models.packed import hidden_states, pack
from cornue.records import recipe
from cornue.records.errors import BadInput
from cornue.records.samples import Message, Prompt
from cornue.records.words import words
from cornue.train.batches import Batch
from cornue.train.materials import Student, TeacherAtHand


class LoadedTeacher:
    """The teacher of a recipe with its weights in this process, dequantised where they are a GGUF file.

    Args:
        base: the recipe's folder.
        schema: what stands for ``{schema}`` in the instructions.

    Raises:
        BadInput: the weights are missing or are not those that the recipe names.
    """

    def __init__(self, section: recipe.Teacher, base: Path, schema: str = "") -> None:
        path = weights_of(section, base)
        if path.is_file():
            require_digest(path, section.sha256)
        self.model: Any = load_model(path)
        self.tokenizer: Any = load_tokenizer(path)
        self._instructions = read_instructions(base / section.instructions, schema) if section.instructions else ""

    def prompt_ids(self, messages: Sequence[Message]) -> Sequence[int]:
        """What the teacher sees of a conversation, its instructions included."""
        turns = instructed(Prompt.make(tuple(messages)), self._instructions)
        text = self.tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids


class LiveTeacher:
    """A teacher in this process, seen with the student's ids.

    Raises:
        BadInput: the student has tokens that the teacher lacks, so that the teacher cannot read its text.
    """

    def __init__(self, teacher: TeacherAtHand, student: Student) -> None:
        self._teacher = teacher
        self._model = teacher.model.eval().requires_grad_(False)
        self._teacher_ids = ids_in(student.tokenizer, teacher.tokenizer)
        if (lacking := np.flatnonzero(self._teacher_ids < 0)).size:
            shown = student.tokenizer.convert_ids_to_tokens(lacking[:3].tolist())
            raise BadInput(
                words(
                    en=f"the teacher's vocabulary lacks {lacking.size} tokens of the student's, such as {shown}",
                    fr=f"il manque au vocabulaire de l'enseignant {lacking.size} jetons de l'élève, comme {shown}",
                ),
                words(
                    en="take a student of the teacher's family with extend = 0, or learn by sft",
                    fr="prenez un élève de la famille de l'enseignant avec extend = 0, ou apprenez par sft",
                ),
            )
        self._head = Head.of(self._model, vocabulary=len(teacher.tokenizer))
        known = set(self._teacher_ids.tolist())
        others = [number for number in range(self._head.vocabulary) if number not in known]
        order = self._teacher_ids.tolist() + others
        self._order_W = None if order == list(range(len(order))) else torch.tensor(order)

    def prompt(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """What the teacher sees before the completion."""
        return tuple(self._teacher.prompt_ids(messages))

    @torch.no_grad()
    def logits(self, batch: Batch, prompts: Sequence[Sequence[int]]) -> Callable[[slice], Tensor]:
        """The teacher's logits (C, W) of some of a batch's rows, the student's ids first.

        Args:
            prompts: the teacher's prompt of each of the batch's lessons.
        """
        completions = [self._teacher_ids[list(lesson.completion)].tolist() for lesson in batch.lessons]
        packed = pack([[*prompt, *text] for prompt, text in zip(prompts, completions, strict=True)])
        start_of = dict(zip(packed.order, packed.starts, strict=True))
        rows = [
            start_of[index] + len(prompts[index]) - 1 + place
            for index, places in enumerate(batch.places)
            for place in places
        ]
        hidden_RH = hidden_states(self._model, packed)[rows]

        def logits(part: slice) -> Tensor:
            logits_CW = self._head.logits(hidden_RH[part])[:, : self._head.vocabulary]
            return logits_CW if self._order_W is None else logits_CW[:, self._order_W]

        return logits
