"""No cap is ever exceeded, whatever is in flight."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cornue.capture.ask import run_capture
from cornue.capture.budget import Purse, Tokens
from cornue.capture.store import Journal
from cornue.capture.teacher_endpoint import EndpointTeacher
from cornue.records.errors import BadInput, OutsideFailure, Refused
from cornue.records.recipe import Budget, Capture
from cornue.records.samples import Message, Prompt, Sample
from pretend.endpoint import FakeEndpoint


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 2000),
    st.lists(st.tuples(st.integers(0, 200), st.integers(1, 200), st.floats(0, 1), st.booleans()), max_size=40),
)
def test_tokens_stay_below_the_cap_in_any_order_of_events(
    cap: int, requests: list[tuple[int, int, float, bool]]
) -> None:
    purse = Purse(Budget(tokens=cap))
    flying: list[tuple[int, Tokens]] = []
    for prompt, completion, share, comes_back in requests:
        receipt = purse.reserve(Tokens(prompt, completion))
        if receipt is not None:
            flying.append((receipt, Tokens(prompt, int(completion * share))))
        if comes_back and flying:
            purse.settle(*flying.pop(0))
    for receipt, tokens in flying:
        purse.settle(receipt, tokens)
    assert purse.spent.total <= cap


def test_money_is_priced_by_the_sheet_with_cached_and_reasoning_tokens() -> None:
    purse = Purse(price_of="deepseek-reasoner")
    fresh = purse.money(Tokens(prompt=1_000_000, completion=1_000_000))
    cached = purse.money(Tokens(prompt=1_000_000, completion=500_000, cached=1_000_000, reasoning=500_000))
    assert fresh == pytest.approx(0.55 + 2.19)
    assert cached == pytest.approx(0.14 + 2.19)


def test_money_is_never_exceeded() -> None:
    purse = Purse(Budget(euros=0.01), price_of="deepseek-reasoner")
    worst = Tokens(prompt=100, completion=1000)
    while (receipt := purse.reserve(worst)) is not None:
        purse.settle(receipt, worst)
    assert 0.007 < purse.money(purse.spent) <= 0.01


def test_a_model_without_a_price_is_named() -> None:
    with pytest.raises(BadInput, match="nobody-1"):
        Purse(Budget(euros=1), price_of="nobody-1")


def test_time_is_kept_with_the_longest_request_in_hand() -> None:
    now = [0.0]
    purse = Purse(Budget(hours=1), clock=lambda: now[0])
    receipt = purse.reserve(Tokens(1, 1))
    assert receipt is not None
    purse.settle(receipt, Tokens(1, 1), seconds=600)
    now[0] = 2900
    assert purse.reserve(Tokens(1, 1)) is not None
    now[0] = 3100
    assert purse.reserve(Tokens(1, 1)) is None


def test_energy_is_kept_with_what_is_in_flight() -> None:
    now, kwh = [0.0], [0.0]
    purse = Purse(Budget(kwh=0.1), energy=lambda: (kwh[0], 0.02), clock=lambda: now[0])
    receipt = purse.reserve(Tokens(1, 1))
    assert receipt is not None
    purse.settle(receipt, Tokens(1, 1), seconds=100)
    now[0], kwh[0] = 1000, 0.08
    assert purse.reserve(Tokens(1, 1)) is not None
    kwh[0] = 0.095
    assert purse.reserve(Tokens(1, 1)) is None


def test_without_caps_everything_is_allowed() -> None:
    purse = Purse()
    assert not purse.capped
    assert all(purse.reserve(Tokens(10**9, 10**9)) for _ in range(3))


def question(number: int) -> Prompt:
    return Prompt.make((Message(role="user", content=f"question {number}"),))


def test_what_was_in_flight_when_a_sitting_was_killed_counts_as_spent(tmp_path: Path) -> None:
    header = {"teacher": "t"}
    with Journal(tmp_path / "j", header) as journal:
        journal.ask("a", Tokens(10, 20))
        journal.ask("b", Tokens(1, 2))
        journal.add("a", Sample(prompt_id="p", text="x", prompt_tokens=3), wasted=Tokens(100, 200))
    with Journal(tmp_path / "j", header) as journal:
        assert journal.lost == Tokens(101, 202)
        journal.ask("b", Tokens(1, 2))
    with Journal(tmp_path / "j", header) as journal:
        assert journal.lost == Tokens(102, 204)
        journal.ask("b", Tokens(1, 2))
        journal.add("b", Sample(prompt_id="q", text="x"))
    with Journal(tmp_path / "j", header) as journal:
        assert journal.lost == Tokens(102, 204)


def test_a_cap_holds_over_sittings_that_end_in_the_middle(tmp_path: Path) -> None:
    prompts = [question(number) for number in range(30)]
    with FakeEndpoint(faults=0.3, kinds=("cut",), changes_after=8) as endpoint:
        for changes_after in (8, 0):
            endpoint.changes_after = changes_after
            teacher = EndpointTeacher(endpoint.url, "pretend-1", pause=0.001, slots=4)
            purse = Purse(Budget(tokens=1200))
            with contextlib.suppress(Refused, OutsideFailure):
                run_capture(teacher, prompts, Capture(max_tokens=20), tmp_path / "1-capture", purse=purse)
            teacher.close()
        # Everything that the endpoint could have billed: all that it was asked, at its size.
        billed = sum(len(str(request["messages"]).split()) + 5 for request in endpoint.asked)
    assert 0 < billed <= purse.spent.total <= 1200


def test_hours_of_earlier_sittings_count() -> None:
    now = [0.0]
    purse = Purse(Budget(hours=1), clock=lambda: now[0], hours_before=0.9)
    assert purse.reserve(Tokens(1, 1)) is not None
    now[0] = 400
    assert purse.reserve(Tokens(1, 1)) is None
