"""The OpenAI-compatible API, with receipts, usage, health and metrics beside it.

It reads requests and writes responses; what happens between is the desk's. An answer that waits says so in comments of
its stream, which OpenAI's clients skip.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing, suppress
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from cornue.records.errors import OutsideFailure
from cornue.serve.desk import Chunk, Desk, End, Job, Waiting
from cornue.serve.door import Door, read_body
from cornue.serve.errors import Refusal
from cornue.serve.late import LateRegister
from cornue.serve.lookup import Lookup
from cornue.serve.openapi import describe
from cornue.serve.orders import read_order

JOULES_PER_KWH = 3.6e6


class Api:
    """The routes under ``/v1``, and ``/health``, ``/metrics``, ``/openapi.json``."""

    def __init__(self, desk: Desk, door: Door) -> None:
        self.desk, self.door = desk, door
        self.offer, self.settings = desk.offer, desk.settings
        self.born = int(time.time())

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            Route("/v1/models", self.models),
            Route("/v1/models/{model:path}", self.model),
            Route("/v1/chat/completions", self.chat, methods=["POST"]),
            Route("/v1/completions", self.text, methods=["POST"]),
            Route("/v1/receipts", self.export),
            Route("/v1/receipts/{id}", self.receipt),
            Route("/v1/usage", self.usage),
            Route("/openapi.json", self.openapi),
            Route("/health", self.health),
            Route("/metrics", self.metrics),
        ]

    async def models(self, request: Request) -> Response:
        """``GET /v1/models``."""
        self.door.who(request)
        return JSONResponse({"object": "list", "data": [self._model()]})

    async def model(self, request: Request) -> Response:
        """``GET /v1/models/NAME``."""
        self.door.who(request)
        if request.path_params["model"] != self.offer.name:
            raise Refusal(404, f"The only model here is “{self.offer.name}”.", "model_not_found", "model")
        return JSONResponse(self._model())

    async def chat(self, request: Request) -> Response:
        """``POST /v1/chat/completions``."""
        return await self._complete(request, chat=True)

    async def text(self, request: Request) -> Response:
        """``POST /v1/completions``."""
        return await self._complete(request, chat=False)

    async def receipt(self, request: Request) -> Response:
        """``GET /v1/receipts/ID``: one's own receipts; auditors and administrators see all."""
        caller = self.door.who(request)
        owner = None if caller.role in ("auditor", "admin") else caller.owner
        found = self.desk.receipts.find(request.path_params["id"], owner)
        if found is None:
            raise Refusal(404, "There is no such receipt, or it is not yours.", "receipt_not_found")
        return JSONResponse(found)

    async def export(self, request: Request) -> Response:
        """``GET /v1/receipts``: all receipts and signatures as JSON lines, for auditors."""
        self.door.needs(request, "auditor", "admin")
        lines = self.desk.receipts.export()
        return StreamingResponse(_with_ends(lines), media_type="application/jsonl")

    async def usage(self, request: Request) -> Response:
        """``GET /v1/usage``: what one's own key has used, by day."""
        caller = self.door.who(request)
        names = ("day", "requests", "prompt_tokens", "completion_tokens", "joules", "euros")
        sql = f"SELECT {', '.join(names)} FROM usage WHERE key_id = ? ORDER BY day DESC LIMIT 400"
        rows = self.desk.receipts.store.rows(sql, caller.key_id) if caller.key_id else []
        return JSONResponse({"object": "list", "data": [dict(zip(names, row, strict=True)) for row in rows]})

    async def openapi(self, request: Request) -> Response:
        """``GET /openapi.json``."""
        return JSONResponse(describe(self.offer))

    async def health(self, request: Request) -> Response:
        """``GET /health``: 200 only if a question asked now would be answered."""
        state: str = "stalled" if self.desk.stalled() else self.desk.upstream.state
        if isinstance(self.offer.table, LateRegister) and self.offer.table.problem:
            state = "register unavailable"
        try:
            self.desk.receipts.store.rows("SELECT 1")
        except OutsideFailure:
            state = "record unavailable"
        body: dict[str, Any] = {"status": "ok" if state == "ready" else "unavailable", "engine": state}
        body |= {"waiting": len(self.desk.queue), "running": len(self.desk.queue.running)}
        return JSONResponse(body, 200 if state == "ready" else 503, None if state == "ready" else {"Retry-After": "2"})

    async def metrics(self, request: Request) -> Response:
        """``GET /metrics`` in Prometheus's text form; sums only, nothing about a key."""
        if not self.settings.open_to_all:
            self.door.needs(request, "auditor", "admin")
        meter, queue = self.desk.meter, self.desk.queue
        meter.tick()
        lines = [f'cornue_requests_total{{state="{state}"}} {n}' for state, n in self.desk.counts.items()]
        lines += [f'cornue_joules_total{{part="{part}"}} {n}' for part, n in meter.totals().items()]
        lines += [f"cornue_waiting {len(queue)}", f"cornue_running {len(queue.running)}"]
        lines += [f"cornue_answer_seconds {queue.mean:.3f}", f"cornue_ready {int(self.desk.upstream.state == 'ready')}"]
        return PlainTextResponse("\n".join(lines) + "\n", media_type="text/plain; version=0.0.4")

    def _model(self) -> dict[str, Any]:
        return {"id": self.offer.name, "object": "model", "created": self.born, "owned_by": "cornue"}

    async def _complete(self, request: Request, chat: bool) -> Response:
        caller = self.door.who(request)
        data = await read_body(request, self.settings)
        limit = self.settings
        order = read_order(data, chat, self.offer.name, limit.max_tokens, limit.context)
        job = self.desk.admit(caller, order)
        headers = {"X-Receipt": job.id}
        if order.stream:
            return EventResponse(lambda: stream_events(self.desk, job), headers)
        return WorkResponse(lambda: self._whole(job, headers))

    async def _whole(self, job: Job, headers: dict[str, str]) -> Response:
        body: dict[str, Any] = {}
        try:
            async with aclosing(self.desk.answer(job)) as pieces:
                async for piece in pieces:
                    if isinstance(piece, Chunk):
                        body = piece.body
                    elif isinstance(piece, End):
                        finish_whole(body, piece, job, self.offer.language == "fr")
        except Refusal as refusal:
            response = refusal.response()
            response.headers.update(headers)
            return response
        return JSONResponse(body, headers=headers)


def finish_whole(body: dict[str, Any], end: End, job: Job, french: bool) -> None:
    """Adds a second answer, register, usage and receipt to a whole answer."""
    choice = body["choices"][0]
    if end.doubt is not None and "message" in choice:
        choice["message"]["content"] = (choice["message"].get("content") or "") + _again(end, french)
    if end.lookup is not None:
        message = choice["message"]
        extra = register_delta(end.lookup, job, french)
        extra["content"] = (message.get("content") or "") + extra.get("content", "")
        message.update(extra)
        if "tool_calls" in extra:
            choice["finish_reason"] = "tool_calls"
    body["usage"] = usage_of(end.receipt)
    body["receipt"] = receipt_in_short(end.receipt)


async def stream_events(desk: Desk, job: Job) -> AsyncGenerator[str, None]:
    """The answer as server-sent events in OpenAI's form."""
    last: dict[str, Any] = {}
    async with aclosing(desk.answer(job)) as pieces:
        async for piece in pieces:
            if isinstance(piece, Waiting):
                yield f": position {piece.position}, about {piece.seconds:.0f} s\n\n"
            elif isinstance(piece, Chunk):
                last = piece.body
                # What ends the answer is held back until register and receipt can stand before it.
                if not last["choices"][0].get("finish_reason"):
                    yield _event(last)
            else:
                for body in _ending(last, piece, job, desk.offer.language == "fr"):
                    yield _event(body)
                yield "data: [DONE]\n\n"


def _ending(last: dict[str, Any], end: End, job: Job, french: bool) -> Iterator[dict[str, Any]]:
    choice = last["choices"][0]
    if end.doubt is not None and "delta" in choice:
        yield last | {"choices": [choice | {"delta": {"content": _again(end, french)}, "finish_reason": None}]}
    if end.lookup is not None and "delta" in choice:
        delta = register_delta(end.lookup, job, french)
        yield last | {"choices": [choice | {"delta": delta, "finish_reason": None}]}
        if "tool_calls" in delta:
            choice["finish_reason"] = "tool_calls"
    yield last | {"receipt": receipt_in_short(end.receipt)}
    if job.order.include_usage:
        yield last | {"choices": [], "usage": usage_of(end.receipt)}


def _again(end: End, french: bool) -> str:
    """What follows an answer that did not stand: why, and the one that does. What was read is not taken back."""
    return f"\n\n{end.doubt.told(french)}\n\n{end.text}" if end.doubt else ""


def register_delta(lookup: Lookup, job: Job, french: bool) -> dict[str, Any]:
    """What a lookup adds to a message, in the way that was asked for."""
    mode = job.order.register
    if mode == "tool":
        call = f"call_{job.id[2:]}"
        function = {"name": "register", "arguments": json.dumps({"query": lookup.query}, ensure_ascii=False)}
        result = {"role": "tool", "tool_call_id": call, "content": json.dumps(lookup.body(), ensure_ascii=False)}
        calls = [{"index": 0, "id": call, "type": "function", "function": function}]
        return {"tool_calls": calls, "tool_results": [result]}
    delta: dict[str, Any] = {"register": lookup.body()}
    if mode == "text":
        delta["content"] = "\n\n" + lookup.markdown(french)
    return delta


def usage_of(receipt: dict[str, Any]) -> dict[str, Any]:
    """OpenAI's usage, with energy and money; ``impacts.kgCO2eq`` is where La Suite's assistant looks for it."""
    tokens, joules = receipt["tokens"], receipt["energy"]["value"]
    usage = {"prompt_tokens": tokens["prompt"], "completion_tokens": tokens["completion"]}
    usage["total_tokens"] = tokens["prompt"] + tokens["completion"]
    impacts = {"kWh": joules / JOULES_PER_KWH, "kgCO2eq": receipt["emissions"]["value"] / 1000}
    return usage | {"cost": receipt["money"]["value"], "impacts": impacts, "receipt": receipt_in_short(receipt)}


def receipt_in_short(receipt: dict[str, Any]) -> dict[str, Any]:
    """What an answer says of its receipt; the whole of it is at ``url``."""
    energy = receipt["energy"]
    return {
        "id": receipt["id"],
        "url": f"/v1/receipts/{receipt['id']}",
        "joules": energy["value"],
        "how": energy["how"],
        "euros": receipt["money"]["value"],
    }


def _event(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body, ensure_ascii=False, separators=(',', ':'))}\n\n"


async def _with_ends(lines: Iterator[str]) -> AsyncGenerator[str, None]:
    for number, line in enumerate(lines):
        yield line + "\n"
        if number % 100 == 0:
            await asyncio.sleep(0)


class WorkResponse(Response):
    """A response that is worked for while somebody listens; when they leave, the work stops."""

    def __init__(self, work: Callable[[], Awaitable[Response]]) -> None:
        self.work = work
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Works and sends."""

        async def both() -> None:
            response = await self.work()
            await response(scope, receive, send)

        await until_gone(receive, both())


class EventResponse(Response):
    """Server-sent events; a refusal before the first one keeps its own status."""

    def __init__(self, events: Callable[[], AsyncGenerator[str, None]], headers: dict[str, str]) -> None:
        self.events, self.extra = events, headers
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends until the end, or until nobody listens."""
        await until_gone(receive, self._send(scope, receive, send))

    async def _send(self, scope: Scope, receive: Receive, send: Send) -> None:
        events = self.events()
        begun = False
        headers = {"content-type": "text/event-stream; charset=utf-8", "x-accel-buffering": "no"} | self.extra
        start = {"type": "http.response.start", "status": 200}
        start["headers"] = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        async with aclosing(events):
            try:
                async for event in events:
                    if not begun:
                        await send(start)
                        begun = True
                    await send({"type": "http.response.body", "body": event.encode(), "more_body": True})
            except Refusal as refusal:
                if not begun:
                    response = refusal.response()
                    response.headers.update(self.extra)
                    await response(scope, receive, send)
                    return
                await send({"type": "http.response.body", "body": _event(refusal.body()).encode(), "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def until_gone(receive: Receive, work: Awaitable[None]) -> None:
    """Does some work, and stops it when the client disconnects."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnect(receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        gone.cancel()
        finished = task.done()
        if not finished:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
