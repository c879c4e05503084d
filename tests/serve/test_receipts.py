"""Receipts: one for each request, chained, signed, and checkable by a stranger."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cornue.seal.keys import SigningKey, new_key
from cornue.serve.receipts import Receipts, check_export, check_receipt
from cornue.serve.store import SqliteStore


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> SigningKey:
    return new_key(tmp_path_factory.mktemp("key") / "serving.pem")


def fill(key: SigningKey, count: int, store: SqliteStore | None = None) -> Receipts:
    receipts = Receipts(store or SqliteStore(":memory:"), key)
    for number in range(count):
        receipts.complete(receipts.intend("owner", {"model": "m"}), "completed", {"tokens": number})
    receipts.seal()
    return receipts


def test_an_honest_export_holds(key: SigningKey) -> None:
    assert check_export(fill(key, 150).export(), key.public) == []


def test_a_receipt_holds_with_its_proof_alone(key: SigningKey) -> None:
    receipts = fill(key, 5)
    identity = json.loads(next(receipts.export()))["receipt"]["id"]
    found = receipts.find(identity, "owner")
    assert found is not None
    assert check_receipt(found, key.public) == []


def test_an_altered_receipt_is_found_out(key: SigningKey) -> None:
    receipts = fill(key, 5)
    found: Any = receipts.find(json.loads(next(receipts.export()))["receipt"]["id"], None)
    found["receipt"]["tokens"] = 99
    assert check_receipt(found, key.public)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 8), st.sampled_from(["drop", "alter", "double", "swap"]))
def test_a_changed_export_is_found_out(place: int, how: str) -> None:
    lines = list(HONEST.export())
    if how == "drop":
        del lines[place]
    elif how == "alter":
        lines[place] = lines[place].replace('"tokens": ', '"tokens": 1')
    elif how == "double":
        lines.insert(place, lines[place])
    else:
        lines[place], lines[place + 1] = lines[place + 1], lines[place]
    assert check_export(lines, HONEST.key.public)


def test_another_key_is_not_accepted(key: SigningKey, tmp_path: Path) -> None:
    assert check_export(fill(key, 3).export(), new_key(tmp_path / "other.pem").public)


def test_a_second_completion_changes_nothing(key: SigningKey) -> None:
    receipts = fill(key, 0)
    identity = receipts.intend("owner", {})
    first = receipts.complete(identity, "completed", {"tokens": 1})
    assert receipts.complete(identity, "failed", {"tokens": 2}) == first
    assert len(list(receipts.export())) == 1


def test_what_a_killed_process_left_open_is_interrupted_once(key: SigningKey, tmp_path: Path) -> None:
    killed = fill(key, 2, SqliteStore(tmp_path / "db"))
    identity = killed.intend("owner", {"model": "m"})
    for _ in range(2):
        risen = Receipts(SqliteStore(tmp_path / "db"), key)
        risen.close_the_open()
        risen.seal()
        found = risen.find(identity, "owner")
        assert found is not None
        assert found["receipt"]["state"] == "interrupted"
        assert check_export(risen.export(), key.public) == []


def test_a_machine_leaves_the_requests_of_another_alone(key: SigningKey, tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "db")
    Receipts(store, key, node="a").intend("owner", {})
    assert Receipts(store, key, node="b").close_the_open() == 0
    assert Receipts(store, key, node="a").close_the_open() == 1


def test_a_receipt_belongs_to_its_owner(key: SigningKey) -> None:
    receipts = fill(key, 1)
    identity = json.loads(next(receipts.export()))["receipt"]["id"]
    assert receipts.find(identity, "somebody else") is None
    assert receipts.find("r_unknown", None) is None


def test_erased_receipts_leave_a_chain_that_holds(key: SigningKey) -> None:
    receipts = fill(key, 4)
    receipts.erase_before(receipts.clock() + 1)
    lines = list(receipts.export())
    assert not any("tokens" in line for line in lines)
    assert check_export(lines, key.public) == []


def _honest() -> Receipts:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return fill(new_key(Path(folder) / "key.pem"), 9)


HONEST = _honest()
