"""The administration page: keys, their use, and replies to contests. For callers with the role ``admin``.

Plain forms, no script. It shows what a key has used, never who used it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, get_args

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from cornue.records.errors import BadInput
from cornue.serve.door import read_form
from cornue.serve.errors import Refusal
from cornue.serve.keys import DAY, Role

if TYPE_CHECKING:
    from cornue.serve.pages import Pages

LONGEST_REPLY = 4_000


class Admin:
    """The routes under ``/admin``."""

    def __init__(self, pages: Pages) -> None:
        self.pages, self.keys, self.store = pages, pages.keys, pages.store

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            Route("/admin", self.overview),
            Route("/admin/create", self.create, methods=["POST"]),
            Route("/admin/revoke", self.revoke, methods=["POST"]),
            Route("/admin/reply", self.reply, methods=["POST"]),
        ]

    async def overview(self, request: Request) -> Response:
        """``GET /admin``."""
        self.pages.door.needs(request, "admin")
        return self._page(request)

    async def create(self, request: Request) -> Response:
        """``POST /admin/create``: a new key, shown once."""
        self.pages.door.needs(request, "admin")
        form = await self._form(request)
        try:
            days = float(form["days"]) if form.get("days") else None
            limits = [int(form.get(name) or 0) for name in ("per_minute", "per_day")]
            _, text = self.keys.create(form.get("name", ""), form.get("role", "user"), days, *limits)
        except (BadInput, ValueError) as error:
            raise Refusal(400, str(error), "bad_key") from None
        return self._page(request, text)

    async def revoke(self, request: Request) -> Response:
        """``POST /admin/revoke``."""
        self.pages.door.needs(request, "admin")
        form = await self._form(request)
        try:
            self.keys.revoke(form.get("id", ""))
        except BadInput as error:
            raise Refusal(400, str(error), "bad_key") from None
        return RedirectResponse("/admin", 303)

    async def reply(self, request: Request) -> Response:
        """``POST /admin/reply``: answers a contest."""
        self.pages.door.needs(request, "admin")
        form = await self._form(request)
        self.store.do(
            "UPDATE contests SET reply = ?, replied = ? WHERE id = ?",
            *(form.get("reply", "").strip()[:LONGEST_REPLY], time.time(), form.get("id", "")),
        )
        return RedirectResponse("/admin#contests", 303)

    async def _form(self, request: Request) -> dict[str, Any]:
        return {name: str(value) for name, value in (await read_form(request, self.pages.settings)).items()}

    def _page(self, request: Request, created: str = "") -> Response:
        now = time.time()
        since = time.strftime("%Y-%m-%d", time.gmtime(now - 30 * DAY))
        sql = "SELECT key_id, SUM(requests), SUM(prompt_tokens + completion_tokens), SUM(joules) FROM usage"
        rows = self.store.rows(f"{sql} WHERE day >= ? GROUP BY key_id", since)
        names = ("id", "receipt_id", "created", "note", "question", "answer", "public", "reply")
        contests = self.store.rows(f"SELECT {', '.join(names)} FROM contests ORDER BY created DESC LIMIT 200")
        return self.pages.show(
            request,
            "admin.html",
            keys=[(key, key.state(now)) for key in self.keys.all()],
            used={row[0]: row[1:] for row in rows},
            contests=[dict(zip(names, row, strict=True)) for row in contests],
            roles=get_args(Role),
            created=created,
        )
