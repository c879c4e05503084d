"""What may be asked: refused by name, never with a crash."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cornue.serve.errors import Refusal
from cornue.serve.orders import Order, order_from, read_order

HELLO = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}


def order(chat: bool = True, **fields: Any) -> Order:
    return order_from(HELLO | fields if chat else {"model": "m", "prompt": "x"} | fields, chat, "m", 100, 500)


@pytest.mark.parametrize(
    "field",
    ["id_slot", "cache_prompt", "n_discard", "lora", "cache_salt", "slot_id", "n_cache_reuse", "timings_per_token"]
    + ["logit_bias", "grammar", "functions", "modalities", "unheard_of"],
)
def test_fields_that_are_not_honoured_are_refused_by_name(field: str) -> None:
    with pytest.raises(Refusal) as caught:
        order(**{field: 1})
    assert (caught.value.status, caught.value.param) == (400, field)


@pytest.mark.parametrize(
    "fields",
    [{"temperature": 3}, {"n": 2}, {"seed": -1}, {"top_logprobs": 21}, {"messages": []}, {"max_tokens": 0}]
    + [{"messages": [{"role": "user"}]}, {"messages": [{"role": "tool", "content": "x"}]}, {"tools": [{"type": "x"}]}]
    + [{"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, {"temperature": "1"}],
)
def test_values_that_cannot_be_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(Refusal) as caught:
        order(**fields)
    assert caught.value.status == 400


def test_the_answer_is_never_longer_than_allowed() -> None:
    assert order().body["max_tokens"] == 100
    assert order(max_tokens=10).body["max_tokens"] == 10
    assert order(max_completion_tokens=10**9).body["max_tokens"] == 100


def test_what_only_concerns_us_does_not_reach_the_engine() -> None:
    body = order(user="Marie Durand", metadata={"a": "b"}, store=False, replay=True, register="tool").body
    assert set(body) == {"messages", "max_tokens", "temperature"}


def test_what_the_engine_honours_reaches_it() -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    fields = {"temperature": 0.5, "top_p": 0.9, "seed": 3, "stop": ["a"], "logprobs": True, "top_logprobs": 2}
    body = order(**fields, response_format=schema).body
    assert {name: body[name] for name in fields} == fields
    assert body["response_format"]["json_schema"]["schema"] == {"type": "object"}


def test_another_model_is_named() -> None:
    with pytest.raises(Refusal) as caught:
        order(model="gpt-4")
    assert caught.value.status == 404


def test_replay_is_greedy() -> None:
    assert order(replay=True).body["temperature"] == 0
    with pytest.raises(Refusal):
        order(replay=True, temperature=0.7)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(
    ["messages", "stream", "stop", "tools", "tool_choice", "response_format", "n", "seed", "register"]
)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(NAMES, JSON, max_size=4), st.booleans())
def test_no_body_makes_it_stumble(fields: dict[str, Any], chat: bool) -> None:
    try:
        read_order(json.dumps(HELLO | fields).encode(), chat, "m", 100, 500)
    except Refusal as refusal:
        assert refusal.status == 400


@settings(max_examples=30)
@given(st.binary(max_size=200))
def test_no_bytes_make_it_stumble(data: bytes) -> None:
    with pytest.raises(Refusal):
        read_order(data, True, "m", 100, 500)


def test_the_question_is_what_the_person_asked_last() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    asked = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    parts = [{"type": "text", "text": "c"}, {"type": "text", "text": "d"}]
    last = {"role": "user", "content": parts}
    strange = {"role": "user", "tool_calls": [call]}
    found = [read([*asked]), read([*asked, last]), read([*asked, strange])]
    assert [order.question for order in found] == ["a", "c d", ""]


def read(messages: list[dict[str, Any]]) -> Order:
    return order_from({"model": "student", "messages": messages}, True, "student", 100, 1000)
