"""The two databases behave alike. PostgreSQL is tried where ``CORNUE_TEST_POSTGRES`` names one that may be written."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cornue.records.errors import BadInput, OutsideFailure
from cornue.seal.keys import new_key
from cornue.serve.keys import Keys, service_secret
from cornue.serve.receipts import Receipts, check_export
from cornue.serve.store import Store, open_store

POSTGRES = os.environ.get("CORNUE_TEST_POSTGRES", "")
KINDS = ["", pytest.param(POSTGRES, marks=pytest.mark.skipif(not POSTGRES, reason="CORNUE_TEST_POSTGRES is not set"))]


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    opened = open_store(tmp_path / "data", request.param)
    for table in ("keys", "answers", "batches", "secrets", "usage", "sessions"):
        opened.do(f"DELETE FROM {table}")
    yield opened
    opened.close()


def test_what_fails_midway_leaves_nothing(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), store.together():
        store.do("INSERT INTO secrets VALUES (?, ?)", "a", "b")
        _ = 1 / 0
    assert store.rows("SELECT * FROM secrets WHERE name = ?", "a") == []


def test_keys_and_secrets_are_kept(store: Store) -> None:
    keys = Keys(store)
    key, text = keys.create("library", days=1)
    assert keys.caller(text).key_id == key.id
    assert keys.session(keys.open_session(keys.caller(text)))
    assert service_secret(store) == service_secret(store)
    keys.revoke(key.id)


def test_many_writers_make_one_chain(store: Store, tmp_path: Path) -> None:
    key = new_key(tmp_path / "key.pem")
    receipts = Receipts(store, key)

    def work() -> None:
        for _ in range(20):
            receipts.complete(receipts.intend("owner", {}), "completed", {})

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    receipts.seal()
    lines = list(receipts.export())
    assert len([line for line in lines if "receipt" in line and "statement" not in line]) == 80
    assert check_export(lines, key.public) == []


def test_a_statement_that_fails_is_a_failure_outside(store: Store) -> None:
    with pytest.raises(OutsideFailure):
        store.rows("SELECT * FROM nowhere")


def test_another_kind_of_database_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput):
        open_store(tmp_path, "mysql://x")
