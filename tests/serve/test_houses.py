"""What other houses' front ends send, word for word, and what they look for in the answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cornue.serve.keys import Keys
from cornue.serve.settings import Offer
from cornue.sources.register import Register
from pretend.engine import FakeEngine

from .conftest import Open

pytestmark = pytest.mark.anyio
CHAT = "/v1/chat/completions"
OPEN_WEBUI: dict[str, Any] = {
    "stream": True,
    "model": "student",
    "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello"}],
    "stream_options": {"include_usage": True},
}
CONVERSATIONS: dict[str, Any] = {
    "model": "student",
    "messages": [
        {"role": "system", "content": "Answer in French."},
        {"role": "system", "content": "Today is Monday."},
        {"role": "user", "content": [{"type": "text", "text": "hello"}]},
    ],
    "stream": True,
    "stream_options": {"include_usage": True},
    "temperature": 0.5,
    "parallel_tool_calls": True,
}


async def last_chunk(client: Any, body: dict[str, Any], key: str = "") -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    answer = await client.post(CHAT, json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    chunk: dict[str, Any] = json.loads(answer.text.split("data: ")[-2])
    return chunk


async def test_open_webui_connects_with_a_key_and_reads_the_usage(service: Open) -> None:
    async with service(FakeEngine(), open_to_all=False) as client:
        key = Keys(client.desk.receipts.store).create("web")[1]
        models = await client.get("/v1/models", headers={"Authorization": f"Bearer {key}"})
        assert [model["id"] for model in models.json()["data"]] == ["student"]
        assert (await client.get("/v1/models")).status_code == 401
        assert (await last_chunk(client, OPEN_WEBUI, key))["usage"]["total_tokens"] > 0


async def test_open_webui_asks_for_a_title_in_one_piece(service: Open) -> None:
    body = OPEN_WEBUI | {"stream": False, "max_completion_tokens": 50}
    del body["stream_options"]
    async with service(FakeEngine()) as client:
        answer = (await client.post(CHAT, json=body)).json()
    assert answer["object"] == "chat.completion" and answer["choices"][0]["message"]["content"]


async def test_conversations_finds_its_carbon_in_the_last_chunk_only(service: Open) -> None:
    async with service(FakeEngine()) as client:
        text = (await client.post(CHAT, json=CONVERSATIONS)).text
        chunk = await last_chunk(client, CONVERSATIONS)
    assert text.count("kgCO2eq") == 1
    assert chunk["choices"] == [] and isinstance(chunk["usage"]["impacts"]["kgCO2eq"], float)


async def test_conversations_understands_why_it_must_wait(service: Open) -> None:
    async with service(FakeEngine(), requests_per_minute=1) as client:
        key = Keys(client.desk.receipts.store).create("portal")[1]
        await last_chunk(client, CONVERSATIONS, key)
        refused = await client.post(CHAT, json=CONVERSATIONS, headers={"Authorization": f"Bearer {key}"})
    assert (refused.status_code, int(refused.headers["retry-after"]) > 0) == (429, True)


async def test_a_front_end_that_shows_text_only_shows_the_rows(service: Open, register: Register) -> None:
    engine = FakeEngine(speak=lambda messages: "```sql\nSELECT nom FROM communes WHERE population > 60000\n```")
    async with service(engine, Offer("student", table=register)) as client:
        text = (await client.post(CHAT, json=OPEN_WEBUI)).text
    assert "Quimper" in text
