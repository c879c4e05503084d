"""``grpo``: the student answers each prompt several times; a verifier's verdicts say which answers to make likelier.

The advantage of an answer is its reward less the mean of its group, not divided by the group's spread, and all tokens
of a step weigh the same, so neither easy prompts nor long answers count for more (Group Relative Policy Optimization,
arXiv 2402.03300, with the corrections of DAPO, 2503.14476, and Dr. GRPO, 2503.20783). Groups whose answers are all
right or all wrong teach nothing: further prompts are asked until enough groups are mixed. Answers that were cut are
wrong, with that reason; answers on which the verifier cannot tell are left out of their group.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cornue.models.head import Head
from cornue.models.packed import hidden_states
from cornue.records.recipe import Grpo as GrpoStage
from cornue.records.samples import Example, Prompt
from cornue.train import divergence
from cornue.train.batches import Batch, Lesson, make_batch, split
from cornue.train.loop import Figures, Settings
from cornue.train.losses import Outcome
from cornue.train.materials import Materials, Student, missing
from cornue.train.objectives import Dense, Objective, Policy, from_states
from cornue.train.on_policy_kd import count_steps, gap, lengths, questions
from cornue.train.rollouts import Rollout, Turns, Writer

ROUNDS = 4


class Grpo:
    """Policy gradient from verdicts on groups of the student's answers."""

    def __init__(
        self,
        stage: GrpoStage,
        student: Student,
        examples: Sequence[Example],
        materials: Materials,
        settings: Settings,
        seed: int,
        folder: Path,
    ) -> None:
        if materials.judge is None:
            raise missing("grpo", "a verifier", "un vérificateur")
        self.stage, self.student, self.settings = stage, student, settings
        self.judge = materials.judge
        self.prompts = questions(materials, examples)
        self.validation = [prompt for prompt in materials.prompts if prompt.split == "validation"]
        if stage.validate_every and not self.validation:
            raise missing("grpo, validate_every > 0", "validation prompts", "des questions de validation")
        self.turns = Turns(self.prompts, seed)
        self.writer = Writer(
            student, folder / "rollouts", seed=seed, temperature=stage.temperature, max_tokens=stage.max_tokens
        )
        self.examiner = Writer(student, folder / "rollouts", seed=seed, temperature=0.0, max_tokens=stage.max_tokens)
        self.reference = copy.deepcopy(student.model).requires_grad_(False) if stage.reference_kl else None
        self.steps = count_steps(stage.epochs, len(self.prompts), stage.prompts_per_step, stage.max_steps)
        self.taken = 0
        self.shown: Figures = {}

    def plan(self, step: int) -> list[Batch]:
        """Groups with mixed verdicts; nothing if none of the prompts that were asked gave any."""
        first = self.taken
        rollouts = self.writer.at(step, lambda: self._write(step, first))
        groups = self._groups(rollouts)
        self.taken = first + len(groups)
        asked = zip(self.turns.take(first, len(groups)), groups, strict=True)
        mixed = [(prompt, group) for prompt, group in asked if _is_mixed(group)][: self.stage.prompts_per_step]
        lessons = [lesson for prompt, group in mixed for lesson in self._lessons(prompt, group)]
        rewards = [_reward(rollout) for rollout in rollouts if rollout.value != "unknown"]
        self.shown = {
            "reward": sum(rewards) / max(1, len(rewards)),
            "mixed_groups": len(mixed) / len(groups),
            "cut": sum(rollout.finish == "length" for rollout in rollouts) / len(rollouts),
        }
        tokens = sum(len(lesson.completion) for lesson in lessons)
        if not lessons:
            return []
        return [make_batch(part, 1 / tokens) for part in split(lessons, self.settings.micro_tokens)]

    def objectives(self, batch: Batch) -> dict[str, Objective]:
        """The clipped policy gradient, and the pull towards the reference where there is one."""
        sampler_R = torch.tensor(
            [
                lesson.sampler[place]
                for lesson, places in zip(batch.lessons, batch.places, strict=True)
                for place in places
            ]
        )
        chosen: dict[str, Objective] = {
            "policy": Policy(
                torch.ones_like(batch.pg_R),
                batch.labels_R,
                batch.pg_R,
                sampler_R,
                clip_low=self.stage.clip_low,
                clip_high=self.stage.clip_high,
                temperature=self.stage.temperature,
            )
        }
        if self.reference is not None:
            with torch.no_grad():
                reference_RH = hidden_states(self.reference, batch.packed)[batch.rows_R]
            logits = from_states(reference_RH, Head.of(self.reference))
            chosen["reference"] = Dense(batch.kl_R, logits, divergence.reverse)
        return chosen

    def look(self, batch: Batch, hidden_RH: Tensor, found: Outcome) -> Figures:
        """Rewards of the step, lengths, and the gap between learner and sampler."""
        return {**self.shown, **gap(batch, found.figures.logs_OR[0]), **lengths(batch)}

    def validate(self) -> float:
        """Share of the validation prompts that are not answered right, greedily."""
        answers = self.examiner.write(0, self.validation)
        right = sum(
            _reward(self._judged(prompt, answer)) for prompt, answer in zip(self.validation, answers, strict=True)
        )
        return 1 - right / len(answers)

    def memory(self) -> dict[str, Any]:
        """How many prompts have been taken."""
        return {"taken": self.taken}

    def recall(self, memory: dict[str, Any]) -> None:
        """Take back what ``memory`` gave."""
        self.taken = int(memory["taken"])

    def _write(self, step: int, first: int) -> list[Rollout]:
        """Ask prompts in rounds until enough groups are mixed, or ``ROUNDS`` times as many have been asked."""
        rollouts: list[Rollout] = []
        count = self.stage.prompts_per_step
        for number in range(ROUNDS):
            prompts = self.turns.take(first + number * count, count)
            written = self.writer.write(step, prompts, self.stage.group)
            asked = [prompt for prompt in prompts for _ in range(self.stage.group)]
            rollouts += [self._judged(prompt, rollout) for prompt, rollout in zip(asked, written, strict=True)]
            if sum(map(_is_mixed, self._groups(rollouts))) >= count:
                break
        return rollouts

    def _groups(self, rollouts: Sequence[Rollout]) -> list[Sequence[Rollout]]:
        size = self.stage.group
        return [rollouts[place : place + size] for place in range(0, len(rollouts), size)]

    def _judged(self, prompt: Prompt, rollout: Rollout) -> Rollout:
        verdict = self.judge(prompt, rollout.sample())
        return rollout.model_copy(update={"value": verdict.value, "reason": verdict.reason})

    def _lessons(self, prompt: Prompt, group: Sequence[Rollout]) -> list[Lesson]:
        known = [rollout for rollout in group if rollout.value != "unknown"]
        mean = sum(map(_reward, known)) / len(known)
        return [
            Lesson(
                prompt=tuple(self.student.prompt_ids(prompt.messages)),
                completion=rollout.token_ids,
                author="student",
                pg=(_reward(rollout) - mean,) * len(rollout.token_ids),
                kl=(self.stage.reference_kl,) * len(rollout.token_ids) if self.stage.reference_kl else (),
                sampler=rollout.logprobs,
                name=f"{prompt.id}/{rollout.index}",
            )
            for rollout in known
        ]


def _reward(rollout: Rollout) -> float:
    return 1.0 if rollout.value == "correct" else 0.0


def _is_mixed(group: Sequence[Rollout]) -> bool:
    """Whether some answers of a group are right and others wrong."""
    return len({rollout.value for rollout in group} & {"correct", "wrong"}) == 2
