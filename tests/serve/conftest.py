"""A whole service over the pretend engine, without sockets."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from cornue.serve.app import create_app
from cornue.serve.settings import Offer, Settings
from cornue.serve.upstream import Elsewhere
from cornue.sources.register import Register
from pretend.engine import FakeEngine

CSV = "nom,departement,population\nVannes,Morbihan,54020\nAuray,Morbihan,14417\nQuimper,Finistère,63642\n"


@pytest.fixture
def anyio_backend() -> str:
    """The only event loop that the service runs on."""
    return "asyncio"


@pytest.fixture
def register(tmp_path: Path) -> Register:
    """A register of three communes."""
    path = tmp_path / "communes.csv"
    path.write_text(CSV, encoding="utf-8")
    return Register.open(path)


def upstream_of(engine: FakeEngine) -> Elsewhere:
    """A pretend engine as an upstream, called without a socket."""
    upstream = Elsewhere("http://engine", salts=True)
    upstream.client = httpx.AsyncClient(transport=httpx.ASGITransport(engine.app()), base_url="http://engine")
    return upstream


Open = Callable[..., contextlib.AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture
def service(tmp_path: Path) -> Open:
    """Opens a service: ``async with service(engine, offer=…, settings…) as client``; ``client.desk`` is its desk."""

    @contextlib.asynccontextmanager
    async def opened(
        engine: FakeEngine, offer: Offer | None = None, **settings: Any
    ) -> AsyncIterator[httpx.AsyncClient]:
        base = Settings(data=tmp_path / "data", hosts=("service",))
        app = create_app(offer or Offer("student", language="en"), replace(base, **settings), upstream_of(engine))
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
                client.desk = app.state.desk  # type: ignore[attr-defined]
                yield client

    return opened
