from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cornue.models.packed import hidden_states, pack
from cornue.records.errors import BadInput
from cornue.train.batches import Lesson, Order, make_batch, split

from .conftest import lessons, tiny_model


def test_packed_sequences_give_the_hidden_states_of_each_alone() -> None:
    model = tiny_model()
    sequences = [[5, 6, 7, 8], [9, 10], [11, 12, 13, 14], [2, 3, 4]]
    packed = pack(sequences)
    with torch.no_grad():
        together = hidden_states(model, packed)
        for index, start in zip(packed.order, packed.starts, strict=True):
            alone = hidden_states(model, pack([sequences[index]]))
            torch.testing.assert_close(together[start : start + len(alone)], alone)


def test_packed_sequences_agree_with_padding_and_a_mask() -> None:
    model, sequences = tiny_model(), [[5, 6, 7, 8], [9, 10]]
    packed = pack(sequences)
    with torch.no_grad():
        ours = hidden_states(model, packed)
        model.set_attn_implementation("sdpa")
        ids, mask = torch.tensor([[5, 6, 7, 8], [9, 10, 0, 0]]), torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
        padded = model.model(input_ids=ids, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(ours, torch.cat([padded[1, :2], padded[0]]))


def test_nothing_is_padded() -> None:
    data = lessons(20)
    assert make_batch(data).tokens == sum(map(len, data))


def test_exactly_the_completion_tokens_are_learnt_each_from_the_token_before() -> None:
    for lesson in lessons(5):
        batch = make_batch([lesson, *lessons(3, seed=7)])
        before = batch.lessons[: batch.lessons.index(lesson)]
        first = sum(len(other.completion) for other in before)
        span = slice(first, first + len(lesson.completion))
        assert batch.labels_R[span].tolist() == list(lesson.completion)
        assert batch.packed.ids_N[batch.rows_R[span]].tolist() == [lesson.prompt[-1], *lesson.completion[:-1]]


def test_a_token_without_weight_gets_no_row() -> None:
    batch = make_batch([Lesson((5, 6), (7, 8, 9, 1), "teacher", ce=(1, 0, 0, 1), kl=(0, 0, 2, 0))], scale=0.5)
    assert batch.labels_R.tolist() == [7, 9, 1]
    assert batch.places == ((0, 2, 3),)
    assert batch.ce_R.tolist() == [0.5, 0, 0.5]
    assert batch.kl_R.tolist() == [0, 1, 0]
    assert batch.pg_R.tolist() == [0, 0, 0]


def test_cross_entropy_on_the_students_own_text_is_refused() -> None:
    with pytest.raises(BadInput, match="cross-entropy|entropie"):
        Lesson((1, 2), (3, 4), "student", ce=(1.0, 1.0))


def test_an_empty_prompt_or_completion_is_refused() -> None:
    with pytest.raises(BadInput):
        Lesson((), (3,), "teacher")
    with pytest.raises(BadInput):
        Lesson((3,), (), "teacher")


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=40),
    seed=st.integers(0, 5),
    batch_tokens=st.integers(30, 90),
)
def test_an_epoch_visits_each_sequence_once_in_steps_that_are_never_empty(
    lengths: list[int], seed: int, batch_tokens: int
) -> None:
    order = Order(lengths, seed=seed, epochs=1, batch_tokens=batch_tokens)
    steps = [order.at(step) for step in range(order.steps)]
    assert sorted(index for step in steps for index in step) == list(range(len(lengths)))
    assert all(steps)
    assert sum(lengths) / order.steps <= batch_tokens + max(lengths)


def test_any_step_can_be_planned_without_those_before_it() -> None:
    lengths = [len(lesson) for lesson in lessons(30)]
    forwards, alone = (Order(lengths, seed=3, epochs=4, batch_tokens=60) for _ in range(2))
    planned = [forwards.at(step) for step in range(forwards.steps)]
    assert alone.at(forwards.steps - 2) == planned[-2]
    assert alone.at(1) == planned[1]


def test_seed_and_epoch_change_the_order() -> None:
    lengths = [8] * 40
    one = Order(lengths, seed=1, epochs=2, batch_tokens=64)
    assert one.at(0) != Order(lengths, seed=2, epochs=2, batch_tokens=64).at(0)
    assert one.at(0) != one.at(one.steps_per_epoch)


def test_a_sequence_longer_than_a_step_is_refused_by_its_length() -> None:
    with pytest.raises(BadInput, match="70"):
        Order([5, 70], seed=1, epochs=1, batch_tokens=64)


def test_splitting_keeps_every_lesson_and_bounds_the_parts() -> None:
    data = lessons(40)
    parts = split(data, 100)
    assert sorted(lesson.name for part in parts for lesson in part) == sorted(lesson.name for lesson in data)
    assert max(sum(map(len, part)) for part in parts) <= 100 + max(map(len, data))
