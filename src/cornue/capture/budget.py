"""Keeps a capture within its caps: before each request, for everything in flight at its worst.

Tokens and their price are reserved before a request leaves and settled when its answer is there; time and energy are
looked at with the longest request so far in hand. What may have been billed although it failed counts as spent. It
prices by the dated sheet of the ledger, and it stops nothing that is already on its way.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from cornue.ledger.caps import Spent
from cornue.ledger.prices import tokens_cost
from cornue.records import recipe
from cornue.records.errors import Refused
from cornue.records.words import words


@dataclass(frozen=True)
class Tokens:
    """Tokens of one request, or of many."""

    prompt: int = 0
    completion: int = 0
    cached: int = 0
    reasoning: int = 0

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(
            self.prompt + other.prompt,
            self.completion + other.completion,
            self.cached + other.cached,
            self.reasoning + other.reasoning,
        )

    @property
    def total(self) -> int:
        """Everything that was read or written."""
        return self.prompt + self.completion + self.reasoning


@dataclass
class Purse:
    """What may still be spent.

    Args:
        caps: the recipe's budget; 0 sets no cap.
        price_of: name of the teacher's line in the price sheet; empty where tokens cost nothing by themselves.
        energy: kilowatt-hours so far, and what they cost in euros.
        clock: seconds.
        hours_before: hours that earlier sittings took.

    Raises:
        BadInput: the price sheet does not know the model.
    """

    caps: recipe.Budget = field(default_factory=recipe.Budget)
    price_of: str = ""
    energy: Callable[[], tuple[float, float]] = lambda: (0.0, 0.0)
    clock: Callable[[], float] = time.monotonic
    hours_before: float = 0.0
    spent: Tokens = field(default_factory=Tokens, init=False)
    wasted: Tokens = field(default_factory=Tokens, init=False)

    def __post_init__(self) -> None:
        self._held: dict[int, Tokens] = {}
        self._next = 0
        self._lock = threading.Lock()
        self._began = self.clock()
        self._longest = 0.0
        self.money(Tokens())

    @property
    def capped(self) -> bool:
        """Whether there is any cap to keep."""
        return any((self.caps.tokens, self.caps.euros, self.caps.hours, self.caps.kwh))

    def money(self, tokens: Tokens) -> float:
        """What tokens cost by the price sheet; its dollars are taken for euros, which errs to the safe side."""
        if not self.price_of:
            return 0.0
        return tokens_cost(self.price_of, tokens.prompt, tokens.completion, tokens.cached, tokens.reasoning).value

    def reserve(self, worst: Tokens) -> int | None:
        """Hold back the worst that a request can cost; None where it might break a cap.

        Returns:
            A receipt for ``settle``.
        """
        with self._lock:
            if self._breaks(worst):
                return None
            self._next += 1
            self._held[self._next] = worst
            return self._next

    def settle(self, receipt: int, tokens: Tokens, seconds: float = 0.0) -> None:
        """A request is over: what it really took."""
        with self._lock:
            del self._held[receipt]
            self.spent = self.spent + tokens
            self._longest = max(self._longest, seconds)

    def waste(self, worst: Tokens) -> bool:
        """Count a failed request as if it had been billed in full; False if that would break a cap."""
        receipt = self.reserve(worst)
        if receipt is not None:
            self.settle(receipt, worst)
            self.wasted = self.wasted + worst
        return receipt is not None

    def count(self, tokens: Tokens) -> None:
        """Tokens that an earlier sitting paid for."""
        with self._lock:
            self.spent = self.spent + tokens

    def refusal(self, done: int, total: int) -> Refused:
        """The error for a cap that is reached."""
        return Refused(
            words(
                en=f"One request more could exceed the budget ({self._said()}); {done} of {total} answers are there.",
                fr=f"Une requête de plus pourrait dépasser le budget ({self._said()}) ; {done} réponses sur {total}.",
            ),
            words(
                en="What is there is kept. Raise [budget] and run again, or ask fewer or shorter answers.",
                fr="Ce qui est là est gardé. Relevez [budget] et relancez, ou demandez moins, ou plus court.",
            ),
        )

    def _breaks(self, worst: Tokens) -> bool:
        caps, all_of_it = self.caps, sum(self._held.values(), self.spent) + worst
        hours = self.hours_before + (self.clock() - self._began) / 3600
        kwh, euros = self.energy()
        # Energy and time of what is in flight, at the pace so far.
        ahead = 1 + self._longest / max(self.clock() - self._began, 1e-9)
        return bool(
            (caps.tokens and all_of_it.total > caps.tokens)
            or (caps.euros and self.money(all_of_it) + euros * ahead > caps.euros)
            or (caps.hours and hours + self._longest / 3600 > caps.hours)
            or (caps.kwh and kwh * ahead > caps.kwh)
        )

    def _said(self) -> str:
        caps = {
            words(en="tokens", fr="jetons"): self.caps.tokens,
            "€": self.caps.euros,
            words(en="hours", fr="heures"): self.caps.hours,
            "kWh": self.caps.kwh,
        }
        return ", ".join(f"{cap:g} {name}" for name, cap in caps.items() if cap)


def nothing() -> Spent:
    """What has been spent where nobody counts."""
    return Spent(0.0, 0.0, 0.0)


def purse_of(whole: recipe.Recipe, spent: Callable[[], Spent] = nothing) -> Purse:
    """The purse of a recipe. An endpoint on another machine has a price, which must be known where money is capped.

    Args:
        spent: what all sittings have cost so far, besides what the teacher is paid.

    Raises:
        BadInput: the price sheet does not know the model.
    """

    def energy() -> tuple[float, float]:
        now = spent()
        return now.kwh, now.euros

    priced = whole.teacher.kind == "endpoint" and whole.teacher.remote_allowed and whole.budget.euros
    return Purse(whole.budget, whole.teacher.model if priced else "", energy, hours_before=spent().hours)
