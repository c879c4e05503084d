"""``sft``: cross-entropy on the teacher's text; the mean over the completion tokens of a step.

The tokens of the prompt are read and never learnt. ``Offline``, which plans the steps of every method whose text is
known beforehand, lives here too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from cornue.models.packed import hidden_states
from cornue.records.recipe import Stage
from cornue.train.batches import Batch, Lesson, Order, make_batch, split
from cornue.train.loop import Loss, Settings

CHUNK = 256


class Offline:
    """A method whose text is known beforehand: lessons in an order drawn from the seed, and what validation is.

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
        """The lessons of a step; the weights of its completion tokens are divided by their number."""
        chosen = [self.lessons[index] for index in self.order.at(step)]
        scale = 1 / sum(len(lesson.completion) for lesson in chosen)
        return [make_batch(part, scale) for part in split(chosen, self.settings.micro_tokens)]

    def validate(self) -> float:
        """Mean loss over the completion tokens of the validation data."""
        tokens = sum(len(lesson.completion) for lesson in self.validation)
        total = 0.0
        with torch.no_grad():
            for part in split(self.validation, self.settings.micro_tokens):
                batch = make_batch(part, 1 / tokens)
                total += self.loss(hidden_states(self.model, batch.packed)[batch.rows_R], batch).value
        return total

    def loss(self, hidden_RH: Tensor, batch: Batch) -> Loss:
        """The method's own loss."""
        raise NotImplementedError

    def memory(self) -> dict[str, Any]:
        """Nothing: every step is a function of the seed and its number."""
        return {}

    def recall(self, memory: dict[str, Any]) -> None:
        """Nothing to take back."""


class Sft(Offline):
    """Cross-entropy on text that the teacher wrote."""

    def loss(self, hidden_RH: Tensor, batch: Batch) -> Loss:
        """Mean cross-entropy over the completion tokens of a step."""
        return _cross_entropy(hidden_RH, self.model.get_output_embeddings().weight, batch.labels_R, batch.ce_R)


def _cross_entropy(hidden_RH: Tensor, head_VH: Tensor, labels_R: Tensor, weights_R: Tensor) -> Loss:
    """Weighted cross-entropy and its gradients in one pass over chunks of rows."""
    total, gradients = 0.0, []
    head_gradient_VH = torch.zeros_like(head_VH)
    with torch.no_grad():
        for hidden, labels, weights in zip(
            *(torch.split(tensor, CHUNK) for tensor in (hidden_RH, labels_R, weights_R)), strict=True
        ):
            logits_RV = (hidden @ head_VH.T).float()
            logprobs_RV = torch.log_softmax(logits_RV, -1)
            total -= float((logprobs_RV.gather(1, labels[:, None])[:, 0] * weights).sum())
            delta_RV = logprobs_RV.exp_()
            delta_RV[torch.arange(len(labels)), labels] -= 1
            delta_RV = delta_RV.mul_(weights[:, None]).to(head_VH.dtype)
            gradients.append(delta_RV @ head_VH)
            head_gradient_VH.addmm_(delta_RV.T, hidden)
    return Loss(total, torch.cat(gradients), head_gradient_VH, {"cross_entropy": total})
