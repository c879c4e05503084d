"""llama.cpp behind about ten methods: it runs GGUF files in a supervised child process and asks them for completions.

The engine samples; it does not score given text (that is done with dequantised weights) and knows nothing of samples,
captures or recipes. A crash of the native code ends the child, never Cornue: the child is started again and the request
repeated. Its HTTP door is a random loopback port that answers nobody without this object's random key.

::

    with Engine("model.gguf", slots=4, context=1024) as engine:
        print(engine.complete("Once upon a time", max_tokens=20).text)
        for index, completion in engine.map(Request(prompt) for prompt in prompts):
            ...
"""

from __future__ import annotations

import json
import os
import secrets
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal

import httpx

from cornue.records.errors import BadInput, OutsideFailure

START_SECONDS = 120.0
REQUEST_SECONDS = 900.0
DYING_SECONDS = 2.0


@dataclass(frozen=True)
class Request:
    """One question to the engine, with all sampling settings spelled out.

    Args:
        prompt: text (control tokens written in it count as such), or token ids.
        temperature: 0 is greedy; otherwise samples are drawn from the whole distribution, cut nowhere.
        stop: texts at which the completion ends, themselves left out of it.
        n_probs: how many of the likeliest tokens to report at each step, at temperature 1.
        cache_prompt: reuse what the slot remembers of a common beginning; False gives the same bits each time.
        json_schema: the completion is held to this schema.
    """

    prompt: str | Sequence[int]
    max_tokens: int = 256
    temperature: float = 0.0
    seed: int = 0
    stop: Sequence[str] = ()
    n_probs: int = 0
    cache_prompt: bool = True
    json_schema: Mapping[str, Any] | None = None

    def body(self) -> dict[str, Any]:
        """The request as llama.cpp's ``/completion`` wants it; its own sampling defaults never apply."""
        body: dict[str, Any] = {
            "prompt": self.prompt if isinstance(self.prompt, str) else list(self.prompt),
            "n_predict": self.max_tokens,
            "temperature": self.temperature,
            "seed": self.seed,
            "stop": list(self.stop),
            "n_probs": self.n_probs,
            "cache_prompt": self.cache_prompt,
            "samplers": ["temperature"],
            "return_tokens": True,
        }
        if self.json_schema is not None:
            body["json_schema"] = dict(self.json_schema)
        return body


@dataclass(frozen=True)
class Choices:
    """What was drawn at one step, and what else was likely: ids and natural log-probabilities, likeliest first."""

    drawn: int
    drawn_logprob: float
    ids: tuple[int, ...]
    logprobs: tuple[float, ...]


@dataclass(frozen=True)
class Completion:
    """An answer of the engine; ``finish`` is "error" only out of ``map``, and ``error`` then says why.

    With ``n_probs``, ``choices`` has one entry for each token id; None where the engine did not report the step, which
    happens within a character of several tokens.
    """

    text: str
    token_ids: tuple[int, ...] = ()
    finish: Literal["stop", "length", "error"] = "stop"
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    choices: tuple[Choices | None, ...] = ()
    error: str = ""


@dataclass(frozen=True)
class Delta:
    """A piece of a completion that is still being written; the last piece carries the whole."""

    text: str
    completion: Completion | None = None


@dataclass
class Engine:
    """A GGUF file that runs in a child process, between ``__enter__`` and ``__exit__`` (or ``start`` and ``close``).

    Args:
        path: the GGUF file.
        slots: how many completions run at once; each waits its turn for the same cores.
        context: tokens that one slot holds, prompt and completion together; rounded up to a multiple of 256.
        threads: threads for the arithmetic; None takes every core that this process may use.
        restarts: how often a dead child is replaced before a request fails.
        kv_unified: one memory for all slots instead of one for each.

    Raises:
        BadInput: the file is not there, or a prompt is longer than the context.
        OutsideFailure: boundary "engine": it does not start, dies or does not answer.
    """

    path: str | os.PathLike[str]
    slots: int = 1
    context: int = 2048
    threads: int | None = None
    restarts: int = 2
    kv_unified: bool = False
    _child: subprocess.Popen[bytes] | None = field(default=None, init=False, repr=False)
    _client: httpx.Client | None = field(default=None, init=False, repr=False)
    _log: IO[bytes] | None = field(default=None, init=False, repr=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, init=False, repr=False)
    _births: int = field(default=0, init=False, repr=False)
    _cpu_of_the_dead: float = field(default=0.0, init=False, repr=False)

    def __enter__(self) -> Engine:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> Engine:
        """Starts the child and waits until the model is loaded."""
        if not Path(self.path).is_file():
            raise BadInput(f"The model file {os.fspath(self.path)} is not there.", "Give the path of a GGUF file.")
        with self._lock:
            self._births += 1
            self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
            self._child = subprocess.Popen(
                [sys.executable, "-m", "cornue.models.engine_child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
            )
            key = secrets.token_urlsafe(32)
            address = self._introduce(self._child, key)
            self._client = httpx.Client(
                base_url=address,
                headers={"Authorization": f"Bearer {key}"},
                timeout=httpx.Timeout(REQUEST_SECONDS, connect=10.0),
                limits=httpx.Limits(max_connections=self.slots + 4),
                trust_env=False,
            )
        return self

    def close(self) -> None:
        """Ends the child. What is being generated is lost."""
        with self._lock:
            client, child, log = self._client, self._child, self._log
            self._client = self._child = self._log = None
            if client is not None:
                client.close()
            if child is not None:
                # Popen.kill() would bury a dead child; only one not yet buried still shows what it consumed.
                os.kill(child.pid, signal.SIGKILL)
                os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
                self._cpu_of_the_dead += cpu_seconds_of(child.pid)
                child.wait()
                for stream in (child.stdin, child.stdout):
                    if stream is not None:
                        stream.close()
            if log is not None:
                log.close()

    def restart(self) -> None:
        """Ends the child and starts another."""
        with self._lock:
            self.close()
            self.start()

    def alive(self) -> bool:
        """Whether the child runs."""
        with self._lock:
            return self._child is not None and not _has_ended(self._child.pid)

    def cpu_seconds(self) -> float:
        """Core-seconds consumed so far by the child and those before it (Linux: read from /proc)."""
        with self._lock:
            return self._cpu_of_the_dead + (0.0 if self._child is None else cpu_seconds_of(self._child.pid))

    @property
    def door(self) -> tuple[str, str]:
        """Address and key of the child's OpenAI-compatible door; both change with every start."""
        client = self._http()
        return str(client.base_url).rstrip("/"), client.headers["Authorization"].removeprefix("Bearer ")

    def complete(self, prompt: str | Sequence[int], **settings: Any) -> Completion:
        """The completion of one prompt; the settings are the fields of ``Request``."""
        return self.ask(Request(prompt, **settings))

    def chat(self, messages: Sequence[Mapping[str, str]], **settings: Any) -> Completion:
        """The model's next turn in a conversation, rendered with the template inside the GGUF file."""
        return self.complete(self.render(messages), **settings)

    def ask(self, request: Request) -> Completion:
        """The completion of one request."""
        began = time.perf_counter()
        answer = self._post("/completion", request.body())
        return replace(_completion(answer), seconds=time.perf_counter() - began)

    def stream(self, prompt: str | Sequence[int], **settings: Any) -> Iterator[Delta]:
        """The completion piece by piece, as text only; leaving the loop early stops the engine's work on it.

        The engine does not tell the ids within a character of several tokens, so a stream tells none.
        """
        began = time.perf_counter()
        body = Request(prompt, **settings).body() | {"stream": True}
        texts: list[str] = []
        try:
            with self._http().stream("POST", "/completion", json=body) as response:
                if response.status_code != 200:
                    response.read()
                    raise _refusal(response)
                for line in response.iter_lines():
                    if not line.startswith("data: "):
                        continue
                    event = json.loads(line[6:])
                    if "error" in event:
                        raise _refusal_of(event["error"])
                    texts.append(event["content"])
                    if event["stop"]:
                        whole = _completion(event | {"content": "".join(texts), "tokens": ()})
                        yield Delta(event["content"], replace(whole, seconds=time.perf_counter() - began))
                    else:
                        yield Delta(event["content"])
        except httpx.HTTPError as problem:
            raise self._failure(f"stopped in the middle of an answer ({type(problem).__name__})") from problem

    def map(self, requests: Iterable[Request]) -> Iterator[tuple[int, Completion]]:
        """Runs many requests over the slots and yields each with its place in the order, as soon as it is finished.

        Requests are drawn from the iterable when there is room for them. One that the engine refuses (a prompt longer
        than the context) comes back with ``finish="error"``; a broken engine raises.
        """
        running: dict[Future[Completion], int] = {}
        numbered = iter(enumerate(requests))
        with ThreadPoolExecutor(max_workers=self.slots + 1) as pool:
            try:
                while True:
                    # One more than the slots keeps the engine busy while an answer travels.
                    while len(running) <= self.slots and (entry := next(numbered, None)) is not None:
                        running[pool.submit(self._ask_or_tell, entry[1])] = entry[0]
                    if not running:
                        return
                    for done in wait(running, return_when=FIRST_COMPLETED).done:
                        yield running.pop(done), done.result()
            finally:
                for future in running:
                    future.cancel()

    def render(self, messages: Sequence[Mapping[str, str]]) -> str:
        """The conversation as the prompt text that the model sees, up to where its turn begins."""
        answer = self._post("/apply-template", {"messages": [dict(message) for message in messages]})
        return str(answer["prompt"])

    def tokenize(self, text: str, *, special: bool = True) -> list[int]:
        """Token ids of a text; with ``special`` off, control tokens written in it are plain text."""
        answer = self._post("/tokenize", {"content": text, "add_special": False, "parse_special": special})
        return [int(token) for token in answer["tokens"]]

    def props(self) -> dict[str, Any]:
        """What llama.cpp says of the model and its settings; the path of the file is left out."""
        answer = self._get("/props")
        return {key: value for key, value in answer.items() if key != "model_path"}

    def _ask_or_tell(self, request: Request) -> Completion:
        try:
            return self.ask(request)
        except BadInput as problem:
            return Completion(text="", finish="error", error=f"engine: {problem.message}")

    def _post(self, route: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return self._send("POST", route, body)

    def _get(self, route: str) -> dict[str, Any]:
        return self._send("GET", route, None)

    def _send(self, method: str, route: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        """One request; a dead child is replaced and the request repeated, ``restarts`` times."""
        for attempt in range(self.restarts + 1):
            birth = self._births
            try:
                response = self._http().request(method, route, json=body)
            except (httpx.HTTPError, RuntimeError) as problem:
                # RuntimeError: another thread replaced the child and closed this client under our hands.
                if attempt == self.restarts or (birth == self._births and self._survives()):
                    raise self._failure(f"does not answer ({type(problem).__name__})") from problem
                self._revive(birth)
                continue
            if response.status_code != 200:
                raise _refusal(response)
            answer: dict[str, Any] = response.json()
            return answer
        raise self._failure("died too often")

    def _survives(self) -> bool:
        """Whether the child lives on; one that is dying drops its connections a moment before it has ended."""
        until = time.monotonic() + DYING_SECONDS
        while self.alive() and time.monotonic() < until:
            time.sleep(0.02)
        return self.alive()

    def _revive(self, birth: int) -> None:
        with self._lock:
            if birth == self._births:
                self.restart()

    def _http(self) -> httpx.Client:
        if self._client is None:
            raise OutsideFailure("The engine is not running.", "Use it inside a with block.", boundary="engine")
        return self._client

    def _introduce(self, child: subprocess.Popen[bytes], key: str) -> str:
        """Sends the settings and waits for the address."""
        settings = {
            "path": os.fspath(Path(self.path).resolve()),
            "slots": self.slots,
            "context": self.context * self.slots,
            "threads": self.threads or len(os.sched_getaffinity(0)),
            "key": key,
            "kv_unified": self.kv_unified,
        }
        assert child.stdin is not None and child.stdout is not None
        try:
            child.stdin.write(json.dumps(settings).encode() + b"\n")
            child.stdin.flush()
        except BrokenPipeError:
            raise self._failure("ended before it read its settings") from None
        readable, _, _ = select.select([child.stdout], [], [], START_SECONDS)
        line = child.stdout.readline() if readable else b""
        if not line:
            raise self._failure("died while it loaded the model" if readable else "did not start in time")
        answer = json.loads(line)
        if "error" in answer:
            raise self._failure(f"cannot load the model: {answer['error']}")
        return str(answer["address"])

    def _failure(self, what: str) -> OutsideFailure:
        """An error with the last words of the child."""
        last = ""
        with self._lock:
            if self._log is not None and not self._log.closed:
                self._log.seek(max(0, self._log.seek(0, os.SEEK_END) - 2000))
                last = " ".join(self._log.read().decode("utf-8", "replace").split()[-60:])
            if not self.alive():
                self.close()
        remedy = f"Its last words: {last}" if last else "Check the file and the memory that is free."
        return OutsideFailure(f"The engine for {Path(self.path).name} {what}.", remedy, boundary="engine")


def _completion(answer: Mapping[str, Any]) -> Completion:
    timings, token_ids = answer.get("timings", {}), tuple(answer.get("tokens", ()))
    return Completion(
        text=answer["content"],
        token_ids=token_ids,
        finish="length" if answer["stop_type"] == "limit" else "stop",
        prompt_tokens=int(answer["tokens_evaluated"]),
        cached_tokens=int(timings.get("cache_n", 0)),
        completion_tokens=int(answer["tokens_predicted"]),
        choices=_aligned(token_ids, answer["completion_probabilities"]) if "completion_probabilities" in answer else (),
    )


def _aligned(token_ids: Sequence[int], steps: Iterable[Mapping[str, Any]]) -> tuple[Choices | None, ...]:
    """One entry for each token: a reported step belongs to the next token that is the one it drew."""
    waiting = [_choices(step) for step in steps]
    found: list[Choices | None] = []
    for token in token_ids:
        found.append(waiting.pop(0) if waiting and waiting[0].drawn == token else None)
    return tuple(found)


def _choices(step: Mapping[str, Any]) -> Choices:
    top = step["top_logprobs"]
    ids = tuple(int(entry["id"]) for entry in top)
    return Choices(int(step["id"]), float(step["logprob"]), ids, tuple(float(entry["logprob"]) for entry in top))


def _refusal(response: httpx.Response) -> BadInput | OutsideFailure:
    try:
        error = response.json()["error"]
    except (ValueError, KeyError, TypeError):
        error = {"message": response.text[:200]}
    return _refusal_of(error, response.status_code)


def _refusal_of(error: Mapping[str, Any], status: int = 400) -> BadInput | OutsideFailure:
    if error.get("type") == "exceed_context_size_error":
        asked, room = error.get("n_prompt_tokens"), error.get("n_ctx")
        return BadInput(f"The prompt has {asked} tokens; a slot holds {room}.", "Raise context, or shorten the prompt.")
    message = str(error.get("message", "no reason given"))
    if 400 <= status < 500:
        return BadInput(f"The engine refuses the request: {message}", "Check prompt and settings.")
    return OutsideFailure(f"The engine failed on a request: {message}", boundary="engine")


def _has_ended(pid: int) -> bool:
    """Whether a child has ended, without burying it."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def cpu_seconds_of(pid: int) -> float:
    """User and system time of a process, field 14 and 15 of proc(5)'s stat."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
