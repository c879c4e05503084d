"""A pretend endpoint that speaks the OpenAI dialect, with all the faults of real ones, for tests and demonstrations.

It answers by a rule, at once or with latency, and fails as often as it is told to: too many requests, server errors,
streams cut in the middle, JSON that is none, silence, another model than the one that was asked. It listens on a free
port of this machine and remembers what it was asked. It runs no model and is not for use by people.
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal

Fault = Literal["429", "500", "cut", "malformed", "empty"]
EVERY_FAULT: tuple[Fault, ...] = ("429", "500", "cut", "malformed", "empty")


def repeat(messages: Sequence[dict[str, str]]) -> str:
    """The rule by which it answers unless told otherwise: the question again."""
    return f"You asked: {messages[-1]['content']}"


@dataclass
class FakeEndpoint:
    """The endpoint, between ``__enter__`` and ``__exit__``.

    Args:
        answer: from the messages to the answer's text.
        faults: share of the requests that fail, by a lot that depends on their order only.
        kinds: the faults that it draws from.
        latency: seconds before an answer.
        retry_after: seconds that a 429 asks for.
        model: the name that it answers under; after ``changes_after`` answers it is ``model`` with "-new".
        key: the key that it wants; empty wants none.
        reasoning: thoughts sent before the answer, in a field of their own.
        cached: words of each question that it says it remembered.
        counts: whether it tells how many tokens it took.
        context: words that a question may have.
        refusal: what it says to a longer one.
    """

    answer: Callable[[Sequence[dict[str, str]]], str] = repeat
    faults: float = 0.0
    kinds: tuple[Fault, ...] = EVERY_FAULT
    latency: float = 0.0
    retry_after: float = 0.0
    model: str = "pretend-1"
    changes_after: int = 0
    key: str = ""
    reasoning: str = ""
    cached: int = 0
    counts: bool = True
    context: int = 10_000
    refusal: str = "too many words"
    asked: list[dict[str, Any]] = field(default_factory=list, init=False)
    answered: int = field(default=0, init=False)
    most_at_once: int = field(default=0, init=False)
    url: str = field(default="", init=False)

    def __enter__(self) -> FakeEndpoint:
        self._lock = threading.Lock()
        self._now = 0
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                body = self.rfile.read(length)
                if len(body) == length > 0:
                    endpoint._serve(self, json.loads(body))

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        return Handler

    def _serve(self, http: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
        with self._lock:
            number = len(self.asked)
            self.asked.append(request)
        # Once the answer has begun, who asked may be done with it before we are.
        with _Counted(self):
            time.sleep(self.latency)
        if self.key and http.headers.get("Authorization") != f"Bearer {self.key}":
            return _send(http, 401, {"error": {"message": f"bad key {http.headers.get('Authorization')}"}})
        if len(str(request["messages"]).split()) > self.context:
            problem = {"message": self.refusal, "code": "context_length_exceeded"}
            return _send(http, 400, {"error": problem})
        lot = int.from_bytes(hashlib.sha256(f"lot {number}".encode()).digest()[:8]) / 2**64
        if lot < self.faults:
            return self._fail(http, request, self.kinds[int(lot / self.faults * len(self.kinds))])
        with self._lock:
            self.answered += 1
            changed = self.changes_after and self.answered > self.changes_after
        return self._stream(http, request, f"{self.model}-new" if changed else self.model, cut=False)

    def _fail(self, http: BaseHTTPRequestHandler, request: dict[str, Any], fault: Fault) -> None:
        if fault == "429":
            _send(http, 429, {"error": {"message": "slow down"}}, {"Retry-After": f"{self.retry_after:g}"})
        elif fault == "500":
            _send(http, 500, {"error": {"message": "out of order"}})
        elif fault == "malformed":
            _begin_stream(http)
            _event(http, '{"choices": [{"delta": {"content": "half')
        elif fault == "cut":
            self._stream(http, request, self.model, cut=True)
        http.close_connection = True

    def _stream(self, http: BaseHTTPRequestHandler, request: dict[str, Any], model: str, cut: bool) -> None:
        """The answer word by word, or the first half of it and then nothing."""
        parts = self.answer(request["messages"]).split(" ")
        most = int(request.get("max_tokens", 10_000))
        shown, finish = parts[:most], "length" if len(parts) > most else "stop"
        _begin_stream(http)
        if self.reasoning:
            _event(http, json.dumps({"model": model, "choices": [{"delta": {"reasoning_content": self.reasoning}}]}))
        for place, part in enumerate(shown[: len(shown) // 2] if cut else shown):
            delta = {"content": part if place == 0 else f" {part}"}
            _event(http, json.dumps({"model": model, "choices": [{"index": 0, "delta": delta}]}))
        http.close_connection = True
        if cut:
            return
        _event(http, json.dumps({"model": model, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}))
        usage = {
            "prompt_tokens": len(str(request["messages"]).split()),
            "completion_tokens": len(shown) + len(self.reasoning.split()),
            "completion_tokens_details": {"reasoning_tokens": len(self.reasoning.split())},
            "prompt_tokens_details": {"cached_tokens": self.cached},
        }
        if self.counts:
            _event(http, json.dumps({"model": model, "choices": [], "usage": usage}))
        _event(http, "[DONE]")


class _Server(ThreadingHTTPServer):
    """A server that is not surprised when those who ask are gone before the answer."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Counted:
    """Counts the requests that run at once."""

    def __init__(self, endpoint: FakeEndpoint) -> None:
        self._endpoint = endpoint

    def __enter__(self) -> None:
        endpoint = self._endpoint
        with endpoint._lock:
            endpoint._now += 1
            endpoint.most_at_once = max(endpoint.most_at_once, endpoint._now)

    def __exit__(self, *rest: object) -> None:
        with self._endpoint._lock:
            self._endpoint._now -= 1


def _send(
    http: BaseHTTPRequestHandler, status: int, value: dict[str, Any], headers: dict[str, str] | None = None
) -> None:
    data = json.dumps(value).encode()
    http.send_response(status)
    for name, text in {"Content-Type": "application/json", "Content-Length": str(len(data)), **(headers or {})}.items():
        http.send_header(name, text)
    http.end_headers()
    http.wfile.write(data)


def _begin_stream(http: BaseHTTPRequestHandler) -> None:
    http.send_response(200)
    http.send_header("Content-Type", "text/event-stream")
    http.send_header("Connection", "close")
    http.end_headers()


def _event(http: BaseHTTPRequestHandler, data: str) -> None:
    http.wfile.write(f"data: {data}\n\n".encode())
    http.wfile.flush()
