"""Texts that the student writes while it learns. They are stored before anything is learnt from them.

A resumed or replayed run reads what is stored instead of writing again. Each text has a seed of its own, drawn from the
stage's seed, the step, the prompt and the index. Texts that are cut or cannot be read are data like any other.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from cornue.models.sample import generate
from cornue.records.digests import digest_json
from cornue.records.samples import Finish, Prompt, Record, Sample
from cornue.seal.tables import read_records, write_records
from cornue.train.materials import Student

SLOTS = 64


class Rollout(Record):
    """One text that the student wrote at a step, and what was made of it."""

    prompt_id: str
    index: int
    token_ids: tuple[int, ...] = Field(description="With the token that ended it, in the student's ids.")
    logprobs: tuple[float, ...] = Field(description="Of each token when it was drawn.")
    finish: Finish
    text: str
    value: str = Field(default="", description="The verdict, where one was asked for.")
    reason: str = ""

    def sample(self) -> Sample:
        """The same as a sample, to be judged."""
        return Sample(
            prompt_id=self.prompt_id,
            index=self.index,
            text=self.text,
            token_ids=self.token_ids,
            writer="student",
            finish=self.finish,
            completion_tokens=len(self.token_ids),
        )


class Writer:
    """The student as a writer.

    Args:
        folder: where the rollouts of each step are stored.
        temperature: at which tokens are drawn.
    """

    def __init__(self, student: Student, folder: Path, *, seed: int, temperature: float, max_tokens: int) -> None:
        self._student, self._folder, self._seed = student, folder, seed
        self._temperature, self._max_tokens = temperature, max_tokens

    def at(self, step: int, write: Callable[[], Sequence[Rollout]]) -> Sequence[Rollout]:
        """The rollouts of a step: those that are stored, or else those that ``write`` gives, once they are stored."""
        path = self._folder / f"step-{step + 1:06d}.parquet"
        if not path.exists():
            write_records(path, write(), Rollout)
        return read_records(path, Rollout)

    def write(self, step: int, prompts: Sequence[Prompt], each: int = 1) -> list[Rollout]:
        """Let the student answer prompts, ``each`` times every one."""
        asked = [(prompt, index) for prompt in prompts for index in range(each)]
        encoded = {prompt.id: tuple(self._student.prompt_ids(prompt.messages)) for prompt in prompts}
        texts = generate(
            self._student.model,
            [encoded[prompt.id] for prompt, _ in asked],
            stop={self._student.end_id},
            max_tokens=self._max_tokens,
            temperature=self._temperature,
            seeds=[seed_of(self._seed, step, prompt.id, index) for prompt, index in asked],
            slots=SLOTS,
        )
        return [
            Rollout(
                prompt_id=prompt.id,
                index=index,
                token_ids=text.ids,
                logprobs=text.logprobs,
                finish=text.finish,
                text=self._student.decode(text.ids),
            )
            for (prompt, index), text in zip(asked, texts, strict=True)
        ]


def seed_of(*what: Any) -> int:
    """A seed of 63 bits drawn from anything that JSON can say."""
    return int(digest_json(list(what))[7:23], 16) >> 1


class Turns:
    """Prompts in the order in which they are taken: every epoch takes each once, in an order of its own."""

    def __init__(self, prompts: Sequence[Prompt], seed: int) -> None:
        self._prompts, self._seed = prompts, seed
        self._epoch: tuple[int, list[int]] = (-1, [])

    def take(self, first: int, count: int) -> list[Prompt]:
        """The prompts at some places of the endless order."""
        return [self._at(place) for place in range(first, first + count)]

    def _at(self, place: int) -> Prompt:
        epoch, within = divmod(place, len(self._prompts))
        if self._epoch[0] != epoch:
            order = list(range(len(self._prompts)))
            random.Random(f"prompts/{self._seed}/{epoch}").shuffle(order)
            self._epoch = (epoch, order)
        return self._prompts[self._epoch[1][within]]
