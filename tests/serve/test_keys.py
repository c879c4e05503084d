"""Keys, sessions and limits."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cornue.records.errors import BadInput
from cornue.serve.errors import Refusal
from cornue.serve.keys import DAY, Caller, Keys
from cornue.serve.limits import Limits
from cornue.serve.settings import Settings
from cornue.serve.store import SqliteStore


class Clock:
    """A clock that is turned by hand."""

    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(clock: Clock) -> Keys:
    return Keys(SqliteStore(":memory:"), clock)


FACTS = {"tokens": {"prompt": 30, "completion": 20}, "energy": {"value": 1.0}, "money": {"value": 0.1}}


def test_a_key_opens_and_its_secret_is_not_kept(keys: Keys) -> None:
    key, text = keys.create("library", "auditor")
    assert keys.caller(text) == Caller(f"key:{key.id}", "auditor", key.id)
    dump = str(keys.store.rows("SELECT * FROM keys"))
    assert text.rpartition("_")[2][:20] not in dump


@pytest.mark.parametrize("text", ["", "ck_", "sk-123", "ck_aaaaaaaaaa_" + "A" * 43, "ck_' OR 1=1 --_" + "A" * 43])
def test_a_wrong_key_is_refused(keys: Keys, text: str) -> None:
    keys.create("library")
    with pytest.raises(Refusal) as caught:
        keys.caller(text)
    assert caught.value.status == 401


@settings(max_examples=20, deadline=None)
@given(st.text())
def test_no_text_guesses_a_key(text: str) -> None:
    keys = Keys(SqliteStore(":memory:"))
    keys.create("library")
    with pytest.raises(Refusal):
        keys.caller(text)


def test_an_expired_key_is_named_as_such(keys: Keys, clock: Clock) -> None:
    _, text = keys.create("library", days=2)
    keys.caller(text)
    clock.now += 2 * DAY
    with pytest.raises(Refusal, match="expired"):
        keys.caller(text)


def test_a_revoked_key_takes_its_sessions_along(keys: Keys) -> None:
    key, text = keys.create("library")
    cookie = keys.open_session(keys.caller(text))
    assert keys.session(cookie)
    keys.revoke(key.id)
    assert keys.session(cookie) is None
    with pytest.raises(Refusal, match="revoked"):
        keys.caller(text)


def test_a_session_ends_after_half_a_day(keys: Keys, clock: Clock) -> None:
    cookie = keys.open_session(Caller("person:x"))
    assert keys.session(cookie) == Caller("person:x")
    clock.now += DAY
    assert keys.session(cookie) is None


@pytest.mark.parametrize("wrong", [{"name": ""}, {"name": "a", "role": "root"}, {"name": "a", "days": -1}])
def test_a_key_that_cannot_be_is_refused(keys: Keys, wrong: dict[str, object]) -> None:
    with pytest.raises(BadInput):
        keys.create(**wrong)  # type: ignore[arg-type]


def limits(clock: Clock, **settings: int) -> Limits:
    from pathlib import Path

    return Limits(SqliteStore(":memory:"), Settings(data=Path("unused"), **settings), clock)  # type: ignore[arg-type]


def test_a_minute_has_room_again_after_the_time_that_was_told(clock: Clock) -> None:
    limit = limits(clock, requests_per_minute=3)
    caller = Caller("key:a", key_id="a")
    for _ in range(3):
        limit.allow(caller, 1)
    with pytest.raises(Refusal) as caught:
        limit.allow(caller, 1)
    clock.now += float(caught.value.headers()["Retry-After"])
    limit.allow(caller, 1)
    limit.allow(Caller("key:b", key_id="b"), 1)


def test_one_huge_request_does_not_slip_under_a_quota(clock: Clock) -> None:
    limit = limits(clock)
    caller = Caller("key:a", key_id="a", tokens_per_day=100)
    with pytest.raises(Refusal) as caught:
        limit.allow(caller, 101)
    assert caught.value.status == 429


def test_what_is_set_aside_counts_until_it_is_used(clock: Clock) -> None:
    limit = limits(clock)
    caller = Caller("key:a", key_id="a", tokens_per_day=100)
    limit.allow(caller, 80)
    limit.reserve(caller, "job", 80)
    with pytest.raises(Refusal):
        limit.allow(caller, 40)
    limit.book(caller, "job", FACTS)
    limit.allow(caller, 40)
    assert limit.used_today(caller) == 50
    clock.now += DAY
    assert limit.used_today(caller) == 0
