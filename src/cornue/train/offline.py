"""What methods share whose text is known beforehand: the plan of their steps, and what validation is.

Every step is a function of the seed and its number, so there is nothing to remember between steps. It knows no
objective.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from cornue.models.head import Head
from cornue.models.packed import hidden_states
from cornue.records.recipe import Stage
from cornue.train.batches import Batch, Lesson, Order, make_batch, split
from cornue.train.loop import Figures, Settings
from cornue.train.losses import Outcome, fused
from cornue.train.objectives import Objective


class Offline:
    """Lessons in an order that is drawn from the seed; ``objectives`` says what is learnt from them.

    Args:
        model: the student.
        lessons: what is learnt.
        validation: what the choice of a checkpoint looks at; never held-out data.
    """

    def __init__(
        self,
        model: Any,
        lessons: Sequence[Lesson],
        validation: Sequence[Lesson],
        stage: Stage,
        settings: Settings,
        seed: int,
    ) -> None:
        self.model, self.lessons, self.validation, self.settings = model, lessons, validation, settings
        self.order = Order(
            [len(lesson) for lesson in lessons],
            seed=seed,
            epochs=stage.epochs,
            batch_tokens=stage.batch_tokens,
            max_steps=stage.max_steps,
        )
        self.steps = self.order.steps

    def plan(self, step: int) -> list[Batch]:
        """The lessons of a step; their weights are divided by the sum of all weights of the step."""
        return self._batches([self.lessons[index] for index in self.order.at(step)])

    def objectives(self, batch: Batch) -> dict[str, Objective]:
        """What is learnt from a batch."""
        raise NotImplementedError

    def look(self, batch: Batch, hidden_RH: Tensor, found: Outcome) -> Figures:
        """Nothing more than the loop shows anyway."""
        return {}

    @torch.no_grad()
    def validate(self) -> float:
        """The loss on the validation data, all of it together."""
        total = 0.0
        for batch in self._batches(self.validation):
            hidden_RH = hidden_states(self.model, batch.packed)[batch.rows_R]
            objectives = list(self.objectives(batch).values())
            total += float(fused(hidden_RH, Head.of(self.model), objectives, gradients=False).loss)
        return total

    def memory(self) -> dict[str, Any]:
        """Nothing to remember."""
        return {}

    def recall(self, memory: dict[str, Any]) -> None:
        """Nothing to take back."""

    def _batches(self, lessons: Sequence[Lesson]) -> list[Batch]:
        weight = sum(sum(lesson.ce) + sum(lesson.kl) for lesson in lessons)
        return [make_batch(part, 1 / weight) for part in split(lessons, self.settings.micro_tokens)]
