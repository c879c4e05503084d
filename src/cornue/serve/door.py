"""Who comes in, under which name, and what every response wears: host and origin checks, size limits, strict headers.

It decides who somebody is, not what they may ask. No address, no key and no content is written to a log.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from urllib.parse import urlsplit

from starlette.datastructures import FormData, Headers, MutableHeaders
from starlette.formparsers import FormParser
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cornue.serve.errors import Refusal
from cornue.serve.keys import Caller, Keys
from cornue.serve.settings import Offer, Settings, salted

COOKIE = "cornue_session"
BODY_SECONDS = 30.0
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " manifest-src 'self'; worker-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# The report of a pack is one self-contained file with its styles and drawings inside, and no script.
REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'; sandbox"
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), browsing-topics=()",
    "cache-control": "no-store",
}
CORS = {
    "access-control-allow-methods": "GET, POST, OPTIONS",
    "access-control-allow-headers": "authorization, content-type",
    "access-control-expose-headers": "retry-after, x-receipt",
    "access-control-max-age": "600",
}


class Guard:
    """Middleware around everything."""

    def __init__(self, app: ASGIApp, offer: Offer, settings: Settings) -> None:
        self.app, self.settings = app, settings
        self.headers = dict(HEADERS)
        if settings.https:
            self.headers["strict-transport-security"] = "max-age=31536000"
        if offer.unverified:
            self.headers["x-cornue-unverified"] = offer.unverified.encode("ascii", "replace").decode()[:200]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Checks a request before anything reads it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        foreign = origin is not None and not self._is_own(origin, scope, headers)
        welcome = origin if foreign and origin in self.settings.origins else None

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                out = MutableHeaders(scope=message)
                for name, value in self.headers.items():
                    out.setdefault(name, value)
                out.add_vary_header("Origin")
                if welcome:
                    out["access-control-allow-origin"] = welcome
                    out["cross-origin-resource-policy"] = "cross-origin"
                    out.update(CORS)
            await send(message)

        try:
            self._check(scope, headers, foreign, welcome)
            if scope["method"] == "OPTIONS" and welcome:
                await dressed({"type": "http.response.start", "status": 204, "headers": []})
                await dressed({"type": "http.response.body", "body": b""})
                return
        except Refusal as refusal:
            await refusal.response()(scope, receive, dressed)
            return
        await self.app(scope, receive, dressed)

    def _check(self, scope: Scope, headers: Headers, foreign: bool, welcome: str | None) -> None:
        host = headers.get("host", "")
        name = host[: host.rfind("]") + 1] if host.startswith("[") else host.partition(":")[0]
        if name.lower() not in self.settings.hosts:
            raise Refusal(421, "This service is not reached under that name.", "wrong_host")
        if foreign and not welcome and scope["method"] not in ("GET", "HEAD"):
            raise Refusal(403, "Requests from that web page are not allowed.", "foreign_origin")
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > self.settings.body_bytes:
            raise too_large(self.settings)

    def _is_own(self, origin: str, scope: Scope, headers: Headers) -> bool:
        return urlsplit(origin).netloc.lower() == headers.get("host", "").lower()


def too_large(settings: Settings) -> Refusal:
    """What is said to a request that is too long."""
    return Refusal(413, f"A request may have {settings.body_bytes} bytes.", "request_too_large")


async def read_body(request: Request, settings: Settings) -> bytes:
    """The body of a request, within the limits of size and time; raises ``Refusal`` beyond them."""
    data = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for piece in request.stream():
                data += piece
                if len(data) > settings.body_bytes:
                    raise too_large(settings)
    except TimeoutError:
        raise Refusal(408, "The request did not arrive in time.", "slow_request") from None
    return bytes(data)


async def read_form(request: Request, settings: Settings) -> FormData:
    """The fields of a form, within the limits of size and time."""
    data = await read_body(request, settings)

    async def once() -> AsyncGenerator[bytes, None]:
        yield data

    return await FormParser(request.headers, once()).parse()


class Door:
    """Tells who somebody is."""

    def __init__(self, keys: Keys, settings: Settings, salt: bytes) -> None:
        self.keys, self.settings, self.salt = keys, settings, salt

    def who(self, request: Request) -> Caller:
        """The caller of a request: by key, cookie, trusted proxy, or as a guest where guests are welcome.

        Raises:
            Refusal: 401.
        """
        scheme, _, text = request.headers.get("authorization", "").partition(" ")
        # Programs that need no key send some word all the same; only what looks like one of ours is checked.
        if scheme and (text.strip().startswith("ck_") or not self.settings.open_to_all):
            return self.keys.caller(text.strip() if scheme.lower() == "bearer" else "")
        cookie = request.cookies.get(COOKIE)
        if cookie and (caller := self.keys.session(cookie)):
            return caller
        address = request.client.host if request.client else ""
        sign_in = self.settings.sign_in
        if sign_in.proxy_header and address in sign_in.proxies:
            person = request.headers.get(sign_in.proxy_header, "").strip()
            if person:
                return self.person(person)
        if self.settings.open_to_all:
            return Caller("guest:" + salted(self.salt, "guest", address), shares_cache=True)
        raise Refusal(401, "An API key is needed: send it as “Authorization: Bearer …”.", "no_api_key")

    def person(self, name: str) -> Caller:
        """Somebody whom a proxy or an identity provider vouches for; their name is not kept."""
        return Caller("person:" + salted(self.salt, "person", name))

    def needs(self, request: Request, *roles: str) -> Caller:
        """The caller, who must have one of some roles; raises ``Refusal`` 401 or 403."""
        caller = self.who(request)
        if caller.role not in roles:
            raise Refusal(403, f"This needs a key with the role {' or '.join(roles)}.", "wrong_role")
        return caller
