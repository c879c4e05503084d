"""A pretend engine that speaks OpenAI's protocol, for tests, demonstrations and load without a model.

It answers from a script, one word at a time, at a stated pace, and keeps what it was asked. It thinks aloud where it is
told to, and cuts its stream or dies where it is told to. It knows nothing of language.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, MutableSequence
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route


def echo(messages: list[dict[str, Any]]) -> str:
    """Says the last message again."""
    return f"You said: {messages[-1].get('content')}"


@dataclass
class FakeEngine:
    """An engine that pretends.

    Args:
        speak: the answer to a conversation.
        think: what it thinks aloud before.
        pause: seconds per word.
        cut_after: words after which its stream breaks off; 0 never.
    """

    speak: Callable[[list[dict[str, Any]]], str] = echo
    think: str = ""
    pause: float = 0.0
    cut_after: int = 0
    refuse: tuple[int, dict[str, Any]] | None = None
    asked: MutableSequence[dict[str, Any]] = field(default_factory=list)
    running: int = 0
    most_running: int = 0
    abandoned: int = 0

    def app(self) -> Starlette:
        """The engine as an application."""
        return Starlette(
            routes=[
                Route("/v1/models", self._models),
                Route("/v1/chat/completions", self._chat, methods=["POST"]),
                Route("/v1/completions", self._text, methods=["POST"]),
            ]
        )

    async def _models(self, request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [{"id": "fake", "object": "model"}]})

    async def _chat(self, request: Request) -> Response:
        return await self._answer(await request.json(), chat=True)

    async def _text(self, request: Request) -> Response:
        body = await request.json()
        return await self._answer(body | {"messages": [{"content": body["prompt"]}]}, chat=False)

    async def _answer(self, body: dict[str, Any], chat: bool) -> Response:
        self.asked.append(body)
        if self.refuse:
            return JSONResponse(self.refuse[1], self.refuse[0])
        text = self.speak(body["messages"])
        words = [word + " " for word in text.split(" ")][: body.get("max_tokens") or None]
        words[-1] = words[-1][:-1]
        usage: dict[str, Any] = {"prompt_tokens": len(str(body["messages"]).split()), "completion_tokens": len(words)}
        usage |= {"prompt_tokens_details": {"cached_tokens": 7}}
        if body.get("stream"):
            return StreamingResponse(self._stream(words, usage, chat), media_type="text/event-stream")
        async for _ in self._at_work(words):
            pass
        content = "".join(words)
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop"}
        choice |= {"message": {"role": "assistant", "content": content}} if chat else {"text": content}
        if chat and self.think:
            choice["message"]["reasoning_content"] = self.think
        return JSONResponse(_envelope(chat) | {"choices": [choice], "usage": usage, "timings": {"cache_n": 7}})

    async def _stream(self, words: list[str], usage: dict[str, Any], chat: bool) -> AsyncIterator[str]:
        if chat:
            yield _line(chat, {"delta": {"role": "assistant", "content": None}})
        if chat and self.think:
            yield _line(chat, {"delta": {"reasoning_content": self.think}})
        said = 0
        async for word in self._at_work(words):
            yield _line(chat, {"delta": {"content": word}} if chat else {"text": word})
            said += 1
            if said == self.cut_after:
                return
        yield _line(chat, {"delta": {}, "finish_reason": "stop"} if chat else {"text": "", "finish_reason": "stop"})
        yield "data: " + json.dumps(_envelope(chat) | {"choices": [], "usage": usage, "timings": {}}) + "\n\n"
        yield "data: [DONE]\n\n"

    async def _at_work(self, words: list[str]) -> AsyncIterator[str]:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        finished = False
        try:
            for word in words:
                if self.pause:
                    await asyncio.sleep(self.pause)
                yield word
            finished = True
        finally:
            self.running -= 1
            self.abandoned += not finished


def _envelope(chat: bool) -> dict[str, Any]:
    return {"id": "fake", "object": "chat.completion" if chat else "text_completion", "created": 0, "model": "fake"}


def _line(chat: bool, choice: dict[str, Any]) -> str:
    body = _envelope(chat) | {"choices": [{"index": 0, "finish_reason": None} | choice]}
    body["object"] = "chat.completion.chunk" if chat else "text_completion"
    return f"data: {json.dumps(body)}\n\n"
