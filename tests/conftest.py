"""What holds for every test: messages are in English, whatever the reader's locale and whatever ran before.

Where several processes share the tests, they share the cores: each computes with its part of them. No property test
has a deadline, since machines are slow at times.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
SHARED_BY = os.environ.get("PYTEST_XDIST_WORKER_COUNT")
if SHARED_BY:
    # Read when torch is first imported, here and in every process that a test starts.
    os.environ["OMP_NUM_THREADS"] = str(max(1, len(os.sched_getaffinity(0)) // int(SHARED_BY)))


@pytest.fixture(autouse=True)
def _in_english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORNUE_LANG", "en")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Products on one thread, for tests that compare roundings; the next test finds what was there before."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
