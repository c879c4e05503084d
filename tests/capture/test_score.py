"""A capture with distributions holds one row per token, says what it serves, and certifies what it lost."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from cornue.capture.ask import run_capture
from cornue.capture.budget import Purse
from cornue.capture.fidelity import certificate, compare_engines, measure
from cornue.capture.packing import Rows, Shape, Shards, log_codes
from cornue.capture.reader import CaptureReader
from cornue.capture.score import VOCABULARY, read_vocabulary, score_samples, shards_of
from cornue.capture.sparse import DenseScorer, comb, draw, top
from cornue.capture.teacher import Ask, Sampling, Scorer, Teacher, Text
from cornue.records.errors import BadInput
from cornue.records.progress import Silent
from cornue.records.recipe import Capture
from cornue.records.samples import Message, Prompt, Sample


class Spelling:
    """A tokenizer of 64 made-up tokens."""

    def __len__(self) -> int:
        return 64

    def convert_ids_to_tokens(self, ids: Iterable[int]) -> list[str]:
        return [f"token{id_}" for id_ in ids]


class Tiny(Teacher):
    """A random model that answers at random and counts how often it scores."""

    def __init__(self) -> None:
        torch.manual_seed(4)
        sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "initializer_range": 0.3}
        config = LlamaConfig(vocab_size=64, num_attention_heads=2, num_key_value_heads=2, **sizes)
        self.model = LlamaForCausalLM(config).eval()
        self.scored = 0

    def identity(self) -> dict[str, Any]:
        return {"kind": "tiny"}

    def sample(self, asks: Iterable[Ask], sampling: Sampling) -> Iterator[Sample]:
        for ask in asks:
            ids = tuple(int(id_) for id_ in np.random.default_rng(ask.seed).integers(0, 64, 1 + ask.seed % 9))
            yield Sample(prompt_id=ask.prompt.id, index=ask.index, text="x", token_ids=ids)

    def most_prompt_tokens(self, prompt: Prompt) -> int:
        return 3

    def prompt_ids(self, prompt: Prompt) -> tuple[int, ...]:
        return (1, 2, 3)

    def scorer(self, temperature: float) -> Scorer:
        self.scored += 1
        return DenseScorer(self.model, Spelling(), temperature=temperature)

    def close(self) -> None:
        pass


PROMPTS = [
    Prompt.make((Message(role="user", content=str(number)),), split="heldout" if number % 2 else "train")
    for number in range(20)
]


def captured(folder: Path, **section: Any) -> CaptureReader:
    return run_capture(Tiny(), PROMPTS, Capture(**section), folder / "1-capture")


@pytest.mark.parametrize("form", ["sampled", "top"])
def test_every_token_has_its_row_in_the_capture(tmp_path: Path, form: str) -> None:
    capture = captured(tmp_path, distributions=form, width=8)
    shards = Shards(shards_of(capture.folder))
    assert len(shards) == len(capture.samples())
    sums = []
    for place, sample in enumerate(capture.samples()):
        targets = shards.targets(place, sample.token_ids)
        assert len(targets.rest) == len(sample.token_ids)
        row = np.repeat(np.arange(len(targets.rest)), np.diff(targets.splits))
        sums += list(np.bincount(row, targets.weights, len(targets.rest)) + targets.rest)
    if form == "top":
        assert np.allclose(sums, 1, atol=1e-5)
    assert np.mean(sums) == pytest.approx(1, abs=0.05)
    assert read_vocabulary(capture.folder / VOCABULARY)[63] == "token63"


def test_sampled_targets_serve_forward_kl_and_nothing_else_as_well(tmp_path: Path) -> None:
    capture = captured(tmp_path, distributions="sampled", width=8)
    assert capture.serves("forward_kl", 1.0) == "unbiased"
    assert capture.serves("reverse_kl", 1.0) == "approximate"
    assert capture.serves("forward_kl", 2.0) == "no"


def test_the_likeliest_serve_approximately_and_texts_alone_serve_nothing(tmp_path: Path) -> None:
    assert captured(tmp_path, distributions="top", width=8).serves("forward_kl", 1.0) == "approximate"
    assert captured(tmp_path / "texts").serves("forward_kl", 1.0) == "no"


def test_the_certificate_travels_with_the_capture(tmp_path: Path) -> None:
    about = captured(tmp_path, distributions="sampled", width=8).about["distributions"]
    assert about["fidelity"]["held_out"] is True
    assert about["fidelity"]["tokens"] > 20
    assert about["fidelity"]["kept"]["rms_error"] > 0
    assert about["bytes_per_token"] < 20


def test_a_teacher_without_weights_is_refused_when_distributions_are_wanted(tmp_path: Path) -> None:
    class Mute(Tiny):
        def scorer(self, temperature: float) -> Scorer:
            return Teacher.scorer(self, temperature)

    with pytest.raises(BadInput, match="distributions"):
        run_capture(Mute(), PROMPTS, Capture(distributions="sampled"), tmp_path / "1-capture")


def test_a_capture_of_texts_is_not_taken_for_one_with_distributions(tmp_path: Path) -> None:
    captured(tmp_path)
    with pytest.raises(BadInput):
        captured(tmp_path, distributions="sampled")


def test_shards_that_are_whole_are_not_scored_again(tmp_path: Path) -> None:
    class Breaks(Tiny):
        def prepare(self, prompts: Sequence[Prompt], purse: Purse) -> None:
            self.texts: list[int] = []

        def scorer(self, temperature: float) -> Scorer:
            texts = self.texts

            class Counting(DenseScorer):
                def score(self, asked: Sequence[Text], shape: Shape, seed: int = 0) -> Iterator[tuple[int, Rows]]:
                    texts.append(len(asked))
                    return super().score(asked, shape, seed)

            return Counting(self.model, Spelling(), temperature=temperature)

    teacher = Breaks()
    capture = run_capture(teacher, PROMPTS, Capture(distributions="sampled", width=8), tmp_path / "1-capture")
    assert teacher.texts == [20]
    (tmp_path / "partial").mkdir()
    for shard in shards_of(capture.folder):
        shutil.copyfile(shard, tmp_path / "partial" / shard.name)
    section = Capture(distributions="sampled", width=8)
    score_samples(teacher, PROMPTS, capture.samples(), section, tmp_path / "partial", Silent())
    assert teacher.texts == [20]


def distributions(rows: int = 400, vocabulary: int = 600) -> torch.Tensor:
    torch.manual_seed(2)
    return torch.softmax(torch.randn(rows, vocabulary) * 1.5, -1)


def test_draws_are_certified_unbiased_and_the_likeliest_are_not() -> None:
    p = distributions()
    shape = Shape(form="sampled", width=24, vocabulary=600)
    errors = [measure(p.numpy(), [draw(p, 24, comb(seed, 600)) for seed in range(8)], shape)]
    found = certificate(errors, shape)
    low, high = found["kept"]["gradient_bias2_interval"]
    assert low < 0 < high
    assert high < found["beside"]["gradient_bias2_interval"][0]


def test_a_biased_form_is_certified_as_biased() -> None:
    p = distributions()
    shape = Shape(form="sampled", width=24, vocabulary=600)
    always_first = Rows(
        np.arange(len(p) + 1), np.zeros(len(p), np.int64), np.full(len(p), 24), np.zeros(0, dtype=np.int64)
    )
    found = certificate([measure(p.numpy(), [always_first] * 8, shape)], shape)
    expected = ((np.eye(600)[:1] - p.numpy()) ** 2).sum(1).mean()
    assert found["kept"]["gradient_bias2"] == pytest.approx(expected, rel=1e-3)


def test_the_error_of_one_draw_is_the_distance_to_the_whole_distribution() -> None:
    p = distributions(50)
    shape = Shape(form="sampled", width=24, vocabulary=600)
    rows = draw(p, 24, comb(1, 600))
    dense = np.zeros((50, 600))
    dense[np.repeat(np.arange(50), np.diff(rows.splits)), rows.ids] = rows.codes / 24
    assert np.allclose(measure(p.numpy(), [rows], shape)[:, 2], ((dense - p.numpy()) ** 2).sum(1), atol=1e-6)


def test_keeping_everything_loses_nothing() -> None:
    p = distributions(30, 100)
    shape = Shape(form="top", width=100, vocabulary=100)
    errors = measure(p.numpy(), [top(p.log(), 100)], shape)
    assert np.abs(errors[:, 1:4]).max() < 1e-4


def test_engines_that_agree_are_not_apart_and_others_are() -> None:
    p = distributions(40, 50).numpy()
    rows = top(torch.from_numpy(p).log(), 20)
    same = compare_engines([(rows, slice(0, 40), p)])
    assert same["same_likeliest"] == 1.0
    assert same["divergence_of_likeliest_and_rest"] < 1e-3
    assert compare_engines([(rows, slice(0, 40), p[::-1].copy())])["divergence_of_likeliest_and_rest"] > 0.1
    assert log_codes(np.array([-1.0])).tolist() == [256]
