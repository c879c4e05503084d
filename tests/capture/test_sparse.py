"""Reduced rows say what the model says, draw without bias, and do not depend on what was scored beside them."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from cornue.capture.packing import Rows, Shape, targets_of
from cornue.capture.sparse import DenseScorer, comb, draw, join_rows, top
from cornue.capture.teacher import Text
from cornue.models import int8

VOCABULARY, ROWS_OF_HEAD = 300, 320
WORDS = range(VOCABULARY)


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(1)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=ROWS_OF_HEAD, initializer_range=0.2, **sizes, **heads)).eval()


def texts(beginning: int = 0, count: int = 6) -> list[Text]:
    random = np.random.default_rng(5)
    common = random.integers(0, VOCABULARY, beginning)
    ids = lambda least: tuple(int(i) for i in random.integers(0, VOCABULARY, random.integers(least, least + 9)))  # noqa: E731
    return [Text((*(int(i) for i in common), *ids(2)), ids(1)) for _ in range(count)]


def whole(model: Any, text: Text) -> torch.Tensor:
    """The distributions by transformers' own forward pass."""
    model.set_attn_implementation("sdpa")
    ids = torch.tensor([[*text.prompt, *text.completion]])
    with torch.no_grad():
        logits = model(ids).logits[0, len(text.prompt) - 1 : -1, :VOCABULARY]
    return torch.softmax(logits.float(), dim=-1)


def same(one: Rows, other: Rows) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("splits", "ids", "codes", "tails"))


def distributions(rows: int, vocabulary: int) -> torch.Tensor:
    torch.manual_seed(0)
    return torch.softmax(torch.randn(rows, vocabulary) * 3, -1)


def counts(p: torch.Tensor, draws: int, comb_V: torch.Tensor) -> np.ndarray:
    """How often each id was drawn in each row."""
    rows = draw(p, draws, comb_V)
    dense = np.zeros(p.shape)
    dense[np.repeat(np.arange(len(p)), np.diff(rows.splits)), rows.ids] = rows.codes
    return dense


def test_drawn_ids_ascend_in_every_row() -> None:
    rows = draw(distributions(20, 1000), 33, comb(1, 1000))
    for first, last in zip(rows.splits[:-1], rows.splits[1:], strict=True):
        assert np.all(np.diff(rows.ids[first:last]) > 0)


def test_draws_are_unbiased_for_every_probability_of_every_row() -> None:
    # Beginnings at equal distances stand for all that there are: no chance, however rare an id.
    p, times, draws = distributions(5, 200), 2000, 16
    beginnings = [torch.full((200,), (time + 0.5) / times, dtype=torch.float64) for time in range(times)]
    drawn = sum(counts(p, draws, comb_V) for comb_V in beginnings)
    assert np.abs(drawn - times * draws * p.numpy()).max() < 1 + 1e-2


def test_beginnings_lie_evenly_between_0_and_1() -> None:
    shares = np.histogram(comb(1, 100_000), bins=10, range=(0, 1))[0] / 100_000
    assert np.abs(shares - 0.1).max() < 0.005


def test_over_any_stretch_of_rows_a_count_differs_from_its_expectation_by_less_than_one() -> None:
    p = distributions(60, 500)
    drawn = counts(p, 64, comb(3, 500))
    for first, last in [(0, 1), (7, 8), (0, 60), (20, 41)]:
        assert np.abs(drawn[first:last].sum(0) - 64 * p[first:last].sum(0).numpy()).max() < 1 + 1e-4


@pytest.mark.parametrize("rows", [1, 7, 60])
def test_draws_of_some_rows_at_a_time_are_those_of_all_at_once(rows: int) -> None:
    p, comb_V = distributions(60, 500), comb(3, 500)
    parts = [draw(p[first : first + rows], 64, comb_V) for first in range(0, 60, rows)]
    assert same(join_rows(parts), draw(p, 64, comb(3, 500)))


def test_ids_without_mass_are_never_drawn() -> None:
    logits = torch.randn(200, 300)
    logits[:, 100:] = -torch.inf
    logits[:, :40] = -torch.inf
    rows = draw(torch.softmax(logits, -1), 50, comb(9, 300))
    assert rows.ids.min() >= 40 and rows.ids.max() < 100


@pytest.mark.parametrize("beginning", [0, 80])
def test_top_rows_are_the_models_own_probabilities(model: Any, beginning: int) -> None:
    shape = Shape(form="top", width=10, vocabulary=VOCABULARY)
    asked = texts(beginning)
    for place, rows in DenseScorer(model, WORDS).score(asked, shape):
        expected = whole(model, asked[place])
        targets = targets_of(rows, shape)
        found = targets.weights.reshape(-1, 10)
        ids = torch.from_numpy(targets.ids).reshape(-1, 10)
        assert np.allclose(found, expected.gather(1, ids).numpy(), rtol=0.01, atol=1e-4)
        assert np.allclose(targets.rest, 1 - expected.topk(10).values.sum(-1).numpy(), rtol=0.02, atol=1e-4)


def test_every_text_comes_back_with_one_row_per_token(model: Any) -> None:
    asked = texts(count=9)
    shape = Shape(form="sampled", width=8, vocabulary=VOCABULARY)
    rows = dict(DenseScorer(model, WORDS).score(asked, shape))
    assert {place: len(row.splits) - 1 for place, row in rows.items()} == {
        place: len(text.completion) for place, text in enumerate(asked)
    }


def test_a_rounded_model_whose_head_has_let_go_of_its_floats_is_drawn_from(model: Any) -> None:
    rounded = copy.deepcopy(model)
    int8.freeze(rounded)
    assert rounded.get_output_embeddings().weight.numel() == 0
    shape = Shape(form="sampled", width=64, vocabulary=VOCABULARY)
    for _, rows in DenseScorer(rounded, WORDS).score(texts(), shape):
        assert rows.ids.max() < VOCABULARY
        assert rows.codes.sum() == pytest.approx(64 * (len(rows.splits) - 1), rel=0.3)


def test_draws_depend_on_the_texts_and_not_on_how_many_rows_are_formed_at_a_time(model: Any) -> None:
    shape = Shape(form="sampled", width=8, vocabulary=VOCABULARY)
    scorer = DenseScorer(model, WORDS)
    together = dict(scorer.score(texts(), shape))
    scorer._rows = 3
    for place, rows in scorer.score(texts(), shape):
        assert same(rows, together[place])


def test_another_seed_draws_others(model: Any) -> None:
    shape = Shape(form="sampled", width=8, vocabulary=VOCABULARY)
    scorer = DenseScorer(model, WORDS)
    one, same_again, other = (dict(scorer.score(texts(), shape, seed)) for seed in (1, 1, 2))
    assert all(same(one[place], same_again[place]) for place in one)
    assert not all(same(one[place], other[place]) for place in one)


def test_a_temperature_softens_the_distribution(model: Any) -> None:
    [text] = texts(count=1)
    for _, _, p in DenseScorer(model, WORDS, temperature=2.0).whole([text]):
        expected = torch.softmax(whole(model, text).log() / 2, -1)
        assert np.allclose(p[:, :VOCABULARY], expected.numpy(), atol=1e-5)


def test_top_of_a_certain_row_has_no_tail() -> None:
    logits = torch.full((1, 50), -100.0)
    logits[0, 3] = 100.0
    rows = top(logits, 4)
    assert rows.tails.tolist() == [4095]
    assert rows.codes[rows.ids == 3].tolist() == [0]
