"""Tool calls that must be made."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.serve.conftest import Open

from cornue.serve.tools import as_schema, call_of, in_words
from pretend.engine import FakeEngine

pytestmark = pytest.mark.anyio
SCHEMA = {"type": "object", "properties": {"place": {"type": "string"}}}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}
CALL = '{"name": "weather", "arguments": {"place": "Vannes"}}'


def ask(**fields: Any) -> dict[str, Any]:
    body = {"model": "student", "messages": [{"role": "user", "content": "Weather?"}], "tools": [TOOL]}
    return body | {"tool_choice": "required"} | fields


def deaf(client: Any, learnt: bool = False) -> Any:
    """The service's engine, made one that does not heed ``tool_choice``."""
    client.desk.upstream.makes_calls = False
    client.desk.upstream.takes_tools = learnt
    return client


async def test_an_engine_that_does_not_heed_is_held_to_the_form(service: Open) -> None:
    engine = FakeEngine(speak=lambda messages: CALL)
    async with service(engine) as client:
        answer = await deaf(client).post("/v1/chat/completions", json=ask())
    choice = answer.json()["choices"][0]
    function = choice["message"]["tool_calls"][0]["function"]
    assert (function["name"], json.loads(function["arguments"])) == ("weather", {"place": "Vannes"})
    assert choice["finish_reason"] == "tool_calls"
    assert "tools" not in engine.asked[0] and engine.asked[0]["response_format"]["type"] == "json_schema"


async def test_a_stream_holds_the_call_back_until_it_is_whole(service: Open) -> None:
    engine = FakeEngine(speak=lambda messages: CALL)
    async with service(engine) as client:
        answer = await deaf(client).post("/v1/chat/completions", json=ask(stream=True))
    lines = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
    deltas = [line["choices"][0]["delta"] for line in lines]
    assert not any(delta.get("content") for delta in deltas)
    calls = [call for delta in deltas for call in delta.get("tool_calls", ())]
    assert [call["function"]["name"] for call in calls] == ["weather"]


async def test_a_call_that_was_cut_off_comes_as_text(service: Open) -> None:
    engine = FakeEngine(speak=lambda messages: CALL[:30])
    async with service(engine) as client:
        answer = await deaf(client).post("/v1/chat/completions", json=ask())
    assert answer.json()["choices"][0]["message"]["content"] == CALL[:30]


async def test_a_model_that_has_not_learnt_tools_refuses_the_choice_by_name(service: Open) -> None:
    async with service(FakeEngine()) as client:
        answer = await deaf(client).post("/v1/chat/completions", json=ask(tool_choice="auto"))
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "tools")


async def test_a_model_that_has_learnt_tools_is_asked_with_them(service: Open) -> None:
    engine = FakeEngine()
    async with service(engine) as client:
        await deaf(client, learnt=True).post("/v1/chat/completions", json=ask(tool_choice="auto"))
    assert engine.asked[0]["tools"][0]["function"]["name"] == "weather"


async def test_a_choice_that_is_none_of_the_tools_is_refused(service: Open) -> None:
    choice = {"type": "function", "function": {"name": "time"}}
    async with service(FakeEngine()) as client:
        answer = await client.post("/v1/chat/completions", json=ask(tool_choice=choice))
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "tool_choice")


def test_a_named_function_is_the_only_one_described() -> None:
    other = {"type": "function", "function": {"name": "time"}}
    choice = {"type": "function", "function": {"name": "weather"}}
    body = as_schema(ask(tools=[TOOL, other], tool_choice=choice))
    schema = body["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["name"] == {"const": "weather"}
    assert "weather" in body["messages"][0]["content"] and "time" not in body["messages"][0]["content"]


def test_an_earlier_call_is_put_in_words() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    plain = in_words([{"role": "assistant", "content": None, "tool_calls": [call]}])
    assert plain[0]["content"] == '{"name": "weather", "arguments": "{}"}' and "tool_calls" not in plain[0]


def test_what_is_no_call_is_none() -> None:
    assert [call_of(text, "r_1") for text in ("[]", "3", '{"name": 1}', '{"na')] == [None] * 4
