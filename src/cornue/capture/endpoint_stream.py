"""Reads one answer of an OpenAI-compatible endpoint: a stream of events, or plain JSON from those that do not stream.

It knows the dialects in which thoughts are told apart (``reasoning_content``, ``reasoning``, ``<think>``) and tells a
whole answer from a torn one. It sends nothing and tries nothing twice.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cornue.capture.budget import Tokens
from cornue.capture.packing import Rows, log_codes

THINK, UNTHINK = "<think>", "</think>"


class Torn(Exception):
    """What came is not a whole answer."""


@dataclass
class Answer:
    """An answer as it grows; whole once ``finish`` is known."""

    text: str = ""
    reasoning: str = ""
    finish: str = ""
    model: str = ""
    tokens: Tokens = field(default_factory=Tokens)
    steps: list[dict[str, Any]] = field(default_factory=list)
    counted: bool = False

    def take(self, event: dict[str, Any]) -> None:
        """One event of the stream, or the whole answer of an endpoint that does not stream.

        Raises:
            Torn: it is an error, or not of the expected form.
        """
        try:
            if event.get("error"):
                raise Torn(f"it broke off: {event['error'].get('message', 'no reason given')}")
            self.model = event.get("model") or self.model
            if event.get("usage"):
                self._count(event["usage"])
            for choice in event.get("choices", ()):
                self._add(choice)
        except (AttributeError, TypeError, KeyError, ValueError) as error:
            raise Torn(f"an event has not the expected form ({type(error).__name__})") from None

    def _add(self, choice: dict[str, Any]) -> None:
        said = choice.get("delta") or choice.get("message") or {}
        self.text += said.get("content") or ""
        self.reasoning += said.get("reasoning_content") or said.get("reasoning") or ""
        self.steps += (choice.get("logprobs") or {}).get("content") or []
        self.finish = choice.get("finish_reason") or self.finish

    def _count(self, usage: dict[str, Any]) -> None:
        of_prompt, of_answer = usage.get("prompt_tokens_details") or {}, usage.get("completion_tokens_details") or {}
        # DeepSeek has a word of its own for what came from its cache.
        told = (
            usage.get("prompt_tokens"),
            of_prompt.get("cached_tokens") or usage.get("prompt_cache_hit_tokens"),
            usage.get("completion_tokens"),
            of_answer.get("reasoning_tokens"),
        )
        read, cached, written, reasoning = (max(0, int(number or 0)) for number in told)
        # One that tells of more cached than read, or more thought than written, is believed as to the larger.
        self.tokens = Tokens(max(read, cached), max(0, written - reasoning), cached, reasoning)
        self.counted = True

    def split_thoughts(self) -> None:
        """Move thoughts that stand at the head of the text, between think tags, to where they belong."""
        head, found, rest = self.text.partition(UNTHINK)
        if found and not self.reasoning:
            self.reasoning, self.text = head.replace(THINK, "", 1).strip(), rest.lstrip()

    def rows(self) -> tuple[tuple[int, ...], Rows] | None:
        """Token ids and their likeliest alternatives, where the endpoint gives every one of them an id."""
        if not self.steps or any("id" not in step for step in self.steps):
            return None
        sizes, ids, logs, tails = [], [], [], []
        for step in self.steps:
            found = {int(one["id"]): float(one["logprob"]) for one in step.get("top_logprobs") or [step]}
            for id_ in sorted(found):
                ids.append(id_)
                logs.append(found[id_])
            sizes.append(len(found))
            tails.append(1.0 - min(1.0, sum(np.exp(log) for log in found.values())))
        splits = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        with np.errstate(divide="ignore"):
            rest = log_codes(np.log(np.array(tails)))
        rows = Rows(splits, np.array(ids, dtype=np.int64), log_codes(np.array(logs)), rest)
        return tuple(int(step["id"]) for step in self.steps), rows


def read_answer(lines: Iterable[str]) -> Answer:
    """The answer out of the lines of a response.

    Raises:
        Torn: the stream was cut, or holds what is no JSON.
    """
    answer = Answer()
    for data in _events(lines):
        try:
            event = json.loads(data)
        except ValueError:
            raise Torn("it sent what is no JSON") from None
        if not isinstance(event, dict):
            raise Torn("it sent JSON that is no object")
        answer.take(event)
    if not answer.finish:
        raise Torn("the stream was cut")
    answer.split_thoughts()
    return answer


def _events(lines: Iterable[str]) -> Iterator[str]:
    """The data of server-sent events; a body that is one JSON text is one event."""
    plain: list[str] = []
    for line in lines:
        if line.startswith("data:"):
            data = line[5:].strip()
            if data == "[DONE]":
                return
            yield data
        elif line.strip() and not line.startswith((":", "event:", "id:", "retry:")):
            plain.append(line)
    if plain:
        yield "\n".join(plain)
