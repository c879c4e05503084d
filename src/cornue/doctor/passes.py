"""One step of a stage as training would take it, up to the gradient by the hidden states, with teachers that are known.

The *twin* is the student as its own teacher, at hand and as a capture of itself: what is learnt from it must be
nothing. *Elsewhere*, it reads another question, so that there is something to learn. It judges nothing.

Shapes: R learnt rows, H hidden size, W vocabulary of the teacher, K entries a row.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cornue.capture.packing import Targets
from cornue.capture.reader import Service
from cornue.doctor import reference
from cornue.doctor.subject import ALL_TOKENS, Subject
from cornue.models.head import Head
from cornue.models.student import Student
from cornue.records.recipe import LogitKd, OnPolicyKd, TrainStage
from cornue.records.samples import Example, Message, Prompt, Sample, Verdict
from cornue.train.batches import Batch, Lesson
from cornue.train.loop import Method, Settings
from cornue.train.losses import Outcome
from cornue.train.materials import Materials
from cornue.train.objectives import Dense, Objective


@dataclass(eq=False)
class Twin:
    """The student as its own teacher.

    Args:
        model: the student's weights as leaves of their own, so that freezing them leaves the student free.
        entries: likeliest ids that its capture keeps of each token; 0 keeps all.
        temperature: of its capture.
        kept: share of the mass of its entries that its capture leaves on them; the others get the rest.
        elsewhere: whether it reads another question than the student does.
    """

    student: Student
    examples: Sequence[Example]
    model: Any
    entries: int = 0
    temperature: float = 1.0
    kept: float = 1.0
    elsewhere: bool = False
    memory: dict[tuple[int, ...], Tensor] = field(default_factory=dict, repr=False)
    tokenizer: Any = field(init=False)

    def __post_init__(self) -> None:
        self.tokenizer = self.student.tokenizer

    @staticmethod
    def of(subject: Subject) -> Twin:
        """The twin of the student under examination; its copies share what they have read."""
        model = subject.once("twin", lambda: _copy(subject.student.model))
        return Twin(subject.student, subject.examples, model, memory=subject.once("read by the twin", dict))

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """The question, or another one."""
        if self.elsewhere:
            others = [example.messages for example in self.examples if example.messages != tuple(messages)]
            messages = others[-1] if others else [Message(role="user", content="?")]
        return self.student.prompt_ids(messages)

    def serves(self, objective: str, temperature: float) -> Service:
        """Anything, at its temperature."""
        return "exactly" if temperature == self.temperature else "no"

    def knows(self, prompt_id: str, index: int) -> bool:
        """Every text."""
        return True

    def completion(self, prompt_id: str, index: int) -> list[int]:
        """The text of the example."""
        return self.student.completion_ids(self._example(prompt_id, index).completion)

    def targets(self, prompt_id: str, index: int) -> Targets:
        """The likeliest ids at each token."""
        completion = self.completion(prompt_id, index)
        logits_LW = self.rows(self.prompt_ids(self._example(prompt_id, index).messages), completion)
        p_LW = torch.softmax(logits_LW.double() / self.temperature, -1)
        ids_LK = torch.arange(p_LW.shape[1]).expand_as(p_LW)
        if self.entries:
            ids_LK = p_LW.topk(self.entries).indices
        p_LK = p_LW.gather(1, ids_LK) * self.kept
        length, width = p_LK.shape
        return Targets(
            np.arange(0, length * width + 1, width),
            ids_LK.flatten().numpy(),
            p_LK.flatten().float().numpy(),
            (1 - p_LK.sum(-1)).clamp(min=0).float().numpy(),
        )

    def student_ids(self, student: Any) -> NDArray[np.int64]:
        """Its ids are the student's."""
        return np.arange(len(self.tokenizer))

    def rows(self, prompt: Sequence[int], completion: Sequence[int]) -> Tensor:
        """Its logits (L, W) for each token of a completion."""
        ids = (*prompt, *completion)
        if ids not in self.memory:
            logits_TW = reference.run(self.model, ids)[:, : len(self.tokenizer)]
            self.memory[ids] = logits_TW[len(prompt) - 1 : -1]
        return self.memory[ids]

    def _example(self, prompt_id: str, index: int) -> Example:
        return next(e for e in self.examples if (e.prompt_id, e.index) == (prompt_id, index))


@dataclass(frozen=True, eq=False)
class Learnt:
    """A batch and what the loss made of it."""

    batch: Batch
    objectives: dict[str, Objective]
    hidden_RH: Tensor
    found: Outcome

    @property
    def gradient_RH(self) -> Tensor:
        """By the hidden states."""
        assert self.found.hidden_RH is not None
        return self.found.hidden_RH


@dataclass(frozen=True, eq=False)
class Pass:
    """The first step of a stage."""

    method: Method
    learnt: Sequence[Learnt]

    @property
    def loss(self) -> float:
        """Of the whole step."""
        return float(sum(float(part.found.loss) for part in self.learnt))

    @property
    def gradient_RH(self) -> Tensor:
        """By the hidden states of all rows."""
        return torch.cat([part.gradient_RH for part in self.learnt])


def take_step(subject: Subject, stage: TrainStage, twin: Twin | None = None, *, micro_tokens: int = ALL_TOKENS) -> Pass:
    """The first step of a stage, learnt from the recipe's own materials or from a twin.

    Args:
        micro_tokens: most tokens of a batch.
    """
    about = (twin.entries, twin.temperature, twin.kept, twin.elsewhere) if twin else ()
    taken: Pass = subject.once((stage, micro_tokens, about), lambda: _take(subject, stage, twin, micro_tokens))
    return taken


def first_steps(subject: Subject) -> Iterator[tuple[Any, Pass]]:
    """The first step of each stage, learnt from a twin that reads another question."""
    for stage in subject.short_stages():
        yield stage, take_step(subject, stage, twin_for(subject, stage, elsewhere=True))


def twin_for(subject: Subject, stage: TrainStage, elsewhere: bool = False) -> Twin:
    """A twin whose capture serves a stage at its temperature."""
    temperature = stage.temperature if isinstance(stage, LogitKd) else 1.0
    return replace(Twin.of(subject), elsewhere=elsewhere, temperature=temperature)


def read_by_teacher(subject: Subject, texts: int) -> tuple[Batch, Tensor]:
    """What the recipe's own teacher makes of the shortest texts, as a live stage asks it: log-probabilities (R, W)."""

    def make() -> tuple[Batch, Tensor]:
        few = replace(subject, examples=sorted(subject.examples, key=lambda item: len(item.completion))[:texts])
        stage = LogitKd(method="logit_kd", live=True, batch_tokens=ALL_TOKENS)
        method = method_of(few, stage, None)
        (batch,) = method.plan(0)
        objective = method.objectives(batch)["divergence"]
        assert isinstance(objective, Dense)
        return batch, torch.log_softmax(objective.teacher(slice(None)).double(), -1)

    read: tuple[Batch, Tensor] = subject.once(("teacher", texts), make)
    return read


def learns_live(subject: Subject) -> bool:
    """Whether a stage asks the recipe's own teacher in the step."""
    live = [
        item for item in subject.stages if isinstance(item, OnPolicyKd) or (isinstance(item, LogitKd) and item.live)
    ]
    return bool(live) and subject.teacher is not None


def signal(subject: Subject) -> float:
    """How far the student is from the recipe's own teacher on a short text, in nats a token."""
    batch, teacher_RW = read_by_teacher(subject, 1)
    own_RV = torch.log_softmax(reference.logits_of(states(subject, batch), still_head(subject)), -1)
    width = min(own_RV.shape[1], teacher_RW.shape[1])
    return mean_kl(teacher_RW[:, :width], own_RV[:, :width])


def mean_kl(first_RV: Tensor, second_RV: Tensor) -> float:
    """From log-probabilities, in nats."""
    return float((first_RV.exp() * (first_RV - second_RV)).sum(-1).mean())


def rows_of(batch: Batch) -> Iterator[tuple[Lesson, int]]:
    """The lesson and the place in its completion of each learnt row."""
    for lesson, places in zip(batch.lessons, batch.places, strict=True):
        for place in places:
            yield lesson, place


def _take(subject: Subject, stage: TrainStage, twin: Twin | None, micro_tokens: int) -> Pass:
    method = method_of(subject, stage, twin, micro_tokens)
    learnt = []
    for batch in method.plan(0):
        objectives = dict(method.objectives(batch))
        hidden_RH = states(subject, batch)
        found = subject.fused(hidden_RH, still_head(subject), list(objectives.values()), gradients=True)
        learnt.append(Learnt(batch, objectives, hidden_RH, found))
    return Pass(method, learnt)


def method_of(subject: Subject, stage: TrainStage, twin: Twin | None, micro_tokens: int = ALL_TOKENS) -> Method:
    """The method of a stage. Rollouts lie in one place, so that they are written once."""
    teacher = twin or subject.teacher or Twin.of(subject)
    distributions = twin or subject.distributions or Twin.of(subject)
    materials = Materials(distributions, True, teacher, subject.prompts, _turn_about)
    settings = Settings(micro_tokens=micro_tokens)
    folder = subject.folder / stage.method
    return subject.make_method(stage, subject.student, subject.examples, [], materials, settings, 1, folder)


def states(subject: Subject, batch: Batch) -> Tensor:
    """The student's hidden states (R, H) at the learnt rows of a batch."""

    def make() -> Tensor:
        with torch.no_grad():
            return subject.hidden_states(subject.student.model, batch.packed)

    key = ("states", tuple(batch.packed.ids_N.tolist()), batch.packed.groups)
    hidden_NH: Tensor = subject.once(key, make)
    return hidden_NH[batch.rows_R]


def still_head(subject: Subject) -> Head:
    """The student's head as something that does not move."""
    head = subject.head_of(subject.student.model)
    bias_V = None if head.bias_V is None else head.bias_V.detach()
    return replace(head, weight_VH=head.weight_VH.detach(), bias_V=bias_V)


def twin_rows(subject: Subject, twin: Twin, batch: Batch) -> Tensor:
    """The twin's logits (R, W) at the learnt rows of a batch, each text run alone."""
    messages = subject.messages()
    rows = []
    for lesson, places in zip(batch.lessons, batch.places, strict=True):
        prompt = twin.prompt_ids(messages[lesson.name.split("/")[0]])
        rows.append(twin.rows(prompt, lesson.completion)[list(places)])
    return torch.cat(rows)


def expected(subject: Subject, stage: Any, part: Learnt, twin: Twin) -> tuple[float, Tensor]:
    """Value and gradient (R, H) by the textbook of what a stage learns from a twin in a batch."""
    batch, head = part.batch, still_head(subject)
    cached = isinstance(stage, LogitKd) and not stage.live
    temperature = stage.temperature if isinstance(stage, LogitKd) else 1.0
    kl_R, ce_R = batch.kl_R.double(), batch.ce_R.double()

    def loss(logits_RV: Tensor) -> Tensor:
        q_RV = torch.softmax(logits_RV / temperature, -1)
        if cached:
            values_R = reference.coarse_kl(*entries(twin, batch), q_RV)
        else:
            p_RW = torch.softmax(twin_rows(subject, twin, batch).double() / temperature, -1)
            values_R = reference.formula_of(stage)(p_RW[:, : q_RV.shape[1]], q_RV)
        labels_R = torch.log_softmax(logits_RV, -1).gather(1, batch.labels_R[:, None])[:, 0]
        return (kl_R * values_R).sum() * temperature**2 - (ce_R * labels_R).sum()

    return reference.gradient(part.hidden_RH, head, loss)


def entries(twin: Twin, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """What a capture of the twin says at the learnt rows: ids (R, K), masses (R, K), rest (R)."""
    ids, masses, rest = [], [], []
    for lesson, places in zip(batch.lessons, batch.places, strict=True):
        prompt_id, index = lesson.name.split("/")
        targets = twin.targets(prompt_id, int(index))
        shape = (len(targets.rest), -1)
        ids.append(targets.ids.reshape(shape)[list(places)])
        masses.append(targets.weights.reshape(shape)[list(places)])
        rest.append(targets.rest[list(places)])
    return tuple(torch.from_numpy(np.concatenate(part)) for part in (ids, masses, rest))  # type: ignore[return-value]


def distance(found: Tensor, wanted: Tensor) -> float:
    """How far two gradients are apart, as a share of the wanted one's size."""
    return float((found.double() - wanted.double()).norm() / wanted.double().norm().clamp(min=1e-12))


def _turn_about(prompt: Prompt, sample: Sample) -> Verdict:
    """Verdicts that are never all alike within a group."""
    value = "wrong" if sample.index % 2 else "correct"
    return Verdict.model_validate(
        {"prompt_id": prompt.id, "index": sample.index, "value": value, "reason": "by turns", "verifier": "turns"}
    )


def _copy(model: Any) -> Any:
    """A model of the same memory whose weights are leaves of their own and stay still."""
    memo = {id(weight): nn.Parameter(weight.detach(), requires_grad=False) for weight in model.parameters()}
    return copy.deepcopy(model, memo)
