"""The API over the pretend engine: OpenAI's forms, receipts, the register, and what happens when something breaks."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from cornue.seal.keys import read_public_key
from cornue.serve.receipts import check_export
from cornue.serve.settings import Offer
from cornue.sources.register import Register
from cornue.verify.doubts import TRIES
from cornue.verify.sql import REFUSAL
from pretend.engine import FakeEngine

from .conftest import Open

pytestmark = pytest.mark.anyio
ASK: dict[str, Any] = {"model": "student", "messages": [{"role": "user", "content": "hello"}]}
CHAT = "/v1/chat/completions"
QUERY = "Counting.\n```sql\nSELECT nom FROM communes WHERE departement = 'Morbihan' ORDER BY nom\n```"
WRONG = "```sql\nSELECT nom FROM communes WHERE departement = 'Nulle-Part'\n```"


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]


async def test_an_answer_has_text_usage_and_a_receipt(service: Open) -> None:
    async with service(FakeEngine(think="hm")) as client:
        body = (await client.post(CHAT, json=ASK)).json()
        message = body["choices"][0]["message"]
        assert (message["content"], message["reasoning_content"]) == ("You said: hello", "hm")
        assert body["model"] == "student"
        assert body["usage"]["completion_tokens"] == 3
        assert body["usage"]["impacts"]["kgCO2eq"] >= 0
        found = (await client.get(body["receipt"]["url"])).json()
        assert found["receipt"]["state"] == "completed"
        assert found["receipt"]["energy"]["how"] in ("measured", "estimated")
        assert "hello" not in json.dumps(found)


async def test_a_stream_ends_with_finish_usage_and_done(service: Open) -> None:
    async with service(FakeEngine()) as client:
        answer = await client.post(CHAT, json=ASK | {"stream": True, "stream_options": {"include_usage": True}})
        chunks = events(answer.text)
        text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks[:-1])
        assert text == "You said: hello"
        assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
        assert (chunks[-1]["choices"], chunks[-1]["usage"]["total_tokens"]) == ([], 7)
        assert answer.text.rstrip().endswith("data: [DONE]")
        assert "usage" not in (await client.post(CHAT, json=ASK | {"stream": True})).text


async def test_plain_completions_are_served(service: Open) -> None:
    async with service(FakeEngine()) as client:
        for stream in (False, True):
            answer = await client.post("/v1/completions", json={"model": "student", "prompt": "a b", "stream": stream})
            assert answer.status_code == 200
            assert "said" in answer.text


async def test_models_are_listed(service: Open) -> None:
    async with service(FakeEngine()) as client:
        assert (await client.get("/v1/models")).json()["data"][0]["id"] == "student"
        assert (await client.get("/v1/models/student")).json()["id"] == "student"
        assert (await client.get("/v1/models/other")).status_code == 404


async def test_nothing_tells_of_the_engine_or_of_other_peoples_cache(service: Open) -> None:
    async with service(FakeEngine()) as client:
        for stream in (False, True):
            fields = {"stream": stream} | ({"stream_options": {"include_usage": True}} if stream else {})
            text = (await client.post(CHAT, json=ASK | fields)).text
            assert "cache" not in text and "timings" not in text and "fake" not in text


async def test_each_key_has_its_own_cache_salt(service: Open) -> None:
    engine = FakeEngine()
    async with service(engine, open_to_all=False) as client:
        keys = [client.desk.receipts and text for text in await make_keys(client, 2)]  # type: ignore[attr-defined]
        for key in (keys[0], keys[0], keys[1]):
            await client.post(CHAT, json=ASK, headers={"Authorization": f"Bearer {key}"})
        salts = [body["cache_salt"] for body in engine.asked]
        assert salts[0] == salts[1] != salts[2]


async def make_keys(client: httpx.AsyncClient, count: int) -> list[str]:
    from cornue.serve.keys import Keys

    keys = Keys(client.desk.receipts.store)  # type: ignore[attr-defined]
    return [keys.create(f"key {number}")[1] for number in range(count)]


@pytest.mark.parametrize(
    ("mode", "text_has", "field"), [("text", "| Vannes |", True), ("field", "SELECT", True), ("off", "SELECT", False)]
)
async def test_rows_come_as_asked(service: Open, register: Register, mode: str, text_has: str, field: bool) -> None:
    offer = Offer("student", table=register)
    async with service(FakeEngine(speak=lambda _: QUERY), offer) as client:
        message = (await client.post(CHAT, json=ASK | {"register": mode})).json()["choices"][0]["message"]
        assert text_has in message["content"]
        assert ("register" in message) is field
        if field:
            assert message["register"]["rows"] == [["Auray"], ["Vannes"]]
            assert message["register"]["digest"] == register.digest


async def test_rows_come_as_a_tool_result(service: Open, register: Register) -> None:
    async with service(FakeEngine(speak=lambda _: QUERY), Offer("student", table=register)) as client:
        for stream in (False, True):
            answer = await client.post(CHAT, json=ASK | {"register": "tool", "stream": stream})
            choices = [body["choices"][0] for body in (events(answer.text) if stream else [answer.json()])]
            said = [choice.get("delta") or choice.get("message") or {} for choice in choices]
            called = next(part for part in said if "tool_calls" in part)
            assert json.loads(called["tool_calls"][0]["function"]["arguments"])["query"].startswith("SELECT nom")
            assert json.loads(called["tool_results"][0]["content"])["rows"] == [["Auray"], ["Vannes"]]
            assert choices[-1]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("query", ["DROP TABLE communes", "SELECT * FROM nowhere", "SELECT 1; SELECT 2"])
async def test_a_query_that_may_not_or_cannot_run_is_told(service: Open, register: Register, query: str) -> None:
    engine = FakeEngine(speak=lambda _: f"```sql\n{query}\n```")
    async with service(engine, Offer("student", table=register)) as client:
        message = (await client.post(CHAT, json=ASK)).json()["choices"][0]["message"]
        assert "la requête échouait" in message["content"]
        assert message["content"].endswith(REFUSAL)
        assert "register" not in message
        assert len(engine.asked) == 1 + TRIES
        assert len(register.query("SELECT * FROM communes").rows) == 3


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_the_register_contradicts_is_asked_for_again(
    service: Open, register: Register, stream: bool
) -> None:
    engine = FakeEngine()
    engine.speak = lambda _: WRONG if len(engine.asked) < 3 else QUERY
    async with service(engine, Offer("student", table=register)) as client:
        answer = await client.post(CHAT, json=ASK | {"stream": stream, "register": "field"})
    parts = [body["choices"][0] for body in (events(answer.text) if stream else [answer.json()])]
    said = [part.get("delta") or part.get("message") or {} for part in parts]
    text = "".join(part.get("content") or "" for part in said)
    assert text.startswith(WRONG)
    assert text.endswith(QUERY)
    assert "Nulle-Part" in text.removeprefix(WRONG)
    assert [part["register"]["rows"] for part in said if "register" in part] == [[["Auray"], ["Vannes"]]]
    assert [(body["temperature"], body["seed"]) for body in engine.asked[1:]] == [(0.7, 1), (0.7, 2)]


async def test_all_tries_are_on_the_one_receipt(service: Open, register: Register) -> None:
    engine = FakeEngine(speak=lambda _: WRONG)
    async with service(engine, Offer("student", table=register)) as client:
        once = (await client.post(CHAT, json=ASK | {"register": "off"})).json()["usage"]
        often = (await client.post(CHAT, json=ASK)).json()["usage"]
    for name in ("prompt_tokens", "completion_tokens"):
        assert often[name] == (1 + TRIES) * once[name]


async def test_an_engine_that_breaks_off_says_so_and_has_a_receipt(service: Open) -> None:
    async with service(FakeEngine(cut_after=1)) as client:
        answer = await client.post(CHAT, json=ASK | {"stream": True})
        assert events(answer.text)[-1]["error"]["code"] == "engine_lost"
        found = (await client.get(f"/v1/receipts/{answer.headers['x-receipt']}")).json()
        assert found["receipt"]["state"] == "failed"


async def test_what_the_engine_refuses_is_the_askers_error(service: Open) -> None:
    refusal = {"error": {"message": "too long", "type": "exceed_context_size_error", "code": 400}}
    async with service(FakeEngine(refuse=(400, refusal))) as client:
        for stream in (False, True):
            answer = await client.post(CHAT, json=ASK | {"stream": stream})
            assert answer.status_code == 400
            assert answer.json()["error"]["code"] == "exceed_context_size_error"
            assert "X-Receipt" in answer.headers


async def test_leaving_stops_the_work_and_leaves_an_interrupted_receipt(service: Open) -> None:
    engine = FakeEngine(pause=0.05, speak=lambda _: "word " * 100)
    async with service(engine) as client:
        for stream in (True, False):
            with pytest.raises((TimeoutError, asyncio.TimeoutError)):
                await asyncio.wait_for(client.post(CHAT, json=ASK | {"stream": stream}), 0.3)
        await asyncio.sleep(0.2)
        assert client.desk.counts["interrupted"] == 2  # type: ignore[attr-defined]
        assert not client.desk.jobs and not client.desk.queue.running  # type: ignore[attr-defined]
        assert engine.running == 0


async def test_every_admitted_request_has_one_receipt_under_overload(service: Open) -> None:
    engine = FakeEngine(pause=0.002)
    async with service(engine, slots=2, waiting=4, waiting_per_key=100) as client:
        answers = await asyncio.gather(*(client.post(CHAT, json=ASK) for _ in range(30)))
        admitted = [answer for answer in answers if answer.status_code == 200]
        refused = [answer for answer in answers if answer.status_code != 200]
        assert len(admitted) >= 6 and refused
        assert all(answer.status_code in (429, 503) and int(answer.headers["Retry-After"]) > 0 for answer in refused)
        assert engine.most_running <= 2
        receipts = client.desk.receipts  # type: ignore[attr-defined]
        receipts.seal()
        lines = list(receipts.export())
        names = {json.loads(line)["receipt"]["id"] for line in lines if "receipt" in json.loads(line)}
        assert names == {answer.headers["x-receipt"] for answer in admitted}
        assert check_export(lines, receipts.key.public) == []


async def test_receipts_and_idling_add_up_to_the_meter(service: Open) -> None:
    async with service(FakeEngine()) as client:
        answers = await asyncio.gather(*(client.post(CHAT, json=ASK) for _ in range(5)))
        totals = client.desk.meter.totals()  # type: ignore[attr-defined]
        receipts = sum(answer.json()["receipt"]["joules"] for answer in answers)
        assert receipts + totals["idle"] == pytest.approx(totals["total"], abs=0.01)


async def test_only_auditors_export_and_only_owners_read(service: Open, tmp_path: Any) -> None:
    from cornue.serve.keys import Keys

    async with service(FakeEngine(), open_to_all=False) as client:
        keys = Keys(client.desk.receipts.store)  # type: ignore[attr-defined]
        one, other, auditor = (keys.create("k", role)[1] for role in ("user", "user", "auditor"))
        heads = [{"Authorization": f"Bearer {key}"} for key in (one, other, auditor)]
        url = (await client.post(CHAT, json=ASK, headers=heads[0])).json()["receipt"]["url"]
        assert [(await client.get(url, headers=head)).status_code for head in heads] == [200, 404, 200]
        assert (await client.get("/v1/receipts", headers=heads[0])).status_code == 403
        client.desk.receipts.seal()  # type: ignore[attr-defined]
        export = (await client.get("/v1/receipts", headers=heads[2])).text
        assert check_export(export.splitlines(), read_public_key(tmp_path / "data" / "serving.pub.pem")) == []
        usage = (await client.get("/v1/usage", headers=heads[0])).json()["data"]
        assert (usage[0]["requests"], usage[0]["completion_tokens"]) == (1, 3)


async def test_health_tells_the_truth(service: Open) -> None:
    async with service(FakeEngine()) as client:
        assert (await client.get("/health")).status_code == 200
        client.desk.upstream.state = "down"  # type: ignore[attr-defined]
        sick = await client.get("/health")
        assert (sick.status_code, sick.headers["Retry-After"]) == (503, "2")
        assert (await client.post(CHAT, json=ASK)).status_code == 503


async def test_the_description_names_every_field(service: Open) -> None:
    async with service(FakeEngine()) as client:
        document = (await client.get("/openapi.json")).json()
        chat = document["components"]["schemas"]["ChatOrder"]
        assert {"messages", "stream", "tools", "response_format", "seed", "register"} <= set(chat["properties"])
        assert chat["additionalProperties"] is False
