"""What holds for every test: messages are in English, whatever the reader's locale and whatever ran before."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _in_english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORNUE_LANG", "en")
