"""Who is examined: a recipe's own student, teacher, texts, template and verifier, and the code that works on them.

Everything that a mistake could sit in is a field, so that a proof can hand in a broken one. It judges nothing. Few and
short texts are taken, since what is wrong is wrong on any text.

Shapes: R learnt rows, H hidden size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cornue.models.align import ids_in
from cornue.models.engine import Engine
from cornue.models.export import Kind, export_gguf
from cornue.models.head import Head
from cornue.models.packed import Packed, hidden_states
from cornue.models.student import Student
from cornue.records.recipe import Grpo, LogitKd, OnPolicyKd, TrainStage
from cornue.records.samples import Example, Message, Prompt, Sample
from cornue.train.loop import Method
from cornue.train.losses import Outcome, fused
from cornue.train.materials import Distributions, TeacherAtHand
from cornue.train.run import make_method
from cornue.verify.base import Verifier

ALL_TOKENS = 1 << 30


@dataclass(frozen=True)
class Subject:
    """What training will use.

    Args:
        student: before training, with the vocabulary and template that it will have.
        examples: a few texts of the teacher's kind.
        prompts: their questions, and others.
        stages: of the recipe.
        folder: a place that is thrown away afterwards.
        teacher: the recipe's own, where a stage asks it in the step.
        distributions: of the recipe's capture, where a stage learns from them.
        answers: of the teacher, where it has been asked.
        verifier: the recipe's own.
        kinds: files that will be exported.
        make_method, fused, hidden_states, head_of, ids_in, export, engine: what the rooms give.
    """

    student: Student
    examples: Sequence[Example]
    prompts: Sequence[Prompt]
    stages: Sequence[TrainStage]
    folder: Path
    teacher: TeacherAtHand | None = None
    distributions: Distributions | None = None
    answers: Sequence[Sample] = ()
    verifier: Verifier | None = None
    kinds: Sequence[Kind] = ("F16",)
    make_method: Callable[..., Method] = make_method
    fused: Callable[..., Outcome] = fused
    hidden_states: Callable[[Any, Packed], Tensor] = hidden_states
    head_of: Callable[[Any], Head] = Head.of
    ids_in: Callable[[Any, Any], NDArray[np.int64]] = ids_in
    export: Callable[..., None] = export_gguf
    engine: Callable[..., Engine] | None = Engine
    memory: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    def short_stages(self) -> list[TrainStage]:
        """The stages as they are, but of one small step."""
        return [shortened(stage) for stage in self.stages]

    def messages(self) -> dict[str, tuple[Message, ...]]:
        """The conversation of each prompt and example, by the prompt's id."""
        known: Sequence[Prompt | Example] = [*self.prompts, *self.examples]
        return {item.id if isinstance(item, Prompt) else item.prompt_id: item.messages for item in known}

    def once(self, key: Any, make: Callable[[], Any]) -> Any:
        """A value that several checks need, made once."""
        if key not in self.memory:
            self.memory[key] = make()
        return self.memory[key]


def shortened(stage: TrainStage) -> TrainStage:
    """A stage whose first step is its only one, takes all texts at once, and writes little."""
    changes: dict[str, Any] = {"epochs": 1.0, "max_steps": 1, "batch_tokens": ALL_TOKENS, "validate_every": 0}
    if isinstance(stage, (OnPolicyKd, Grpo)):
        changes |= {"prompts_per_step": 2, "max_tokens": min(stage.max_tokens, 8)}
    if isinstance(stage, Grpo):
        changes |= {"group": 2}
    return stage.model_copy(update=changes)


def compares(stage: TrainStage) -> bool:
    """Whether a stage learns from a teacher's distribution."""
    return isinstance(stage, (LogitKd, OnPolicyKd))
