from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cornue.capture.packing import Targets
from cornue.capture.reader import Service
from cornue.models.align import ids_in
from cornue.models.head import Head
from cornue.models.packed import hidden_states, pack
from cornue.models.student import Student
from cornue.models.tiny import tiny_model, tiny_tokenizer
from cornue.records.errors import BadInput, Refused
from cornue.records.progress import Silent
from cornue.records.recipe import Grpo, LogitKd, OnPolicyKd, TrainStage
from cornue.records.samples import Example, Message, Prompt, Sample, Verdict
from cornue.seal.tables import read_records
from cornue.train.loop import Settings
from cornue.train.materials import Materials
from cornue.train.rollouts import Rollout, Turns
from cornue.train.run import Trained, make_method, run_stages
from cornue.train.weights import Weights

from .conftest import sft

QUESTIONS = ["How many inhabitants?", "Combien de communes ?", "SELECT what?", "population ?", "town?", "user?"]
PROMPTS = [
    Prompt.make((Message(role="user", content=text),), truth={"answer": "a"}, split="validation" if n == 5 else "train")
    for n, text in enumerate(QUESTIONS)
]
EXAMPLES = [
    Example(prompt_id=prompt.id, messages=prompt.messages, completion="SELECT population" + "!" * n)
    for n, prompt in enumerate(PROMPTS)
]


def student(seed: int = 0) -> Student:
    tokenizer = tiny_tokenizer()
    return Student(tiny_model(tokenizer, seed=seed), tokenizer)


@dataclass
class Captured:
    """What a capture of a teacher's distributions offers: draws, or the likeliest entries with the rest."""

    teacher: Student
    form: str
    width: int

    def serves(self, objective: str, temperature: float) -> Service:
        if objective != "forward_kl" or temperature != 1.0:
            return "no"
        return "unbiased" if self.form == "sampled" else "approximate"

    def knows(self, prompt_id: str, index: int) -> bool:
        return index == 0

    def completion(self, prompt_id: str, index: int) -> Sequence[int]:
        return self.teacher.completion_ids(self._example(prompt_id).completion)

    def targets(self, prompt_id: str, index: int) -> Targets:
        prompt = self.teacher.prompt_ids(self._example(prompt_id).messages)
        text = pack([[*prompt, *self.completion(prompt_id, index)]])
        with torch.no_grad():
            hidden_LH = hidden_states(self.teacher.model, text)[len(prompt) - 1 : -1]
            probs_LV = torch.softmax(Head.of(self.teacher.model).logits(hidden_LH), -1)
        if self.form == "top":
            weights_LK, ids_LK = probs_LV.topk(self.width)
        else:
            ids_LK = probs_LV.multinomial(self.width, True, generator=torch.Generator().manual_seed(3))
            weights_LK = torch.full(ids_LK.shape, 1 / self.width)
        splits = np.arange(len(ids_LK) + 1) * self.width
        rest_L = (1 - weights_LK.sum(-1)).clamp(min=0).numpy()
        return Targets(splits, ids_LK.flatten().numpy(), weights_LK.flatten().numpy(), rest_L)

    def student_ids(self, learner: Any) -> NDArray[np.int64]:
        return ids_in(self.teacher.tokenizer, learner.tokenizer)

    def _example(self, prompt_id: str) -> Example:
        return next(example for example in EXAMPLES if example.prompt_id == prompt_id)


def captured(form: str = "sampled", width: int = 12) -> Captured:
    return Captured(student(9), form, width)


def likes_a(prompt: Prompt, sample: Sample) -> Verdict:
    """Right is what contains a letter of the first half of the alphabet; texts that were cut are not told apart."""
    value = "correct" if any(letter in sample.text for letter in "abcdefghijklm") else "wrong"
    return Verdict(prompt_id=prompt.id, index=sample.index, value=value, reason="letters", verifier="test")  # type: ignore[arg-type]


STAGES: dict[str, tuple[TrainStage, Materials]] = {
    "sft": (sft(checkpoint_every=2), Materials()),
    "logit_kd": (
        LogitKd(method="logit_kd", truth=0.3, epochs=4, batch_tokens=100, checkpoint_every=2, learning_rate=0.01),
        Materials(distributions=captured()),
    ),
    "logit_kd live": (
        LogitKd(
            method="logit_kd", live=True, objective="jensen_shannon", epochs=4, batch_tokens=100, learning_rate=0.01
        ),
        Materials(teacher=student(9)),
    ),
    "on_policy_kd": (
        OnPolicyKd(
            method="on_policy_kd",
            epochs=6,
            prompts_per_step=3,
            max_tokens=8,
            teacher_share=0.4,
            prefix=0.7,
            checkpoint_every=2,
            validate_every=3,
            learning_rate=0.01,
        ),
        Materials(teacher=student(9)),
    ),
    "grpo": (
        Grpo(
            method="grpo",
            epochs=4,
            prompts_per_step=2,
            group=4,
            max_tokens=3,
            reference_kl=0.01,
            checkpoint_every=3,
            validate_every=4,
            learning_rate=0.005,
        ),
        Materials(prompts=PROMPTS, judge=likes_a),
    ),
}


def run(folder: Path, name: str, stop_after: int = 0, seed: int = 5, **changes: Any) -> Trained:
    stage, materials = STAGES[name]
    done = []

    def on_step(figures: dict[str, float]) -> None:
        done.append(figures)
        if len(done) == stop_after:
            raise KeyboardInterrupt

    return run_stages(
        [stage.model_copy(update=changes)],
        student(),
        EXAMPLES,
        EXAMPLES[:2],
        folder,
        seed=seed,
        settings=Settings(),
        progress=Silent(),
        on_step=on_step,
        materials=materials,
    )


def curve(folder: Path, name: str) -> list[dict[str, float]]:
    place = folder / "stages" / f"01-{name.split()[0]}" / "curve.jsonl"
    return [json.loads(line) for line in place.read_text().splitlines()]


@pytest.mark.parametrize("name", list(STAGES))
def test_a_stopped_stage_goes_on_to_the_same_student(name: str, tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", name)
    for stop in (3, 2):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "stopped", name, stop_after=stop)
    resumed = run(tmp_path / "stopped", name)
    assert (whole.student / "model.safetensors").read_bytes() == (resumed.student / "model.safetensors").read_bytes()
    noisy = {"seconds", "tokens_per_second", "share_of_peak"}
    curves = [
        [{key: value for key, value in line.items() if key not in noisy} for line in curve(tmp_path / where, name)]
        for where in ("whole", "stopped")
    ]
    assert curves[0] == curves[1]


@pytest.mark.parametrize("name", ["logit_kd", "logit_kd live", "on_policy_kd"])
def test_divergence_falls(name: str, tmp_path: Path) -> None:
    run(tmp_path, name, epochs=12, validate_every=0, learning_rate=0.02, checkpoint_every=100)
    divergences = [line["divergence"] for line in curve(tmp_path, name)]
    assert np.mean(divergences[-4:]) < 0.9 * np.mean(divergences[:4])


def test_rewards_rise(tmp_path: Path) -> None:
    run(tmp_path, "grpo", epochs=60, max_steps=24, validate_every=0, reference_kl=0.0, checkpoint_every=100)
    rewards = [line["reward"] for line in curve(tmp_path, "grpo") if "reward" in line]
    assert np.mean(rewards[-8:]) > np.mean(rewards[:8]) + 0.15


@pytest.mark.parametrize("objective", ["forward_kl", "reverse_kl", "jensen_shannon", "skewed_kl"])
def test_a_student_equal_to_its_teacher_has_nothing_to_learn(objective: str, tmp_path: Path) -> None:
    learner = student()
    stage = LogitKd(method="logit_kd", live=True, objective=objective, temperature=2.0)  # type: ignore[arg-type]
    method = make_method(stage, learner, EXAMPLES, [], Materials(teacher=student()), Settings(), 1, tmp_path)
    figures = one_step(learner, method, stage)
    assert abs(figures["loss"]) < 1e-5
    assert figures["gradient_norm"] < 1e-4


def one_step(learner: Student, method: Any, stage: TrainStage) -> dict[str, float]:
    from cornue.train.loop import _one_step

    return _one_step(Weights(learner.model, stage), method, stage, 0, Settings())


def test_all_entries_of_a_capture_teach_what_the_live_teacher_teaches(tmp_path: Path) -> None:
    size = len(tiny_tokenizer())
    cached = LogitKd(method="logit_kd", max_steps=1)
    live = cached.model_copy(update={"live": True})
    found = [
        one_step(learner, make_method(stage, learner, EXAMPLES, [], materials, Settings(), 1, tmp_path), stage)
        for learner, stage, materials in (
            (student(), cached, Materials(distributions=captured("top", size), approximate=True)),
            (student(), live, Materials(teacher=student(9))),
        )
    ]
    assert found[0]["divergence"] == pytest.approx(found[1]["divergence"], rel=1e-4)
    assert found[0]["gradient_norm"] == pytest.approx(found[1]["gradient_norm"], rel=1e-4)


def test_a_capture_is_refused_for_what_it_does_not_declare(tmp_path: Path) -> None:
    materials = Materials(distributions=captured())
    for changes in ({"objective": "reverse_kl"}, {"temperature": 2.0}):
        stage = LogitKd(method="logit_kd", **changes)  # type: ignore[arg-type]
        with pytest.raises(Refused):
            make_method(stage, student(), EXAMPLES, [], materials, Settings(), 1, tmp_path)


def test_approximate_distributions_need_consent(tmp_path: Path) -> None:
    stage = LogitKd(method="logit_kd")
    with pytest.raises(Refused, match="approximate"):
        make_method(stage, student(), EXAMPLES, [], Materials(distributions=captured("top")), Settings(), 1, tmp_path)


@pytest.mark.parametrize("stage", [LogitKd(method="logit_kd"), OnPolicyKd(method="on_policy_kd"), Grpo(method="grpo")])
def test_a_method_that_lacks_its_material_says_so(stage: TrainStage, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=stage.method):
        make_method(stage, student(), EXAMPLES, [], Materials(), Settings(), 1, tmp_path)


def test_rollouts_are_stored_and_read_again_instead_of_written(tmp_path: Path) -> None:
    run(tmp_path / "once", "on_policy_kd")
    stored = tmp_path / "once" / "stages" / "01-on_policy_kd" / "rollouts" / "step-000001.parquet"
    rollouts = read_records(stored, Rollout)
    assert rollouts[0].logprobs and len(rollouts[0].logprobs) == len(rollouts[0].token_ids)
    kept = tmp_path / "again" / "stages" / "01-on_policy_kd" / "rollouts"
    kept.mkdir(parents=True)
    (kept / stored.name).write_bytes(stored.read_bytes())
    before = (kept / stored.name).stat().st_mtime_ns
    run(tmp_path / "again", "on_policy_kd")
    assert (kept / stored.name).stat().st_mtime_ns == before


def test_sampler_and_learner_agree_on_what_was_written(tmp_path: Path) -> None:
    run(tmp_path, "grpo")
    distances = [line["sampler_distance"] for line in curve(tmp_path, "grpo") if "sampler_distance" in line]
    assert distances
    assert max(distances) < 1e-4


def test_groups_that_are_all_alike_teach_nothing(tmp_path: Path) -> None:
    def never(prompt: Prompt, sample: Sample) -> Verdict:
        return Verdict(prompt_id=prompt.id, index=sample.index, value="wrong", reason="never", verifier="test")

    learner, stage = student(), STAGES["grpo"][0]
    method = make_method(stage, learner, [], [], Materials(prompts=PROMPTS, judge=never), Settings(), 1, tmp_path)
    assert method.plan(0) == []


def test_advantages_of_a_group_add_up_to_zero_and_skip_what_cannot_be_judged(tmp_path: Path) -> None:
    def judge(prompt: Prompt, sample: Sample) -> Verdict:
        value = ("correct", "wrong", "unknown", "wrong")[sample.index]
        return Verdict(prompt_id=prompt.id, index=sample.index, value=value, reason="", verifier="test")  # type: ignore[arg-type]

    learner, stage = student(), STAGES["grpo"][0]
    method = make_method(stage, learner, [], [], Materials(prompts=PROMPTS, judge=judge), Settings(), 1, tmp_path)
    groups: dict[str, list[float]] = {}
    for batch in method.plan(0):
        for lesson in batch.lessons:
            groups.setdefault(lesson.name.split("/")[0], []).append(lesson.pg[0])
    assert len(groups) == 2
    for advantages in groups.values():
        assert sorted(advantages) == pytest.approx([-1 / 3, -1 / 3, 2 / 3])


def test_every_epoch_takes_every_prompt_once() -> None:
    turns = Turns(PROMPTS, seed=1)
    taken = [prompt.id for prompt in turns.take(0, 12)]
    assert sorted(taken[:6]) == sorted(taken[6:]) == sorted(prompt.id for prompt in PROMPTS)
    assert taken[:6] != taken[6:]
    assert [prompt.id for prompt in Turns(PROMPTS, seed=1).take(7, 2)] == taken[7:9]


def test_a_student_with_tokens_that_the_teacher_lacks_is_refused(tmp_path: Path) -> None:
    learner = student()
    learner.tokenizer.add_tokens(["zweihundert"])
    stage = LogitKd(method="logit_kd", live=True)
    with pytest.raises(BadInput, match="zweihundert"):
        make_method(stage, learner, EXAMPLES, [], Materials(teacher=student(9)), Settings(), 1, tmp_path)


def test_a_teacher_of_a_larger_vocabulary_keeps_its_mass_on_what_the_student_lacks(tmp_path: Path) -> None:
    teacher = student(9)
    teacher.tokenizer.add_tokens(["zweihundert"])
    teacher.model.resize_token_embeddings(len(teacher.tokenizer), mean_resizing=False)
    with torch.no_grad():
        teacher.model.get_output_embeddings().weight[-1] = 0.0
    learner, stage = student(), LogitKd(method="logit_kd", live=True)
    method = make_method(stage, learner, EXAMPLES, [], Materials(teacher=teacher), Settings(), 1, tmp_path)
    (batch, *_) = method.plan(0)
    logits: Any = next(iter(method.objectives(batch).values()))
    probabilities = torch.softmax(logits.teacher(slice(0, 4)), -1)
    assert probabilities.shape[1] == len(learner.tokenizer) + 1
    assert (probabilities[:, -1] > 0).all()


def test_a_text_without_distributions_is_learnt_as_it_stands_and_counted(tmp_path: Path) -> None:
    carried = EXAMPLES[0].model_copy(update={"index": 7})
    changed = EXAMPLES[1].model_copy(update={"completion": "another text"})
    stage = LogitKd(method="logit_kd", max_steps=1)
    learner, materials = student(), Materials(distributions=captured())
    method: Any = make_method(stage, learner, [carried, changed, EXAMPLES[2]], [], materials, Settings(), 1, tmp_path)
    assert method.without == 2
    (batch,) = method.plan(0)
    by_name = {lesson.name: lesson for lesson in batch.lessons}
    assert not any(by_name[f"{carried.prompt_id}/7"].kl)
    assert all(by_name[f"{changed.prompt_id}/0"].ce)
    assert not any(by_name[f"{EXAMPLES[2].prompt_id}/0"].ce)
    figures = one_step(learner, method, stage)
    assert figures["cross_entropy"] > 0 and figures["divergence"] > 0


class Cut(Captured):
    """A capture of texts in pieces that no tokenizer of the student's gives, but for the first."""

    def student_ids(self, learner: Any) -> NDArray[np.int64]:
        spared = [*self.completion(EXAMPLES[0].prompt_id, 0)]
        known = np.full_like(super().student_ids(learner), -1)
        known[spared] = super().student_ids(learner)[spared]
        return known


def test_a_text_in_pieces_that_the_student_lacks_is_learnt_in_its_own(tmp_path: Path) -> None:
    materials = Materials(distributions=Cut(student(9), "sampled", 12))
    stage, learner = LogitKd(method="logit_kd"), student()
    method: Any = make_method(stage, learner, EXAMPLES[:3], [], materials, Settings(), 1, tmp_path)
    assert method.without == 2
    (batch,) = method.plan(0)
    assert {lesson.completion for lesson in batch.lessons} == {
        tuple(learner.completion_ids(example.completion)) for example in EXAMPLES[:3]
    }


def test_distributions_over_another_vocabulary_are_refused(tmp_path: Path) -> None:
    materials = Materials(distributions=Cut(student(9), "sampled", 12))
    with pytest.raises(BadInput, match="none of 2 texts"):
        make_method(LogitKd(method="logit_kd"), student(), EXAMPLES[1:3], [], materials, Settings(), 1, tmp_path)
