"""The engine behind the service: our own child process, watched and replaced, or a server elsewhere by its address.

The rest of the room sees one thing: an HTTP client that speaks OpenAI's protocol, a state, and how a principal's cache
is kept apart. It does not queue and it does not count.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any, Literal, Protocol

import httpx

from cornue.models.engine import Engine
from cornue.records.errors import CheckFailed, CornueError
from cornue.serve.errors import Refusal

State = Literal["starting", "ready", "restarting", "down"]
LOOK_SECONDS = 0.2
PROBE_SECONDS = 5.0
CONNECT_SECONDS = 5.0
SILENCE_SECONDS = 120.0


class EngineLost(Exception):
    """The engine went away under a request."""


class Upstream(Protocol):
    """An engine as the service sees it."""

    state: State
    client: httpx.AsyncClient
    model: str
    takes_tools: bool
    """Whether the model has learnt to call tools."""
    makes_calls: bool
    """Whether the engine heeds a ``tool_choice`` that leaves no choice."""

    async def start(self) -> None:
        """Makes it ready; raises ``OutsideFailure`` if it cannot be."""

    async def watch(self, down: Callable[[], None], up: Callable[[], None]) -> None:
        """Runs for ever: tells when it goes and when it is back, and brings it back where it can."""

    def keep_apart(self, slot: int, warm: bool, salt: str) -> dict[str, Any]:
        """The fields that keep one caller's cache from another's."""

    def seconds(self) -> float:
        """Core-seconds consumed on this machine so far."""

    async def close(self) -> None:
        """Ends it, or lets go of it."""


class OwnEngine:
    """llama.cpp in a child process, on a file that has been checked: an altered one is not loaded after a crash."""

    model = "engine"
    makes_calls = False

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.state: State = "starting"
        self.client = httpx.AsyncClient()
        self.checked = _stamp(engine)
        self.takes_tools = False
        self.restarts = 0

    async def start(self) -> None:
        """Loads the model."""
        await asyncio.to_thread(self.engine.start)
        await self._connect()

    async def watch(self, down: Callable[[], None], up: Callable[[], None]) -> None:
        """Looks at the child five times a second; a dead one is replaced at once, then with growing pauses."""
        pause = 0.0
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if self.state == "ready" and await asyncio.to_thread(self.engine.alive):
                pause = 0.0
                continue
            self.state = "down" if pause else "restarting"
            down()
            await asyncio.sleep(pause)
            self.state = "restarting"
            self.restarts += 1
            try:
                if _stamp(self.engine) != self.checked:
                    raise CheckFailed("The model file has changed since it was checked.", "Start the service again.")
                await asyncio.to_thread(self.engine.restart)
                await self._connect()
            except CornueError:
                self.state = "down"
                pause = min(30.0, pause + 1.0)
                continue
            up()

    def keep_apart(self, slot: int, warm: bool, salt: str) -> dict[str, Any]:
        """One principal per slot at a time; a slot's memory is used for nobody else."""
        return {"id_slot": slot, "cache_prompt": warm}

    def seconds(self) -> float:
        """Of the child and those before it."""
        with contextlib.suppress(OSError):
            self._seconds = self.engine.cpu_seconds()
        return self._seconds

    _seconds = 0.0

    async def close(self) -> None:
        """Ends the child."""
        await self.client.aclose()
        await asyncio.to_thread(self.engine.close)

    async def _connect(self) -> None:
        before = self.client
        address, key = self.engine.door
        self.client = _client(address, key)
        said = await asyncio.to_thread(self.engine.props)
        # llama.cpp leaves tools out without a word where the template has no place for them.
        self.takes_tools = bool(said.get("chat_template_caps", {}).get("supports_tools"))
        self.state = "ready"
        await before.aclose()


class Elsewhere:
    """An OpenAI-compatible server that somebody else runs: vLLM, llama-server, Ollama.

    Args:
        salts: whether the server takes ``cache_salt`` (vLLM does); without it, its prefix cache should be off.
    """

    takes_tools = makes_calls = True

    def __init__(self, url: str, key: str = "", model: str = "", salts: bool = False) -> None:
        self.client = _client(url.rstrip("/").removesuffix("/v1"), key)
        self.model, self.salts = model, salts
        self.state: State = "starting"

    async def start(self) -> None:
        """Asks for its models; one that does not answer yet is waited for by ``watch``."""
        if await self._answers():
            self.state = "ready"

    async def watch(self, down: Callable[[], None], up: Callable[[], None]) -> None:
        """Asks it every few seconds."""
        if self.state != "ready":
            down()
        while True:
            await asyncio.sleep(PROBE_SECONDS if self.state == "ready" else LOOK_SECONDS)
            answers = await self._answers()
            if answers and self.state != "ready":
                self.state = "ready"
                up()
            elif not answers and self.state == "ready":
                self.state = "down"
                down()

    def keep_apart(self, slot: int, warm: bool, salt: str) -> dict[str, Any]:
        """A salt that only this service knows, where the server understands one."""
        return {"cache_salt": salt} if self.salts else {}

    def seconds(self) -> float:
        """Nothing of it runs here."""
        return 0.0

    async def close(self) -> None:
        """Lets go of it."""
        await self.client.aclose()

    async def _answers(self) -> bool:
        try:
            response = await self.client.get("/v1/models", timeout=PROBE_SECONDS)
            names = [entry["id"] for entry in response.json()["data"]]
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            return False
        self.model = self.model or (names[0] if names else "")
        return response.status_code == 200 and self.model in names


async def until_ready(upstream: Upstream, seconds: float) -> bool:
    """Whether the engine became ready within some time."""
    limit = time.monotonic() + seconds
    while upstream.state != "ready" and time.monotonic() < limit:
        await asyncio.sleep(0.05)
    return upstream.state == "ready"


def said(answer: dict[str, Any]) -> str:
    """The words of a whole answer."""
    choice = answer["choices"][0]
    return choice.get("message", {}).get("content") or choice.get("text") or ""


def checked(response: httpx.Response) -> dict[str, Any]:
    """The engine's answer, or its refusal in our words."""
    try:
        body = response.json()
    except ValueError:
        raise EngineLost from None
    if response.status_code == 200 and isinstance(body, dict) and body.get("choices"):
        return body
    error = body.get("error") if isinstance(body, dict) else None
    message = str(error.get("message", "") if isinstance(error, dict) else error or "no reason given")
    if response.status_code in (400, 404, 422, 500, 501):
        code = error.get("type") if isinstance(error, dict) else None
        raise Refusal(400, f"The engine refuses this request: {message[:500]}", str(code or "engine_refused"))
    if response.status_code == 429:
        raise Refusal(503, "The engine is busy.", "engine_busy", retry_after=2)
    raise EngineLost


async def cancel(task: asyncio.Task[Any] | Awaitable[Any]) -> None:
    """Ends a background task and waits until it has ended."""
    if isinstance(task, asyncio.Task):
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _stamp(engine: Engine) -> tuple[int, int, int]:
    """What changes when somebody writes to the model file or puts another in its place; zeros where there is none."""
    try:
        found = os.stat(engine.path)
    except OSError:
        return 0, 0, 0
    return found.st_ino, found.st_size, found.st_mtime_ns


def _client(address: str, key: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=address,
        headers={"Authorization": f"Bearer {key}"} if key else {},
        timeout=httpx.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS),
        limits=httpx.Limits(max_connections=256, max_keepalive_connections=32),
        trust_env=False,
    )
