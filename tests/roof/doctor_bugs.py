"""A sound subject, tiny and random, and the bugs that are put into it: at least one for each class that exists.

Each bug hands the doctor one broken collaborator and leaves the others as they are.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import GraniteConfig, GraniteForCausalLM, PreTrainedTokenizerFast

from cornue.capture.packing import Targets
from cornue.capture.reader import Service
from cornue.capture.sparse import comb, draw
from cornue.doctor.passes import Twin
from cornue.doctor.subject import Subject
from cornue.models.engine import Completion, Request
from cornue.models.export import export_gguf
from cornue.models.head import Head
from cornue.models.load import load_tokenizer
from cornue.models.packed import Packed, hidden_states, use_attention
from cornue.models.student import Student
from cornue.models.tiny import tiny_model, tiny_tokenizer
from cornue.records.recipe import Grpo, LogitKd, OnPolicyKd, Sft, TrainStage
from cornue.records.samples import Example, Message, Prompt
from cornue.train import divergence
from cornue.train.batches import Batch, make_batch
from cornue.train.losses import Outcome, fused
from cornue.train.materials import Materials
from cornue.train.objectives import Dense, Labels, Objective, Policy, Sparse, from_states
from cornue.train.run import make_method
from cornue.verify.base import Value
from cornue.verify.text import ExactVerifier

ASKED = {"How many inhabitants?": "1200", "Combien de communes ?": "42 é", "Which town?": "Vannes!"}
PROMPTS = [
    Prompt.make((Message(role="user", content=question),), truth={"answer": answer})
    for question, answer in ASKED.items()
]
EXAMPLES = [
    Example(prompt_id=prompt.id, messages=prompt.messages, completion=answer)
    for prompt, answer in zip(PROMPTS, ASKED.values(), strict=True)
]
STAGES: tuple[TrainStage, ...] = (
    Sft(method="sft"),
    LogitKd(method="logit_kd"),
    LogitKd(method="logit_kd", live=True, objective="jensen_shannon", beta=0.3),
    OnPolicyKd(method="on_policy_kd", max_tokens=4),
    Grpo(method="grpo", max_tokens=4, reference_kl=0.01),
)


@cache
def _tokenizer() -> Any:
    return tiny_tokenizer()


def student(seed: int = 0) -> Student:
    """A student that is nobody else's."""
    return Student(tiny_model(_tokenizer(), seed=seed), _tokenizer())


class Capture(Twin):
    """The likeliest ids of the tiny teacher, as a capture keeps them."""

    def serves(self, objective: str, temperature: float) -> Service:
        return "approximate" if temperature == self.temperature else "no"


def subject(folder: Path, stages: Sequence[TrainStage] = STAGES) -> Subject:
    """A subject in which nothing is wrong."""
    teacher = student(9)
    return Subject(
        student=student(),
        examples=EXAMPLES,
        prompts=PROMPTS,
        stages=stages,
        folder=folder,
        teacher=teacher,
        distributions=Capture(teacher, EXAMPLES, teacher.model, entries=8),
        verifier=ExactVerifier(),
        engine=None,
    )


def granite(folder: Path) -> Subject:
    """A sound subject of a family that divides its logits."""
    config = GraniteConfig(
        vocab_size=len(_tokenizer()),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        logits_scaling=4.0,
        initializer_range=0.2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = GraniteForCausalLM(config).eval()
    return replace(subject(folder, STAGES[:1]), student=Student(model, _tokenizer()), teacher=None, distributions=None)


@dataclass(frozen=True)
class Bug:
    """A mistake.

    Args:
        number: its class.
        name: what is wrong.
        plant: puts it into a sound subject.
    """

    number: int
    name: str
    plant: Callable[[Subject], Subject]

    def __str__(self) -> str:
        return f"{self.number:02d} {self.name}"


def changed(sound: Subject, **parts: Any) -> Subject:
    """A subject with other parts, that remembers nothing of the sound one."""
    return replace(sound, memory={}, **parts)


Spoil = Callable[[dict[str, Objective], Batch, TrainStage, Any], dict[str, Objective]]


class Spoilt:
    """A method with a mistake in its batches or in its objectives."""

    def __init__(self, method: Any, stage: TrainStage, batch: Callable[[Batch], Batch], objectives: Spoil) -> None:
        self.method, self.stage, self.batch, self.spoil = method, stage, batch, objectives

    def plan(self, step: int) -> list[Batch]:
        return [self.batch(batch) for batch in self.method.plan(step)]

    def objectives(self, batch: Batch) -> dict[str, Objective]:
        return self.spoil(dict(self.method.objectives(batch)), batch, self.stage, self.method)


def in_batches(spoil: Callable[[Batch], Batch]) -> Callable[[Subject], Subject]:
    return lambda sound: changed(
        sound,
        make_method=lambda stage, *rest: Spoilt(make_method(stage, *rest), stage, spoil, lambda found, *_: found),
    )


def in_objectives(spoil: Spoil) -> Callable[[Subject], Subject]:
    return lambda sound: changed(
        sound,
        make_method=lambda stage, *rest: Spoilt(make_method(stage, *rest), stage, lambda batch: batch, spoil),
    )


def in_each(kind: type[Objective], spoil: Callable[[Any, TrainStage], Objective]) -> Callable[[Subject], Subject]:
    """A mistake in every objective of a kind that a method asks for."""
    return in_objectives(
        lambda found, batch, stage, method: {
            name: spoil(item, stage) if isinstance(item, kind) else item for name, item in found.items()
        }
    )


def in_loss(kind: type[Objective], spoil: Callable[[Any], Objective]) -> Callable[[Subject], Subject]:
    """A mistake in what the loss makes of every objective of a kind."""

    def wrong(hidden: Tensor, head: Head, objectives: Sequence[Objective], **options: Any) -> Outcome:
        return fused(hidden, head, [spoil(o) if isinstance(o, kind) else o for o in objectives], **options)

    return lambda sound: changed(sound, fused=wrong)


# 1 to 3: what the divergence is made of.


def add_labels(found: dict[str, Objective], batch: Batch, stage: TrainStage, method: Any) -> dict[str, Objective]:
    return found | {"cross_entropy": Labels(0.1 * batch.kl_R, batch.labels_R)} if "divergence" in found else found


def labels_only(found: dict[str, Objective], batch: Batch, stage: TrainStage, method: Any) -> dict[str, Objective]:
    return {"divergence": Labels(batch.kl_R, batch.labels_R)} if "divergence" in found else found


def itself(found: dict[str, Objective], batch: Batch, stage: TrainStage, method: Any) -> dict[str, Objective]:
    model = student().model
    with torch.no_grad():
        own = from_states(hidden_states(model, batch.packed)[batch.rows_R], Head.of(model))
    return {"divergence": Dense(batch.kl_R, own)} if "divergence" in found else found


def sampling_temperature(item: Dense, stage: TrainStage) -> Objective:
    return replace(item, temperature=stage.temperature) if isinstance(stage, OnPolicyKd) else item


# 5 to 9: rows.


def without_end(batch: Batch) -> Batch:
    lessons = [
        replace(lesson, ce=(*lesson.ce[:-1], 0.0)[: len(lesson.ce)], kl=(*lesson.kl[:-1], 0.0)[: len(lesson.kl)])
        for lesson in batch.lessons
    ]
    return make_batch(lessons, 1.0)


class Endless(Student):
    def completion_ids(self, text: str) -> list[int]:
        return super().completion_ids(text)[:-1]


def with_prompts(batch: Batch) -> Batch:
    rows = torch.tensor(batch.packed.starts)
    ce_R, kl_R, pg_R = (
        torch.cat([weights_R, torch.full((len(rows),), 0.1)]) for weights_R in (batch.ce_R, batch.kl_R, batch.pg_R)
    )
    rows = torch.cat([batch.rows_R, rows])
    return replace(batch, rows_R=rows, labels_R=batch.packed.ids_N[rows + 1], ce_R=ce_R, kl_R=kl_R, pg_R=pg_R)


def unpacked_attention(model: Any, packed: Packed) -> Tensor:
    body = use_attention(model, "sdpa")
    hidden: Tensor = body(
        input_ids=packed.ids_N[None], position_ids=torch.arange(len(packed.ids_N))[None], use_cache=False
    ).last_hidden_state[0]
    return hidden


def own_mean(batch: Batch) -> Batch:
    total = float((batch.ce_R + batch.kl_R).sum()) or 1.0
    return replace(batch, ce_R=batch.ce_R / total, kl_R=batch.kl_R / total)


def too_small(batch: Batch) -> Batch:
    return replace(batch, ce_R=batch.ce_R / 100, kl_R=batch.kl_R / 100)


class Retokenised(Capture):
    def completion(self, prompt_id: str, index: int) -> list[int]:
        return super().completion(prompt_id, index)[1:]


class Shifted(Capture):
    """Each row says what follows the token that it stands beside."""

    def targets(self, prompt_id: str, index: int) -> Targets:
        written = np.array(self.completion(prompt_id, index))
        masses = np.full((2, len(written)), [[0.9], [0.1]], dtype=np.float32)
        return Targets(np.arange(len(written) + 1), np.roll(written, -1), *masses)


class ByTurns(Capture):
    """Rows by the order in which they are asked for."""

    def targets(self, prompt_id: str, index: int) -> Targets:
        asked = len([key for key in self.memory if key[0] == -1])
        self.memory[-1, asked] = torch.zeros(0)
        return super().targets(EXAMPLES[asked % len(EXAMPLES)].prompt_id, 0)


class Renormalised(Capture):
    def targets(self, prompt_id: str, index: int) -> Targets:
        found = super().targets(prompt_id, index)
        row = np.repeat(np.arange(len(found.rest)), np.diff(found.splits))
        return replace(found, weights=found.weights / (1 - found.rest)[row], rest=np.zeros_like(found.rest))


class Drawn(Capture):
    """Sixteen draws a row on average, as the scorer makes them, each with this weight."""

    weight = 1 / 16

    def serves(self, objective: str, temperature: float) -> Service:
        return "unbiased" if (objective, temperature) == ("forward_kl", self.temperature) else "no"

    def targets(self, prompt_id: str, index: int) -> Targets:
        kept = super().targets(prompt_id, index)
        p_LW = torch.zeros(len(kept.rest), len(self.tokenizer))
        p_LW[np.repeat(np.arange(len(kept.rest)), np.diff(kept.splits)), kept.ids] = torch.from_numpy(kept.weights)
        rows = draw(p_LW, 16, comb(1, p_LW.shape[1]))
        weights = (rows.codes * self.weight).astype(np.float32)
        return Targets(rows.splits, rows.ids, weights, np.zeros_like(kept.rest))


class Undivided(Drawn):
    weight = 1.0


class Boastful(Capture):
    def serves(self, objective: str, temperature: float) -> Service:
        return "exactly"


def capture(kind: type[Capture], entries: int = 8) -> Callable[[Subject], Subject]:
    def plant(sound: Subject) -> Subject:
        held = sound.teacher
        assert isinstance(held, Student)
        return changed(sound, distributions=kind(held, EXAMPLES, held.model, entries=entries))

    return plant


# 10 to 14: sums.


def clamped(hidden: Tensor, head: Head, objectives: Sequence[Objective], **options: Any) -> Outcome:
    """The sum over the kept ids, clamped at zero."""
    chosen: list[Objective] = []
    for item in objectives:
        if isinstance(item, Sparse) and item.tail_R is not None:
            item = replace(item, tail_R=None, entropy_R=-torch.xlogy(item.probs_RK, item.probs_RK).sum(-1))
            values = fused(hidden, head, [item], gradients=False).figures.values_OR[0]
            item = replace(item, weight_R=torch.where(values < 0, 0, item.weight_R))
        chosen.append(item)
    return fused(hidden, head, chosen, **options)


def renormalised(item: Sparse) -> Objective:
    return replace(item, probs_RK=item.probs_RK / item.probs_RK.sum(-1, keepdim=True), tail_R=None)


def clipped(teacher: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    p = teacher.exp()
    terms = p * (teacher - own)
    return terms.clamp(max=0.05).sum(-1), torch.where(terms < 0.05, -p, 0)


def log_mixture(teacher: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    mixed = torch.log_softmax(0.3 * teacher + 0.7 * own, -1)
    q = own.exp()
    value = 0.3 * (teacher.exp() * (teacher - mixed)).sum(-1) + 0.7 * (q * (own - mixed)).sum(-1)
    return value, 0.7 * q * (own - mixed)


def swapped(item: Dense, stage: TrainStage) -> Objective:
    return replace(item, divergence=divergence.forward) if item.divergence is divergence.reverse else item


def mixed_in_logs(item: Dense, stage: TrainStage) -> Objective:
    return replace(item, divergence=log_mixture) if isinstance(stage, LogitKd) else item


def blind_pull(found: dict[str, Objective], batch: Batch, stage: TrainStage, method: Any) -> dict[str, Objective]:
    if "reference" not in found:
        return found
    return found | {"reference": Policy(batch.kl_R, batch.labels_R, torch.ones(len(batch.kl_R)))}


# 15 to 22: arithmetic.


def moving_teacher(item: Dense, stage: TrainStage) -> Objective:
    handle = torch.ones(1, requires_grad=True)
    return replace(item, teacher=lambda rows: item.teacher(rows) * handle)


def moving_advantage(item: Policy, stage: TrainStage) -> Objective:
    return replace(item, advantage_R=item.advantage_R.clone().requires_grad_())


def padded(sound: Subject) -> Subject:
    learner = student()
    learner.model.resize_token_embeddings(len(learner.tokenizer) + 7, mean_resizing=False)
    return changed(sound, student=learner)


def misread(sound: Subject) -> Subject:
    """A method that lets the teacher read an empty question."""

    class Misread(Student):
        def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
            return super().prompt_ids([Message(role="user", content="")])

    held = sound.teacher
    assert isinstance(held, Student)
    other = Misread(held.model, held.tokenizer)

    def wrong(stage: TrainStage, own: Any, examples: Any, checks: Any, materials: Materials, *rest: Any) -> Any:
        chosen = replace(materials, teacher=other) if materials.teacher is held else materials
        return make_method(stage, own, examples, checks, chosen, *rest)

    return changed(sound, make_method=wrong)


def all_rows(hidden: Tensor, head: Head, objectives: Sequence[Objective], **options: Any) -> Outcome:
    return fused(hidden, replace(head, vocabulary=len(head.weight_VH)), objectives, **options)


def shuffled_teacher(sound: Subject) -> Subject:
    """A teacher whose tokenizer has the same size and other ids, joined by number."""
    content = json.loads(_tokenizer().backend_tokenizer.to_str())
    known = content["model"]["vocab"]
    known["a"], known["b"] = known["b"], known["a"]
    other = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(content)), eos_token="<|im_end|>")
    other.chat_template = _tokenizer().chat_template
    teacher = Student(tiny_model(_tokenizer(), seed=9), other)
    return changed(sound, teacher=teacher, ids_in=lambda own, its: np.arange(len(own)))


class Thinking(Student):
    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        return self.encode(self.prompt_text(messages) + "<think>\n")


class TwoBeginnings(Student):
    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        return [int(self.tokenizer.bos_token_id), *super().prompt_ids(messages)]


def in_bf16(hidden: Tensor, head: Head, objectives: Sequence[Objective], **options: Any) -> Outcome:
    bias = None if head.bias_V is None else head.bias_V.bfloat16()
    rounded = replace(head, weight_VH=head.weight_VH.bfloat16(), bias_V=bias)
    return fused(hidden.bfloat16(), rounded, objectives, **options)


def naive(hidden: Tensor, head: Head, objectives: Sequence[Objective], **options: Any) -> Outcome:
    """The logarithm of a softmax that has underflown."""
    found = fused(hidden, head, objectives, **options)
    leaf = hidden.detach().requires_grad_()
    loss = torch.zeros(())
    with torch.enable_grad():
        for item in objectives:
            if isinstance(item, Labels):
                q = torch.softmax(leaf @ head.weight_VH.T, -1).gather(1, item.ids_R[:, None])[:, 0]
                loss = loss - (item.weight_R * q.log()).sum()
        gradient = torch.autograd.grad(loss, leaf)[0] if loss.requires_grad else found.hidden_RH
    return replace(found, loss=loss.detach(), hidden_RH=gradient)


def unclipped_gradient(hidden: Tensor, head: Head, objectives: Sequence[Objective], **options: Any) -> Outcome:
    free = [replace(o, clip_low=1e9, clip_high=1e9) if isinstance(o, Policy) else o for o in objectives]
    return replace(fused(hidden, head, objectives, **options), hidden_RH=fused(hidden, head, free, **options).hidden_RH)


def stuck_entropy(hidden: Tensor, head: Head, objectives: Sequence[Objective], **options: Any) -> Outcome:
    found = fused(hidden, head, objectives, **options)
    found.figures.entropy_R.fill_(99.0)
    return found


def wavering_teacher(sound: Subject) -> Subject:
    teacher = student(9)
    teacher.model.model.norm.register_forward_hook(lambda module, inputs, out: out + torch.randn_like(out))
    return changed(sound, teacher=teacher)


def other_sampler(batch: Batch) -> Batch:
    lessons = tuple(replace(item, sampler=tuple(log - 0.5 for log in item.sampler)) for item in batch.lessons)
    return replace(batch, lessons=lessons)


# 26 and 27: what lies outside.


class Credulous(ExactVerifier):
    def weigh(self, prompt: Prompt, text: str) -> tuple[Value, str]:
        return "correct", "any answer"


class Pedantic(ExactVerifier):
    def weigh(self, prompt: Prompt, text: str) -> tuple[Value, str]:
        return ("correct", "equal") if text == (prompt.truth or {})["answer"] else ("wrong", "differs")


class Lenient(ExactVerifier):
    """Takes the truth of another prompt for right."""

    def weigh(self, prompt: Prompt, text: str) -> tuple[Value, str]:
        return ("correct", "known") if text.strip() in ASKED.values() else ("wrong", "unknown")


def other_weights(model: Any, *rest: Any, **options: Any) -> None:
    spoilt = copy.deepcopy(model)
    with torch.no_grad():
        spoilt.model.layers[0].self_attn.q_proj.weight.mul_(-1)
    export_gguf(spoilt, *rest, **options)


def other_template(model: Any, tokenizer: Any, *rest: Any, **options: Any) -> None:
    spoilt = copy.deepcopy(tokenizer)
    spoilt.chat_template = spoilt.chat_template.replace("assistant", "model")
    export_gguf(model, spoilt, *rest, **options)


class Beginning:
    """An engine that puts a token in front of every prompt."""

    def __init__(self, path: Path, **settings: Any) -> None:
        self.tokenizer = load_tokenizer(path)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *why: Any) -> None:
        return

    def tokenize(self, text: str) -> list[int]:
        return [int(self.tokenizer.bos_token_id), *self.tokenizer(text, add_special_tokens=False)["input_ids"]]


class Elsewhere(Beginning):
    """An engine that cuts well and writes always the same."""

    def tokenize(self, text: str) -> list[int]:
        return super().tokenize(text)[1:]

    def ask(self, request: Request) -> Completion:
        return Completion("", token_ids=(5,) * request.max_tokens)


def learner(kind: type[Student]) -> Callable[[Subject], Subject]:
    return lambda sound: changed(sound, student=kind(sound.student.model, sound.student.tokenizer))


def loss(wrong: Callable[..., Outcome]) -> Callable[[Subject], Subject]:
    return lambda sound: changed(sound, fused=wrong)


def roll(item: Dense, stage: TrainStage) -> Objective:
    return replace(item, teacher=lambda rows: item.teacher(slice(None)).roll(1, 0)[rows])


BUGS = (
    Bug(1, "cross-entropy by default", in_objectives(add_labels)),
    Bug(2, "square of the temperature missing", in_each(Objective, lambda item, _: replace(item, squared=False))),
    Bug(2, "sampling temperature in the loss", in_each(Dense, sampling_temperature)),
    Bug(3, "divergence never attached", in_objectives(labels_only)),
    Bug(3, "teacher compared with itself", in_objectives(itself)),
    Bug(3, "teacher is the student", lambda sound: changed(sound, teacher=student())),
    Bug(4, "logit scale ignored", lambda _: changed(granite(_.folder), head_of=lambda m: replace(Head.of(m), scale=1))),
    Bug(5, "row before its own", in_batches(lambda batch: replace(batch, rows_R=batch.rows_R - 1))),
    Bug(5, "label of the row itself", in_batches(lambda b: replace(b, labels_R=b.packed.ids_N[b.rows_R]))),
    Bug(6, "teacher's rows rolled", in_each(Dense, roll)),
    Bug(6, "capture cut again", capture(Retokenised)),
    Bug(6, "capture shifted by one", capture(Shifted)),
    Bug(6, "teacher asked another question", misread),
    Bug(7, "end of turn left out of the text", learner(Endless)),
    Bug(7, "end of turn left out of the mask", in_batches(without_end)),
    Bug(8, "prompt learnt", in_batches(with_prompts)),
    Bug(8, "attention across texts", lambda sound: changed(sound, hidden_states=unpacked_attention)),
    Bug(9, "mean of each batch", in_batches(own_mean)),
    Bug(9, "divided by a hundred more", in_batches(too_small)),
    Bug(10, "cut sum clamped", loss(clamped)),
    Bug(11, "entries renormalised in the loss", in_loss(Sparse, renormalised)),
    Bug(11, "entries renormalised in the capture", capture(Renormalised)),
    Bug(11, "counts not divided by the draws", capture(Undivided, entries=0)),
    Bug(12, "entries clipped", in_loss(Dense, lambda item: replace(item, divergence=clipped))),
    Bug(13, "direction swapped", in_each(Dense, swapped)),
    Bug(13, "mixture of logarithms", in_each(Dense, mixed_in_logs)),
    Bug(14, "divergence as a blind reward", in_objectives(blind_pull)),
    Bug(14, "advantage of nobody", in_loss(Policy, lambda o: replace(o, advantage_R=torch.ones_like(o.advantage_R)))),
    Bug(15, "teacher not detached", in_each(Dense, moving_teacher)),
    Bug(15, "advantage not detached", in_each(Policy, moving_advantage)),
    Bug(16, "head longer than the tokenizer", padded),
    Bug(16, "padded rows in the softmax", loss(all_rows)),
    Bug(17, "ids joined by number", shuffled_teacher),
    Bug(18, "think tag in training only", learner(Thinking)),
    Bug(18, "two beginnings", learner(TwoBeginnings)),
    Bug(19, "divergence in bf16", loss(in_bf16)),
    Bug(20, "logarithm of an underflow", loss(naive)),
    Bug(21, "clipped forward only", loss(unclipped_gradient)),
    Bug(21, "metric stuck", loss(stuck_entropy)),
    Bug(22, "teacher wavers", wavering_teacher),
    Bug(22, "sampler is another engine", in_batches(other_sampler)),
    Bug(23, "rows joined by step", capture(ByTurns)),
    Bug(24, "capture serves any temperature", capture(Boastful)),
    Bug(
        24,
        "temperature dropped in silence",
        lambda sound: changed(
            sound,
            make_method=lambda stage, *rest: make_method(
                stage.model_copy(update={"temperature": 1.0}) if isinstance(stage, LogitKd) else stage, *rest
            ),
        ),
    ),
    Bug(26, "everything is right", lambda sound: changed(sound, verifier=Credulous())),
    Bug(26, "a space too many is wrong", lambda sound: changed(sound, verifier=Pedantic())),
    Bug(26, "another question's answer is right", lambda sound: changed(sound, verifier=Lenient())),
    Bug(27, "other weights in the file", lambda sound: changed(sound, export=other_weights)),
    Bug(27, "other template in the file", lambda sound: changed(sound, export=other_template)),
    Bug(27, "engine puts a beginning first", lambda sound: changed(sound, engine=Beginning)),
    Bug(27, "engine writes something else", lambda sound: changed(sound, engine=Elsewhere)),
    Bug(28, "entries forget the square", in_loss(Sparse, lambda item: replace(item, squared=False))),
    Bug(28, "distribution forgets the total", in_loss(Dense, lambda item: replace(item, total=1.0))),
)
