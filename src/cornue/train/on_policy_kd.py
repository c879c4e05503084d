"""``on_policy_kd``: the student writes, the teacher scores every token that was written.

The loss is a divergence between both distributions at the tokens of the student's own text, so the student learns where
it goes itself. A share of prompts may be answered by the teacher's text instead; only a beginning of each text may be
scored, since that is where texts part (Generalized Knowledge Distillation, arXiv 2306.13649).
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cornue.models.head import Head
from cornue.models.packed import hidden_states
from cornue.records.recipe import OnPolicyKd as OnPolicyKdStage
from cornue.records.samples import Example, Message, Prompt
from cornue.train.batches import Batch, Lesson, make_batch, split
from cornue.train.logit_kd import divergence_of
from cornue.train.loop import Figures, Settings
from cornue.train.losses import Outcome, fused, score
from cornue.train.materials import Materials, Student, missing
from cornue.train.objectives import Dense, Objective
from cornue.train.rollouts import Rollout, Turns, Writer
from cornue.train.teacher import LiveTeacher


class OnPolicyKd:
    """Divergence from the teacher on text that the student wrote."""

    def __init__(
        self,
        stage: OnPolicyKdStage,
        student: Student,
        examples: Sequence[Example],
        validation: Sequence[Example],
        materials: Materials,
        settings: Settings,
        seed: int,
        folder: Path,
    ) -> None:
        if materials.teacher is None:
            raise missing("on_policy_kd", "a teacher at hand", "un enseignant sous la main")
        self.stage, self.student, self.settings, self.seed = stage, student, settings, seed
        self.teacher = LiveTeacher(materials.teacher, student)
        self.texts = {example.prompt_id: example for example in examples}
        self.validation = [self._taught(example, example.messages) for example in validation]
        self.prompts = questions(materials, examples)
        self.turns = Turns(self.prompts, seed)
        self.writer = Writer(
            student, folder / "rollouts", seed=seed, temperature=stage.temperature, max_tokens=stage.max_tokens
        )
        self.steps = count_steps(stage.epochs, len(self.prompts), stage.prompts_per_step, stage.max_steps)

    def plan(self, step: int) -> list[Batch]:
        """The student answers some prompts, or the teacher's answer is taken; all tokens of the step weigh the same."""
        prompts = self.turns.take(step * self.stage.prompts_per_step, self.stage.prompts_per_step)
        draw = random.Random(f"teacher/{self.seed}/{step}")
        by_teacher = [draw.random() < self.stage.teacher_share and prompt.id in self.texts for prompt in prompts]
        taught = [prompt for prompt, teacher in zip(prompts, by_teacher, strict=True) if teacher]
        own = [prompt for prompt, teacher in zip(prompts, by_teacher, strict=True) if not teacher]
        written = self.writer.at(step, lambda: self.writer.write(step, own))
        lessons = [self._taught(self.texts[prompt.id], prompt.messages) for prompt in taught]
        lessons += [self._written(prompt, rollout) for prompt, rollout in zip(own, written, strict=True)]
        return self._batches(lessons)

    def objectives(self, batch: Batch) -> dict[str, Objective]:
        """The divergence at the tokens that were written."""
        logits = self.teacher.logits(batch, [lesson.targets for lesson in batch.lessons])
        return {"divergence": Dense(batch.kl_R, logits, divergence_of(self.stage))}

    def look(self, batch: Batch, hidden_RH: Tensor, found: Outcome) -> Figures:
        """How far the learner's log-probabilities are from those at which the tokens were drawn."""
        logs_R = score(hidden_RH, Head.of(self.student.model), batch.labels_R, self.stage.temperature)
        return {**gap(batch, logs_R), **lengths(batch)}

    @torch.no_grad()
    def validate(self) -> float:
        """The divergence on the teacher's validation texts."""
        total = 0.0
        for batch in self._batches(self.validation):
            hidden_RH = hidden_states(self.student.model, batch.packed)[batch.rows_R]
            objectives = list(self.objectives(batch).values())
            total += float(fused(hidden_RH, Head.of(self.student.model), objectives, gradients=False).loss)
        return total

    def memory(self) -> dict[str, Any]:
        """Nothing to remember: rollouts are on the disk."""
        return {}

    def recall(self, memory: dict[str, Any]) -> None:
        """Nothing to take back."""

    def _batches(self, lessons: Sequence[Lesson]) -> list[Batch]:
        weight = sum(sum(lesson.kl) for lesson in lessons)
        return [make_batch(part, 1 / weight) for part in split(lessons, self.settings.micro_tokens)]

    def _written(self, prompt: Prompt, rollout: Rollout) -> Lesson:
        length = len(rollout.token_ids)
        scored = math.ceil(self.stage.prefix * length)
        return Lesson(
            prompt=tuple(self.student.prompt_ids(prompt.messages)),
            completion=rollout.token_ids,
            author="student",
            kl=(1.0,) * scored + (0.0,) * (length - scored),
            sampler=rollout.logprobs,
            targets=self.teacher.prompt(prompt.messages),
            name=f"{rollout.prompt_id}/{rollout.index}",
        )

    def _taught(self, example: Example, messages: Sequence[Message]) -> Lesson:
        completion = tuple(self.student.completion_ids(example.completion))
        return Lesson(
            prompt=tuple(self.student.prompt_ids(messages)),
            completion=completion,
            author="teacher",
            kl=(1.0,) * len(completion),
            targets=self.teacher.prompt(messages),
            name=f"{example.prompt_id}/{example.index}",
        )


def questions(materials: Materials, examples: Sequence[Example]) -> list[Prompt]:
    """The prompts that the student writes to: training prompts, or those of the examples."""
    given = [prompt for prompt in materials.prompts if prompt.split == "train"]
    return given or list(
        {example.prompt_id: Prompt(id=example.prompt_id, messages=example.messages) for example in examples}.values()
    )


def count_steps(epochs: float, prompts: int, per_step: int, most: int) -> int:
    """Steps that take every prompt ``epochs`` times."""
    steps = max(1, round(epochs * prompts / per_step))
    return min(steps, most) if most else steps


def gap(batch: Batch, logs_R: Tensor) -> Figures:
    """Mean difference, and mean distance, of the learner's log-probabilities from the sampler's; none if all is taught.

    Args:
        logs_R: the learner's log-probability of each row's token, at the temperature of the sampler.
    """
    drawn_R = torch.tensor(
        [
            lesson.sampler[place] if lesson.sampler else math.nan
            for lesson, places in zip(batch.lessons, batch.places, strict=True)
            for place in places
        ]
    )
    difference_R = (logs_R - drawn_R)[~drawn_R.isnan()]
    if not len(difference_R):
        return {}
    return {"sampler_gap": float(difference_R.mean()), "sampler_distance": float(difference_R.abs().mean())}


def lengths(batch: Batch) -> Figures:
    """Mean number of tokens of the completions."""
    return {"completion_tokens": sum(len(lesson.completion) for lesson in batch.lessons) / len(batch.lessons)}
