"""The service as one application: everything that lives as long as it does is made here and put together.

``create_app`` takes what is offered, the settings and an engine; ``serve`` runs it. It decides nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response

from cornue.records.errors import OutsideFailure
from cornue.seal.keys import new_key, read_key
from cornue.serve.api import Api
from cornue.serve.desk import Desk
from cornue.serve.door import Door, Guard
from cornue.serve.errors import Refusal
from cornue.serve.keys import DAY, Keys, service_secret
from cornue.serve.meter import SharedMeter, machine_counter
from cornue.serve.pages import Pages
from cornue.serve.receipts import Receipts
from cornue.serve.settings import Offer, Settings
from cornue.serve.store import open_store
from cornue.serve.texts import Words
from cornue.serve.upstream import Upstream, cancel

TICK_SECONDS = 1.0
SEAL_SECONDS = 30.0
SWEEP_SECONDS = 3600.0


def create_app(offer: Offer, settings: Settings, upstream: Upstream) -> Starlette:
    """The application.

    Raises:
        BadInput, OutsideFailure: the data folder or the database cannot be used.
    """
    store = open_store(settings.data, settings.database)
    salt = service_secret(store)
    path = settings.data / "serving.pem"
    key = read_key(path) if path.exists() else new_key(path)
    receipts = Receipts(store, key, settings.node)
    keys = Keys(store)
    meter = SharedMeter(machine_counter(upstream.seconds, settings.watts))
    desk = Desk(offer, settings, upstream, receipts, meter, salt)
    door = Door(keys, settings, salt)
    pages = Pages(desk, door, keys, key.public.pem.decode())

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        receipts.close_the_open()
        await upstream.start()
        tasks = [
            asyncio.create_task(upstream.watch(desk.queue.pause, desk.queue.resume)),
            asyncio.create_task(_housekeeping(desk, settings)),
        ]
        try:
            yield
        finally:
            for task in tasks:
                await cancel(task)
            await upstream.close()
            receipts.meter = meter.totals()
            receipts.seal()
            store.close()

    async def on_refusal(request: Request, refusal: Exception) -> Response:
        assert isinstance(refusal, Refusal)
        if request.url.path == "/ask":
            return Words(pages.language(request)).told(refusal).response()
        if _is_program(request):
            return refusal.response()
        return pages.refusal(request, refusal)

    async def on_outside_failure(request: Request, error: Exception) -> Response:
        return await on_refusal(request, Refusal(503, "The record of this service cannot be kept now.", "record_down"))

    async def on_http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        sentence = {404: "There is nothing here.", 405: "This address does not take that method."}
        refusal = Refusal(error.status_code, sentence.get(error.status_code, error.detail), "no_such_route")
        response = await on_refusal(request, refusal)
        response.headers.update(error.headers or {})
        return response

    app = Starlette(
        routes=[*Api(desk, door).routes(), *pages.routes()],
        middleware=[Middleware(Guard, offer=offer, settings=settings)],
        exception_handlers={Refusal: on_refusal, OutsideFailure: on_outside_failure, HTTPException: on_http_error},
        lifespan=lifespan,
    )
    app.state.desk = desk
    return app


async def _housekeeping(desk: Desk, settings: Settings) -> None:
    """Reads the meter, signs receipts, and once an hour erases what is too old."""
    sealed = swept = time.monotonic()
    while True:
        await asyncio.sleep(TICK_SECONDS)
        desk.meter.tick()
        now = time.monotonic()
        if now - sealed > SEAL_SECONDS:
            sealed = now
            desk.receipts.meter = desk.meter.totals()
            desk.receipts.seal()
        if settings.keep_days and now - swept > SWEEP_SECONDS:
            swept = now
            forget_before(desk.receipts, time.time() - settings.keep_days * DAY)


def forget_before(receipts: Receipts, moment: float) -> None:
    """Erases receipts, usage and contests from before a moment."""
    receipts.erase_before(moment)
    receipts.store.do("DELETE FROM usage WHERE day < ?", time.strftime("%Y-%m-%d", time.gmtime(moment)))
    receipts.store.do("DELETE FROM contests WHERE created < ?", moment)


def _is_program(request: Request) -> bool:
    """Whether JSON is expected rather than a page."""
    path = request.url.path
    programs = ("/v1", "/health", "/metrics", "/openapi.json")
    return path.startswith(programs) or "text/html" not in request.headers.get("accept", "")
