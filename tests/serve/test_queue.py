"""The queue: fair between keys, bounded, and careful about whose text a slot holds."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cornue.serve.errors import Refusal
from cornue.serve.queue import FairQueue, Ticket

pytestmark = pytest.mark.anyio


def make(slots: int = 1, limit: int = 100, per_key: int = 50, patience: float = 1e9) -> FairQueue:
    return FairQueue(slots, limit, per_key, patience)


def finish_all(queue: FairQueue) -> list[str]:
    """Serves everything one by one; the owners in the order in which they were served."""
    order = []
    while queue.running:
        ticket = next(iter(queue.running.values()))
        order.append(ticket.owner)
        queue.leave(ticket)
    return order


async def test_keys_take_turns_however_many_requests_one_has() -> None:
    queue = make()
    for owner in ["greedy"] * 5 + ["modest"] * 2:
        queue.enter(owner)
    assert finish_all(queue) == ["greedy", "greedy", "modest", "greedy", "modest", "greedy", "greedy"]


async def test_a_position_is_the_number_of_requests_served_before() -> None:
    queue = make()
    queue.enter("a")
    tickets = [queue.enter(owner) for owner in ["a", "a", "b", "c", "c", "a"]]
    predicted = sorted(tickets, key=queue.position)
    served: list[Ticket] = []
    while queue.running:
        ticket = next(iter(queue.running.values()))
        served.append(ticket)
        queue.leave(ticket)
    assert served[1:] == predicted


async def test_a_full_queue_refuses_with_a_time_and_a_position() -> None:
    queue = make(limit=2)
    for owner in "abc":
        queue.enter(owner)
    with pytest.raises(Refusal) as caught:
        queue.enter("d")
    assert caught.value.status == 503
    assert caught.value.position == 2
    assert caught.value.headers()["Retry-After"]


async def test_one_key_cannot_fill_the_queue() -> None:
    queue = make(per_key=2)
    for _ in range(3):
        queue.enter("greedy")
    with pytest.raises(Refusal) as caught:
        queue.enter("greedy")
    assert caught.value.status == 429
    queue.enter("modest")


async def test_whoever_was_refused_first_gets_in_first() -> None:
    queue = make(limit=1)
    running = queue.enter("running")
    waiting = queue.enter("waiting")
    for owner in ("early", "late"):
        with pytest.raises(Refusal):
            queue.enter(owner)
    queue.leave(running)
    queue.leave(waiting)
    queue.enter("early")
    queue.enter("late")
    assert finish_all(queue) == ["early", "late"]


async def test_a_late_key_does_not_jump_the_virtual_line() -> None:
    queue = make(limit=1)
    queue.enter("running")
    waiting = queue.enter("waiting")
    with pytest.raises(Refusal):
        queue.enter("early")
    queue.leave(waiting)
    with pytest.raises(Refusal):
        queue.enter("late")
    queue.enter("early")


async def test_a_slot_is_warm_only_for_the_key_whose_text_it_holds() -> None:
    queue = make()
    warm = []
    for owner in ["a", "a", "b", "a"]:
        ticket = queue.enter(owner)
        warm.append(ticket.warm)
        queue.leave(ticket)
    assert warm == [False, True, False, False]


async def test_a_restarted_engine_holds_nobodys_text() -> None:
    queue = make()
    queue.leave(queue.enter("a"))
    queue.pause()
    queue.resume()
    assert not queue.enter("a").warm


async def test_a_replay_runs_alone() -> None:
    queue = make(slots=2)
    first = queue.enter("a")
    replay = queue.enter("b", alone=True)
    other = queue.enter("c")
    assert [ticket.slot for ticket in (first, replay, other)] == [0, -1, -1]
    queue.leave(first)
    assert replay.slot >= 0
    assert other.slot == -1
    queue.leave(replay)
    assert other.slot >= 0


async def test_nothing_is_handed_out_while_the_engine_is_away() -> None:
    queue = make()
    queue.pause()
    ticket = queue.enter("a")
    assert not ticket.turn.done()
    queue.resume()
    assert ticket.turn.done()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.booleans(), st.booleans()), max_size=60), st.integers(1, 3))
def test_every_request_leaves_and_no_slot_is_lost(moves: list[tuple[str, bool, bool]], slots: int) -> None:
    async def play() -> None:
        queue = make(slots, limit=20, per_key=8)
        inside: list[Ticket] = []
        for owner, alone, leave in moves:
            if leave and inside:
                queue.leave(inside.pop(0))
                continue
            try:
                inside.append(queue.enter(owner, alone))
            except Refusal:
                continue
            assert len(queue.running) <= slots
            assert not any(t.alone for t in queue.running.values()) or len(queue.running) == 1
        for ticket in inside:
            queue.leave(ticket)
        assert not queue.running and not len(queue)

    asyncio.run(play())


async def test_keys_that_ask_without_pause_are_served_alike() -> None:
    queue = make(slots=2, limit=10, per_key=4)
    served: Counter[str] = Counter()
    tickets: list[Ticket] = []
    for _ in range(400):
        for key in range(20):
            try:
                tickets.append(queue.enter(str(key)))
            except Refusal:
                continue
        for ticket in list(queue.running.values()):
            served[ticket.owner] += 1
            queue.leave(ticket)
    counts = list(served.values())
    jain = sum(counts) ** 2 / (20 * sum(count**2 for count in counts))
    assert jain > 0.99
