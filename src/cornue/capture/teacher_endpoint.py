"""A teacher behind an OpenAI-compatible endpoint: vLLM, llama-server, or a commercial service.

Requests run side by side, more of them while all goes well and fewer when the endpoint asks for it; what fails for a
passing reason is tried again. The key is read from the environment for each request and never kept, written or shown.
Before a prompt leaves, personal data in it is refused or replaced. It cannot score given text.
"""

from __future__ import annotations

import email.utils
import random
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import httpx

from cornue.capture.budget import Purse, Tokens
from cornue.capture.endpoint_door import check_door, read_key, without
from cornue.capture.endpoint_stream import Answer, Torn, read_answer
from cornue.capture.packing import Rows
from cornue.capture.teacher import Ask, Sampling, Teacher, instructed
from cornue.privacy.find import Mode, Placeholders, shield
from cornue.records.digests import digest_text
from cornue.records.errors import OutsideFailure, Refused
from cornue.records.samples import Finish, Message, Prompt, Sample
from cornue.records.words import words

ATTEMPTS = 8
LONGEST_REASON = 300
FIRST_PAUSE, LONGEST_PAUSE, LONGEST_WAIT = 0.25, 30.0, 600.0
PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
CROWDED = frozenset({429, 503, 529})
CLOSED_DOOR = frozenset({401, 403, 404})
FINISHES: dict[str, Finish] = {"stop": "stop", "eos": "stop", "end_turn": "stop", "length": "length"}
# Bytes are never fewer than tokens; templates add a few to each message.
TEMPLATE_TOKENS = 16


@dataclass
class _Passing(Exception):
    """A failure that may pass: why, how long to wait at least, whether it may have been billed, and whether it says
    that there are too many requests."""

    why: str
    wait: float = 0.0
    billed: bool = False
    crowded: bool = False


class EndpointTeacher(Teacher):
    """A model behind a URL.

    Args:
        url: base URL, such as ``http://127.0.0.1:8000/v1``.
        model: the name by which it is asked.
        key_env: name of the environment variable that holds the key; empty sends none.
        remote_allowed: whether prompts may leave this machine.
        personal_data: what to do with personal data in prompts that leave.
        instructions: system prompt put before every question.
        slots: most requests in flight at once.
        top_logprobs: likeliest tokens to ask for at each step, where the endpoint offers them.
        pause: seconds before the first repetition; each further one waits about twice as long.

    Raises:
        BadInput: the URL cannot be used, or the variable is not set.
        Refused: the endpoint is not on this machine and the recipe does not allow that.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key_env: str = "",
        remote_allowed: bool = False,
        personal_data: Mode = "refuse",
        instructions: str = "",
        slots: int = 8,
        top_logprobs: int = 0,
        pause: float = FIRST_PAUSE,
    ) -> None:
        self._leaves = check_door(url, key_env, remote_allowed) or remote_allowed
        self._url, self._model, self._key_env = url.rstrip("/"), model, key_env
        self._personal_data: Mode = personal_data
        self._instructions = instructions
        self._slots, self._top, self._pause = slots, top_logprobs, pause
        self._speed = _Speed(slots)
        self._purse = Purse()
        self._messages: dict[str, list[dict[str, str]]] = {}
        self._rows: dict[tuple[str, int], Rows] = {}
        self._answers_as = ""
        self._closing = threading.Event()
        self._counts: Counter[str] = Counter()
        self._found: Counter[str] = Counter()
        self._client = httpx.Client(
            timeout=httpx.Timeout(LONGEST_WAIT, connect=20.0),
            limits=httpx.Limits(max_connections=slots + 2),
            trust_env=self._leaves,
        )

    def identity(self) -> dict[str, Any]:
        """See ``Teacher``. Weights, tokenizer and template behind a URL cannot be known."""
        return {
            "kind": "endpoint",
            "name": self._model,
            "url": self._url,
            "engine": {"name": "OpenAI-compatible endpoint", "version": ""},
            "instructions": {"sha256": digest_text(self._instructions), "text": self._instructions},
        }

    def prepare(self, prompts: Sequence[Prompt], purse: Purse) -> None:
        """See ``Teacher``. Looks through everything that is to leave before the first request does."""
        self._purse = purse
        if not self._leaves:
            return
        found = self._found
        instructions = self._shielded([Message(role="system", content=self._instructions)], found)[0]["content"]
        for prompt in prompts:
            try:
                clean = [Message.model_validate(one) for one in self._shielded(prompt.messages, found)]
            except Refused as refusal:
                where = words(en=f"prompt {prompt.id}", fr=f"question {prompt.id}")
                raise Refused(f"{where}: {refusal.message}", refusal.remedy) from None
            self._messages[prompt.id] = instructed(prompt.model_copy(update={"messages": tuple(clean)}), instructions)

    def facts(self) -> dict[str, Any]:
        """See ``Teacher``: failures, tokens that were billed perhaps, personal data by kind; never a value of it."""
        shielded = {"mode": self._personal_data, "found": dict(self._found)} if self._leaves else None
        return {"left_the_machine": self._leaves, "personal_data": shielded, **dict(self._counts)}

    def sample(self, asks: Iterable[Ask], sampling: Sampling) -> Iterator[Sample]:
        """See ``Teacher``.

        Raises:
            OutsideFailure: it refuses the key, keeps failing, or answers as another model (boundary "endpoint").
            Refused: a repetition could exceed the budget.
        """
        asks = iter(asks)
        running: set[Future[Sample]] = set()
        with ThreadPoolExecutor(max_workers=self._slots) as pool:
            try:
                while True:
                    while len(running) < self._speed.limit and (ask := next(asks, None)) is not None:
                        running.add(pool.submit(self._ask, ask, sampling))
                    if not running:
                        return
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        yield future.result()
            finally:
                for future in running:
                    future.cancel()
                if running:
                    self._closing.set()

    def take_rows(self, prompt_id: str, index: int) -> Rows | None:
        """See ``Teacher``."""
        return self._rows.pop((prompt_id, index), None)

    def witness(self) -> dict[str, str]:
        """See ``Teacher``: the name under which the endpoint answers."""
        return {"answers_as": self._answers_as} if self._answers_as else {}

    def most_prompt_tokens(self, prompt: Prompt) -> int:
        """See ``Teacher``: bytes, since tokens are never more."""
        messages = self._said(prompt)
        return sum(len(message["content"].encode()) + TEMPLATE_TOKENS for message in messages)

    def close(self) -> None:
        """Let go of the connections."""
        self._closing.set()
        self._client.close()

    def _shielded(self, messages: Iterable[Message], found: Counter[str]) -> list[dict[str, str]]:
        known, clean = Placeholders(), []
        for message in messages:
            shielded = shield(message.content, self._personal_data, known)
            found.update(shielded.counts)
            clean.append({"role": message.role, "content": shielded.text})
        return clean

    def _said(self, prompt: Prompt) -> list[dict[str, str]]:
        if self._leaves and prompt.id not in self._messages:
            raise ValueError("a prompt would leave that was not looked through")
        return self._messages.get(prompt.id) or instructed(prompt, self._instructions)

    def _ask(self, ask: Ask, sampling: Sampling) -> Sample:
        """One answer, tried until it is whole."""
        began, last = time.monotonic(), ""
        for attempt in range(ATTEMPTS):
            if self._closing.is_set():
                break
            try:
                answer = self._once(ask, sampling)
                self._speed.well()
                return self._sample(ask, answer, sampling, time.monotonic() - began)
            except _Passing as passing:
                last = passing.why
                self._counts["failed_requests"] += 1
                if passing.crowded:
                    self._speed.badly()
                if passing.billed:
                    self._charge(ask, sampling)
                pause = min(LONGEST_PAUSE, self._pause * 2**attempt) * (0.5 + random.random())
                self._closing.wait(min(LONGEST_WAIT, max(passing.wait, pause)))
        raise OutsideFailure(
            words(
                en=f"The endpoint {self._url} failed {ATTEMPTS} times in a row: {last}.",
                fr=f"Le point d'accès {self._url} a échoué {ATTEMPTS} fois de suite : {last}.",
            ),
            words(en="Run again later: only what is missing is asked.", fr="Relancez plus tard : seul ce qui manque."),
            boundary="endpoint",
        )

    def _once(self, ask: Ask, sampling: Sampling) -> Answer:
        """One request.

        Raises:
            _Passing: it may go well another time.
            OutsideFailure: it will not.
        """
        body = {
            "model": self._model,
            "messages": self._said(ask.prompt),
            "temperature": sampling.temperature,
            "max_tokens": sampling.max_tokens,
            "seed": ask.seed,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if self._top:
            body |= {"logprobs": True, "top_logprobs": self._top}
        key = read_key(self._key_env)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        try:
            with self._client.stream("POST", f"{self._url}/chat/completions", json=body, headers=headers) as response:
                if response.status_code == 200:
                    answer = read_answer(without(line, key) for line in response.iter_lines())
                else:
                    response.read()
                    return self._refusal(response, key)
        except Torn as torn:
            raise _Passing(str(torn), billed=True) from None
        except httpx.HTTPError as error:
            timeout = isinstance(error, httpx.TimeoutException)
            billed = not isinstance(error, httpx.ConnectError)
            raise _Passing(type(error).__name__, billed=billed, crowded=timeout) from None
        self._check_model(answer.model)
        # Word by word, it may have come in pieces.
        answer.text, answer.reasoning = without(answer.text, key), without(answer.reasoning, key)
        return answer

    def _refusal(self, response: httpx.Response, key: str) -> Answer:
        """What a status other than 200 means: a passing failure, a closed door, or a sample that says why not."""
        status, why = response.status_code, without(_reason(response), key)[:LONGEST_REASON]
        if status in PASSING:
            raise _Passing(f"status {status}: {why}", wait=_retry_after(response), crowded=status in CROWDED)
        if status in CLOSED_DOOR:
            raise OutsideFailure(
                words(
                    en=f"The endpoint {self._url} does not let us in (status {status}): {why}.",
                    fr=f"Le point d'accès {self._url} refuse l'entrée (code {status}) : {why}.",
                ),
                words(
                    en=f"Check teacher.url, teacher.model and the key in {self._key_env or 'teacher.api_key_env'}.",
                    fr=f"Vérifiez teacher.url, teacher.model et la clé dans {self._key_env or 'teacher.api_key_env'}.",
                ),
                boundary="endpoint",
            )
        return Answer(finish=f"status {status}: {why}")

    def _check_model(self, name: str) -> None:
        """Answers of two models are never mixed."""
        if self._answers_as and name and name != self._answers_as:
            raise OutsideFailure(
                words(
                    en=f"The endpoint answered as “{self._answers_as}” and now answers as “{name}”.",
                    fr=f"Le point d'accès répondait comme « {self._answers_as} » et répond comme « {name} ».",
                ),
                words(
                    en="Name a dated version in teacher.model and begin a new capture.",
                    fr="Nommez une version datée dans teacher.model et commencez une autre capture.",
                ),
                boundary="endpoint",
            )
        self._answers_as = self._answers_as or name

    def _charge(self, ask: Ask, sampling: Sampling) -> None:
        """Count a failed request as if it had been billed in full."""
        worst = Tokens(self.most_prompt_tokens(ask.prompt), sampling.max_tokens)
        if not self._purse.waste(worst):
            raise self._purse.refusal(0, 0)
        self._counts["tokens_billed_perhaps"] += worst.total

    def _sample(self, ask: Ask, answer: Answer, sampling: Sampling, seconds: float) -> Sample:
        rows = answer.rows() if self._top else None
        if rows:
            self._rows[ask.prompt.id, ask.index] = rows[1]
        finish: Finish = FINISHES.get(answer.finish, "error")
        tokens = answer.tokens
        if not answer.counted:
            self._counts["answers_counted_by_us"] += 1
            tokens = self._most_tokens(ask, answer, sampling)
        return Sample(
            prompt_id=ask.prompt.id,
            index=ask.index,
            text=answer.text,
            reasoning=answer.reasoning,
            token_ids=rows[0] if rows else (),
            finish=finish,
            error="" if finish != "error" else f"endpoint: {answer.finish}",
            prompt_tokens=tokens.prompt,
            completion_tokens=tokens.completion + tokens.reasoning,
            cached_tokens=tokens.cached,
            reasoning_tokens=tokens.reasoning,
            seconds=round(seconds, 3),
        )

    def _most_tokens(self, ask: Ask, answer: Answer, sampling: Sampling) -> Tokens:
        """An upper bound for an answer whose tokens the endpoint does not tell; nothing for one that was refused."""
        bound = len((answer.text + answer.reasoning).encode()) + 1
        refused = answer.finish not in FINISHES and not answer.text
        return Tokens() if refused else Tokens(self.most_prompt_tokens(ask.prompt), min(bound, sampling.max_tokens))


class _Speed:
    """How many requests may run at once: one more after a round that went well, half as many after a failure."""

    def __init__(self, most: int) -> None:
        self._most, self._value = most, float(min(4, most))
        self._lock = threading.Lock()
        self._slowed = 0.0

    @property
    def limit(self) -> int:
        """Requests that may run now."""
        return max(1, int(self._value))

    def well(self) -> None:
        """A request went well."""
        with self._lock:
            self._value = min(float(self._most), self._value + 1 / self._value)

    def badly(self) -> None:
        """A request failed; those that were in flight with it do not count again."""
        with self._lock:
            if time.monotonic() - self._slowed > 1.0:
                self._value, self._slowed = max(1.0, self._value / 2), time.monotonic()


def _reason(response: httpx.Response) -> str:
    try:
        error = response.json()["error"]
        return str(error.get("message") if isinstance(error, dict) else error)
    except (ValueError, KeyError, TypeError):
        return response.text


def _retry_after(response: httpx.Response) -> float:
    """Seconds that the endpoint asks us to wait: a number, or the time until a date."""
    value = response.headers.get("Retry-After", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError):
        return 0.0
