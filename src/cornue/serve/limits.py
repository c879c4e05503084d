"""How much one key may ask: requests a minute and tokens a day, counted before the answer and settled after it.

What an answer may cost at most is set aside when it is admitted, so that one huge request cannot slip under a quota.
Usage is kept per key and never per named person. It knows no queue.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from cornue.serve.errors import Refusal
from cornue.serve.keys import DAY, Caller
from cornue.serve.settings import Settings
from cornue.serve.store import Store

NO_KEY = "without a key"


class Limits:
    """The limits of a service."""

    def __init__(self, store: Store, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self.store, self.settings, self.clock = store, settings, clock
        self._buckets: dict[str, tuple[float, float]] = {}
        self._reserved: dict[str, dict[str, int]] = {}

    def allow(self, caller: Caller, tokens: int) -> None:
        """Takes one request from the caller's minute.

        Raises:
            Refusal: 429 with the time after which there is room again.
        """
        per_day = caller.tokens_per_day or self.settings.tokens_per_day
        if per_day:
            used = self.used_today(caller) + sum(self._reserved.get(caller.owner, {}).values())
            if used + tokens > per_day:
                wait = DAY - self.clock() % DAY
                text = f"This key may use {per_day} tokens a day; {used} are used or set aside, {tokens} are asked for."
                raise Refusal(429, text, "quota_used", retry_after=wait)
        per_minute = caller.requests_per_minute or self.settings.requests_per_minute
        if per_minute:
            self._take(caller.owner, per_minute)

    def reserve(self, caller: Caller, job: str, tokens: int) -> None:
        """Sets aside what a job may use at most."""
        self._reserved.setdefault(caller.owner, {})[job] = tokens

    def book(self, caller: Caller, job: str, facts: dict[str, Any]) -> None:
        """Replaces what was set aside by what was used."""
        reserved = self._reserved.get(caller.owner, {})
        reserved.pop(job, None)
        if not reserved:
            self._reserved.pop(caller.owner, None)
        self.store.do(
            "INSERT INTO usage VALUES (?, ?, 1, ?, ?, ?, ?) ON CONFLICT (key_id, day) DO UPDATE SET"
            " requests = usage.requests + 1, prompt_tokens = usage.prompt_tokens + excluded.prompt_tokens,"
            " completion_tokens = usage.completion_tokens + excluded.completion_tokens,"
            " joules = usage.joules + excluded.joules, euros = usage.euros + excluded.euros",
            *(caller.key_id or NO_KEY, self._today(), facts["tokens"]["prompt"], facts["tokens"]["completion"]),
            *(facts["energy"]["value"], facts["money"]["value"]),
        )

    def used_today(self, caller: Caller) -> int:
        """Tokens of question and answer since midnight, Greenwich time."""
        rows = self.store.rows(
            "SELECT prompt_tokens + completion_tokens FROM usage WHERE key_id = ? AND day = ?",
            *(caller.key_id or NO_KEY, self._today()),
        )
        return int(rows[0][0]) if rows else 0

    def _take(self, owner: str, per_minute: int) -> None:
        now = self.clock()
        level, since = self._buckets.get(owner, (float(per_minute), now))
        level = min(float(per_minute), level + (now - since) * per_minute / 60)
        if level < 1:
            wait = (1 - level) * 60 / per_minute
            raise Refusal(429, f"This key may ask {per_minute} times a minute.", "rate_limited", retry_after=wait)
        if len(self._buckets) > 10_000:
            self._buckets.clear()
        self._buckets[owner] = (level - 1, now)

    def _today(self) -> str:
        return time.strftime("%Y-%m-%d", time.gmtime(self.clock()))
