"""The engine's child process, watched and replaced."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cornue.serve.upstream import OwnEngine, cancel

pytestmark = pytest.mark.anyio


class Child:
    """An engine whose child dies when it is told to."""

    door = ("http://127.0.0.1:1", "key")

    def __init__(self, path: Path) -> None:
        self.path, self.lives, self.starts = path, False, 0

    def start(self) -> None:
        self.lives, self.starts = True, self.starts + 1

    restart = start

    def alive(self) -> bool:
        return self.lives

    def props(self) -> dict[str, Any]:
        return {"chat_template_caps": {"supports_tools": True}}

    def close(self) -> None:
        self.lives = False


async def killed(engine: Child, until: str, before: Callable[[], object] = lambda: None) -> OwnEngine:
    """The engine's keeper, when its child has been killed and something has come of it."""
    upstream = OwnEngine(engine)  # type: ignore[arg-type]
    await upstream.start()
    told: list[str] = []
    task = asyncio.create_task(upstream.watch(lambda: told.append("gone"), lambda: told.append("back")))
    before()
    engine.lives = False
    for _ in range(500):
        await asyncio.sleep(0.01)
        if told and upstream.state == until:
            break
    await cancel(task)
    return upstream


async def test_a_dead_child_is_replaced_at_once(tmp_path: Path) -> None:
    (tmp_path / "model").write_text("weights")
    engine = Child(tmp_path / "model")
    upstream = await killed(engine, "ready")
    assert (upstream.state, engine.starts, upstream.takes_tools) == ("ready", 2, True)


async def test_a_file_that_was_altered_meanwhile_is_not_loaded(tmp_path: Path) -> None:
    file = tmp_path / "model"
    file.write_text("weights")
    engine = Child(file)
    upstream = await killed(engine, "down", lambda: file.write_text("other weights"))
    assert (upstream.state, engine.starts) == ("down", 1)
