"""Who is served next: a bounded queue, fair between keys, over the engine's slots.

Keys take turns, however many requests each has waiting. When the queue is full a refused key keeps its place in a
virtual line for as long as it was told to wait, so that persistence and luck do not decide who gets in. A request that
asks for replay runs alone. Each slot remembers whose text it last held, which is how one key's prompt stays out of
another's cache. It knows nothing of HTTP and does not measure time itself.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from cornue.serve.errors import Refusal

GRACE = 15.0
# Too short a guess costs a few visits in vain; too long a one leaves slots empty while people stay away.
FIRST_GUESS = 0.5
WEIGHT = 0.1


@dataclass(eq=False)
class Ticket:
    """A place in the queue, then a slot."""

    owner: str
    alone: bool = False
    turn: asyncio.Future[int] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    slot: int = -1
    warm: bool = False
    """Whether the slot last held this owner's text, so that its cache may be used."""
    started: float = 0.0


class FairQueue:
    """The queue of one engine.

    Args:
        slots: requests that run at once.
        limit: requests that may wait, all keys together.
        per_key: requests that may wait for one key.
        patience: longest wait, in seconds; what would wait longer is refused at once.
    """

    def __init__(
        self, slots: int, limit: int, per_key: int, patience: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.slots, self.limit, self.per_key, self.patience, self.clock = slots, limit, per_key, patience, clock
        self.waiting: OrderedDict[str, deque[Ticket]] = OrderedDict()
        self.running: dict[int, Ticket] = {}
        self.held: dict[int, str] = {}
        self.refused: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self.mean = FIRST_GUESS
        self.answered = 0
        self.open = True

    def __len__(self) -> int:
        return sum(len(line) for line in self.waiting.values())

    def enter(self, owner: str, alone: bool = False) -> Ticket:
        """A place in the queue.

        Raises:
            Refusal: 429 when this key has too many waiting, 503 when the queue is full.
        """
        own = len(self.waiting.get(owner, ()))
        if own >= self.per_key:
            wait = self.seconds_for(len(self))
            raise Refusal(
                429, f"This key already has {own} requests waiting.", "too_many_waiting", retry_after=wait, position=own
            )
        self._forget_the_absent()
        line = len(self)
        before = self._ahead_in_the_virtual_line(owner)
        if len(self.running) >= self.slots and (line + before >= self.limit or self.seconds_for(line) > self.patience):
            self._remember(owner, line + before)
        self.refused.pop(owner, None)
        ticket = Ticket(owner, alone)
        self.waiting.setdefault(owner, deque()).append(ticket)
        self._hand_out()
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """Gives up the place or the slot; safe to call twice."""
        if self.running.get(ticket.slot) is ticket:
            del self.running[ticket.slot]
            self.answered += 1
            self.mean += max(WEIGHT, 1 / self.answered) * (self.clock() - ticket.started - self.mean)
        else:
            line = self.waiting.get(ticket.owner, deque())
            if ticket in line:
                line.remove(ticket)
                if not line:
                    del self.waiting[ticket.owner]
        ticket.turn.cancel()
        self._hand_out()

    def pause(self) -> None:
        """Hands out no more slots, until ``resume``; whatever the slots held is gone."""
        self.open = False
        self.held.clear()

    def resume(self) -> None:
        """Hands out slots again."""
        self.open = True
        self._hand_out()

    def position(self, ticket: Ticket) -> int:
        """How many requests are served before this one."""
        line = self.waiting.get(ticket.owner)
        if not line or ticket not in line:
            return 0
        place = line.index(ticket)
        before = 0
        passed = False
        for owner, others in self.waiting.items():
            if owner == ticket.owner:
                passed = True
                before += place
            else:
                before += min(len(others), place if passed else place + 1)
        return before

    def seconds_for(self, position: int) -> float:
        """How long the request at a position will wait, from how long answers lately took."""
        return (position + 1) * self.mean / self.slots

    def _remember(self, owner: str, line: int) -> None:
        wait = min(self.seconds_for(max(0, line - self.limit)), self.patience)
        since = self.refused.get(owner, (self.clock(), 0.0))[0]
        self.refused[owner] = (since, self.clock() + wait + GRACE)
        raise Refusal(
            503,
            f"Everyone is being served in turn and {line} requests stand before this one. Try again in {wait:.0f} s.",
            "queue_full",
            retry_after=wait,
            position=line,
        )

    def _ahead_in_the_virtual_line(self, owner: str) -> int:
        mine = self.refused.get(owner, (self.clock(), 0.0))[0]
        return sum(since < mine for key, (since, _) in self.refused.items() if key != owner)

    def _forget_the_absent(self) -> None:
        now = self.clock()
        for owner in [owner for owner, (_, until) in self.refused.items() if until < now]:
            del self.refused[owner]

    def _hand_out(self) -> None:
        while self.open and self.waiting and len(self.running) < self.slots:
            owner, line = next(iter(self.waiting.items()))
            ticket = line[0]
            someone_alone = any(other.alone for other in self.running.values())
            if someone_alone or (ticket.alone and self.running):
                return
            line.popleft()
            self.waiting.move_to_end(owner)
            if not line:
                del self.waiting[owner]
            self._give(ticket)

    def _give(self, ticket: Ticket) -> None:
        free = [slot for slot in range(self.slots) if slot not in self.running]
        # One's own slot first, then one that nobody holds, then somebody else's, whose text is then not reused.
        slot = min(free, key=lambda slot: (self.held.get(slot) != ticket.owner, slot in self.held, slot))
        ticket.slot, ticket.warm, ticket.started = slot, self.held.get(slot) == ticket.owner, self.clock()
        self.held[slot] = ticket.owner
        self.running[slot] = ticket
        if not ticket.turn.done():
            ticket.turn.set_result(slot)
