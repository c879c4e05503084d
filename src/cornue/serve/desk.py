"""From an admitted request to its answer and its receipt: the one path that the API and the page both take.

A job is admitted (limits, queue, intent row), waits its turn, is asked of the engine, again where the register shows
that the answer is wrong, has its query looked up, and is settled: once, however it ends. An engine that dies before the
first word is asked again when it is back. It does not read requests and does not write responses.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import httpx

from cornue.ledger.numbers import estimated
from cornue.records.digests import digest_json
from cornue.records.errors import CornueError, OutsideFailure
from cornue.serve.errors import Refusal
from cornue.serve.keys import Caller
from cornue.serve.late import LateRegister, opened
from cornue.serve.limits import Limits
from cornue.serve.lookup import Lookup, look_up
from cornue.serve.meter import SharedMeter
from cornue.serve.orders import Order
from cornue.serve.queue import FairQueue, Ticket
from cornue.serve.receipts import Receipts, State
from cornue.serve.settings import Offer, Settings, salted
from cornue.serve.tools import as_schema, call_of, in_words, may_call, must_call
from cornue.serve.upstream import EngineLost, Upstream, checked, said, until_ready
from cornue.sources.register import Register
from cornue.verify.doubts import TEMPERATURE, Doubt, Hearing

TELL_SECONDS = 1.0
BACK_SECONDS = 15.0
ATTEMPTS = 3
JOULES_PER_KWH = 3.6e6


@dataclass(frozen=True)
class Waiting:
    """Not yet: how many stand before, and how many seconds that will take."""

    position: int
    seconds: float


@dataclass(frozen=True)
class Chunk:
    """A piece of the answer, as an OpenAI chunk; a whole answer is one piece."""

    body: dict[str, Any]


@dataclass(frozen=True)
class End:
    """The answer is complete: its receipt, and what the register said."""

    receipt: dict[str, Any]
    lookup: Lookup | None
    text: str
    """What stands: the last answer, if the question was put again."""
    reasoning: str
    doubt: Doubt | None = None
    """Why another answer stands than the one that came in pieces."""


Piece = Waiting | Chunk | End


@dataclass
class Job:
    """An admitted request on its way."""

    id: str
    caller: Caller
    order: Order
    ticket: Ticket
    admitted: float
    began: float = 0.0
    first: float = 0.0
    last: float = 0.0
    text: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    pieces: int = 0
    usage: dict[str, Any] = field(default_factory=dict)
    finish: str = ""
    must_call: bool = False
    """The text is a tool call that the engine was held to."""
    receipt: dict[str, Any] | None = None

    def count(self, answer: dict[str, Any]) -> None:
        """Adds the tokens of a further answer, where the engine tells them."""
        for name, tokens in (answer.get("usage") or {}).items():
            if isinstance(tokens, int):
                self.usage[name] = self.usage.get(name, 0) + tokens

    @property
    def progress(self) -> float:
        """When something last happened."""
        return max(self.began, self.last)


class Desk:
    """Serves jobs with one engine."""

    def __init__(
        self, offer: Offer, settings: Settings, upstream: Upstream, receipts: Receipts, meter: SharedMeter, salt: bytes
    ) -> None:
        self.offer, self.settings, self.upstream, self.receipts, self.meter = offer, settings, upstream, receipts, meter
        self.salt = salt
        self.queue = FairQueue(settings.slots, settings.waiting, settings.waiting_per_key, settings.patience)
        self.limits = Limits(receipts.store, settings)
        self.jobs: dict[str, Job] = {}
        self.counts = {"completed": 0, "interrupted": 0, "failed": 0, "refused": 0}

    def admit(self, caller: Caller, order: Order) -> Job:
        """A job for a request, or the reason why not.

        Raises:
            Refusal: 429 or 503, with the time after which it is worth trying again; 400 for what the model cannot do.
        """
        try:
            if self.upstream.state == "down":
                raise Refusal(503, "The engine is down and being restarted.", "engine_down", retry_after=5)
            if may_call(order.body) and not self.upstream.takes_tools:
                sentence = "This model has not learnt when to call tools; with “tool_choice” it can be made to."
                raise Refusal(400, sentence, "tools_not_supported", "tools")
            self.limits.allow(caller, order.prompt_guess + order.ceiling)
            ticket = self.queue.enter(caller.owner, order.replay)
        except Refusal:
            self.counts["refused"] += 1
            raise
        try:
            identity = self.receipts.intend(caller.owner, self._intent(order))
        except OutsideFailure as error:
            self.queue.leave(ticket)
            raise Refusal(503, "The record cannot be written, so nothing is answered.", "record_down") from error
        job = Job(identity, caller, order, ticket, time.monotonic())
        self.limits.reserve(caller, job.id, order.prompt_guess + order.ceiling)
        self.jobs[job.id] = job
        return job

    async def answer(self, job: Job) -> AsyncGenerator[Piece, None]:
        """The answer, piece by piece. Leaving the loop early stops the engine's work on it.

        Raises:
            Refusal: the engine refuses the request (400), or it failed (503).
        """
        state: State = "interrupted"
        try:
            async for waiting in self._turn(job):
                yield waiting
            job.began = time.monotonic()
            self.meter.begin(job.id)
            async with aclosing(self._ask(job)) as chunks:
                async for chunk in chunks:
                    yield Chunk(chunk)
            doubt = await self._hear(job)
            text = "".join(job.text)
            lookup = await self._look_up(job, text)
            state = "completed"
            yield End(self.settle(job, state), lookup, text, "".join(job.reasoning), doubt)
        except Refusal:
            state = "failed"
            raise
        except EngineLost as problem:
            state = "failed"
            raise Refusal(503, "The engine stopped in the middle of this answer.", "engine_lost") from problem
        except TimeoutError as problem:
            state = "failed"
            raise Refusal(503, "This answer took too long.", "too_long", retry_after=10) from problem
        finally:
            self.settle(job, state)

    def settle(self, job: Job, state: State) -> dict[str, Any]:
        """Ends a job and writes its receipt; the second call changes nothing."""
        if job.receipt is None:
            joules = self.meter.end(job.id)
            self.queue.leave(job.ticket)
            self.jobs.pop(job.id, None)
            self.counts[state] += 1
            facts = self._facts(job, joules)
            job.receipt = self.receipts.complete(job.id, state, facts)
            self.limits.book(job.caller, job.id, facts)
        return job.receipt

    def stalled(self) -> bool:
        """Whether the engine owes somebody an answer and has been silent too long."""
        now = time.monotonic()
        return any(job.began and now - job.progress > self.settings.deadline for job in self.jobs.values())

    async def _turn(self, job: Job) -> AsyncGenerator[Waiting, None]:
        while not job.ticket.turn.done():
            position = self.queue.position(job.ticket)
            yield Waiting(position, self.queue.seconds_for(position))
            await asyncio.wait({job.ticket.turn}, timeout=TELL_SECONDS)
            if not job.ticket.turn.done() and time.monotonic() - job.admitted > self.settings.patience:
                raise Refusal(503, "The wait became too long.", "waited_too_long", retry_after=10)

    async def _ask(self, job: Job) -> AsyncGenerator[dict[str, Any], None]:
        for attempt in range(ATTEMPTS):
            if not await until_ready(self.upstream, BACK_SECONDS):
                raise EngineLost
            try:
                async with aclosing(self._request(job)) as chunks:
                    async for chunk in chunks:
                        yield chunk
                return
            except (httpx.HTTPError, EngineLost) as problem:
                # What a person has begun to read is not silently replaced by another answer.
                if job.pieces or attempt == ATTEMPTS - 1:
                    raise EngineLost from problem
                await asyncio.sleep(0.3)

    async def _hear(self, job: Job) -> Doubt | None:
        """Puts the question again where the register shows that the answer is wrong; why, if another answer stands."""
        table = self._table(job)
        if table is None:
            return None
        try:
            register = await asyncio.to_thread(opened, table)
        except CornueError:
            return None
        hearing = Hearing(job.order.question, register)
        first = text = "".join(job.text)
        while await asyncio.to_thread(hearing.hear, text):
            drawn = {"temperature": TEMPERATURE, "seed": hearing.attempt}
            try:
                answer = await self._post(job, self._body(job) | drawn)
            except httpx.HTTPError as problem:
                raise EngineLost from problem
            text = said(answer)
            job.last = time.monotonic()
            job.count(answer)
        job.text = [hearing.text]
        return hearing.doubt if hearing.text != first else None

    async def _post(self, job: Job, body: dict[str, Any]) -> dict[str, Any]:
        async with asyncio.timeout(self.settings.deadline):
            return checked(await self.upstream.client.post(job.order.route, json=body))

    def _body(self, job: Job) -> dict[str, Any]:
        """What the engine is asked."""
        ticket = job.ticket
        warm = ticket.warm and not job.order.replay and not job.caller.shares_cache
        salt = salted(self.salt, "cache", job.id if job.caller.shares_cache else job.caller.owner)
        return self._form(job) | {"model": self.upstream.model} | self.upstream.keep_apart(ticket.slot, warm, salt)

    async def _request(self, job: Job) -> AsyncGenerator[dict[str, Any], None]:
        order, body = job.order, self._body(job)
        limit = time.monotonic() + self.settings.deadline
        if not order.stream:
            yield self._whole(job, await self._post(job, body))
            return
        body |= {"stream": True, "stream_options": {"include_usage": True}}
        async with self.upstream.client.stream("POST", order.route, json=body) as response:
            if response.status_code != 200:
                await response.aread()
                checked(response)
            lines = response.aiter_lines()
            while True:
                async with asyncio.timeout(limit - time.monotonic()):
                    line = await anext(lines, None)
                if line is None:
                    if not job.finish:
                        raise EngineLost
                    return
                if line.startswith("data: {"):
                    chunk = self._part(job, json.loads(line[6:]))
                    if chunk is not None:
                        yield chunk

    def _form(self, job: Job) -> dict[str, Any]:
        """The request in a form that the engine honours."""
        body = job.order.body
        if not self.upstream.takes_tools and "messages" in body:
            body = body | {"messages": in_words(body["messages"])}
        job.must_call = must_call(body) and not self.upstream.makes_calls
        return as_schema(body) if job.must_call else body

    def _whole(self, job: Job, answer: dict[str, Any]) -> dict[str, Any]:
        choice = answer["choices"][0]
        message = choice.get("message", {})
        job.text.append(said(answer))
        job.reasoning.append(message.get("reasoning_content") or "")
        job.finish = choice.get("finish_reason") or "stop"
        job.usage = answer.get("usage") or {}
        job.pieces += 1
        if job.must_call and (calls := call_of(job.text[0], job.id)):
            message |= {"content": None, "tool_calls": calls}
            choice["finish_reason"] = job.finish = "tool_calls"
        return self._named(job, answer)

    def _part(self, job: Job, chunk: dict[str, Any]) -> dict[str, Any] | None:
        """A chunk for the caller; None for the one that only counts."""
        if "error" in chunk:
            raise EngineLost
        job.last = time.monotonic()
        job.first = job.first or job.last
        job.usage = chunk.get("usage") or job.usage
        if not chunk.get("choices"):
            return None
        choice = chunk["choices"][0]
        delta = choice.get("delta", {})
        text, reasoning = delta.get("content") or choice.get("text") or "", delta.get("reasoning_content") or ""
        job.text.append(text)
        job.reasoning.append(reasoning)
        job.pieces += bool(text or reasoning or delta.get("tool_calls"))
        job.finish = choice.get("finish_reason") or job.finish
        if job.must_call and text and not job.finish:
            return None
        if job.must_call and job.finish:
            calls = call_of("".join(job.text), job.id)
            choice["delta"] = {"tool_calls": calls} if calls else {"content": "".join(job.text)}
            choice["finish_reason"] = job.finish = "tool_calls" if calls else job.finish
        return self._named(job, chunk)

    def _named(self, job: Job, body: dict[str, Any]) -> dict[str, Any]:
        """Under our names, without what tells of the machine or of other people's requests."""
        for field_name in ("timings", "__verbose", "usage"):
            body.pop(field_name, None)
        chat = job.order.route == "/v1/chat/completions"
        body["id"] = ("chatcmpl-" if chat else "cmpl-") + job.id
        body["model"] = self.offer.name
        body["system_fingerprint"] = self.offer.model_digest[7:23]
        return body

    async def _look_up(self, job: Job, text: str) -> Lookup | None:
        table = self._table(job)
        return await asyncio.to_thread(look_up, table, text, job.order.question) if table else None

    def _table(self, job: Job) -> Register | LateRegister | None:
        """The register that answers this request."""
        return None if job.order.register == "off" else self.offer.table

    def _intent(self, order: Order) -> dict[str, Any]:
        sampling = {k: order.body[k] for k in ("temperature", "top_p", "seed", "max_tokens") if k in order.body}
        intent: dict[str, Any] = {"model": self.offer.name, "model_digest": self.offer.model_digest}
        if self.offer.table is not None:
            intent["register_digest"] = self.offer.table.digest
        return intent | {"sampling": sampling, "promise": "replay" if order.replay else "batched"}

    def _facts(self, job: Job, joules: float) -> dict[str, Any]:
        now = time.monotonic()
        began = job.began or now
        # A salt keeps short questions from being guessed by whoever sees digests alone.
        salt = secrets.token_hex(8)
        asked = job.order.body.get("messages") or job.order.body.get("prompt")
        energy = self.meter.counter.number(round(joules, 3))
        euros = joules / JOULES_PER_KWH * self.settings.euros_per_kwh
        grams = joules / JOULES_PER_KWH * self.settings.kg_co2_per_kwh * 1000
        return {
            "tokens": {
                "prompt": int(job.usage.get("prompt_tokens", 0)),
                "completion": int(job.usage.get("completion_tokens", 0)) or job.pieces,
                "how": "counted" if job.usage else "counted from the stream",
            },
            "seconds": {
                "waiting": round(began - job.admitted, 4),
                "first": round(max(0.0, job.first - began), 4) if job.order.stream else None,
                "answering": round(now - began, 4),
            },
            "energy": energy.model_dump(exclude_none=True),
            "money": estimated(round(euros, 12), "EUR", "energy x price of electricity").model_dump(exclude_none=True),
            "emissions": estimated(round(grams, 9), "gCO2e", "energy x grid").model_dump(exclude_none=True),
            "finish": job.finish,
            "digests": {
                "salt": salt,
                "question": digest_json([salt, asked]),
                "answer": digest_json([salt, "".join(job.text)]),
            },
        }
