"""Who comes in, and what every response wears."""

from __future__ import annotations

import base64
import json
import time
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from starlette.requests import Request

from cornue.serve.errors import Refusal
from cornue.serve.keys import Keys
from cornue.serve.settings import Offer, SignIn
from cornue.serve.sign_in import OpenId
from pretend.engine import FakeEngine

from .conftest import Open

pytestmark = pytest.mark.anyio
ASK = {"model": "student", "messages": [{"role": "user", "content": "hello"}]}
CHAT = "/v1/chat/completions"


async def test_another_host_name_is_refused(service: Open) -> None:
    async with service(FakeEngine()) as client:
        answer = await client.get("/v1/models", headers={"Host": "evil.example"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (421, "wrong_host")


async def test_a_foreign_page_may_not_ask_unless_it_is_named(service: Open) -> None:
    async with service(FakeEngine(), origins=("https://friend.example",)) as client:
        evil = await client.post(CHAT, json=ASK, headers={"Origin": "https://evil.example"})
        assert evil.status_code == 403
        assert "access-control-allow-origin" not in evil.headers
        friend = await client.post(CHAT, json=ASK, headers={"Origin": "https://friend.example"})
        assert friend.headers["access-control-allow-origin"] == "https://friend.example"
        ahead = await client.options(CHAT, headers={"Origin": "https://friend.example"})
        assert ahead.status_code == 204
        own = await client.post(CHAT, json=ASK, headers={"Origin": "http://service"})
        assert own.status_code == 200


async def test_a_request_that_is_too_large_is_refused_before_it_is_read(service: Open) -> None:
    async def pieces():  # type: ignore[no-untyped-def]
        for _ in range(30):
            yield b"x" * 1000

    async with service(FakeEngine(), body_bytes=10_000) as client:
        for content in (b"x" * 20_000, pieces()):
            assert (await client.post(CHAT, content=content)).status_code == 413


@pytest.mark.parametrize("path", ["/", "/record", "/v1/models", "/nowhere", "/health", "/static/chat.js"])
async def test_every_response_is_strict(service: Open, path: str) -> None:
    async with service(FakeEngine()) as client:
        headers = (await client.get(path)).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


async def test_an_unverified_model_says_so_everywhere(service: Open) -> None:
    async with service(FakeEngine(), Offer("student", unverified="report.html has been altered")) as client:
        for path in ("/", "/record", "/v1/models", "/login"):
            answer = await client.get(path)
            assert answer.headers["x-cornue-unverified"]
        assert "report.html has been altered" in (await client.get("/")).text


async def test_without_a_key_nobody_asks_where_keys_are_needed(service: Open) -> None:
    async with service(FakeEngine(), open_to_all=False) as client:
        for headers in ({}, {"Authorization": "Bearer sk-nonsense"}, {"Authorization": "Basic YTpi"}):
            answer = await client.post(CHAT, json=ASK, headers=headers)
            assert (answer.status_code, answer.json()["error"]["type"]) == (401, "authentication_error")
        assert (await client.get("/", headers={"Accept": "text/html"})).headers["location"] == "/login"
        assert (await client.get("/record")).status_code == 200


async def test_a_key_signs_in_on_the_page(service: Open) -> None:
    async with service(FakeEngine(), open_to_all=False) as client:
        _, key = Keys(client.desk.receipts.store).create("page", "admin")  # type: ignore[attr-defined]
        wrong = await client.post("/login", data={"key": "ck_wrong"})
        assert wrong.status_code == 401
        right = await client.post("/login", data={"key": key})
        assert "httponly" in right.headers["set-cookie"].lower()
        assert (await client.get("/")).status_code == 200
        assert (await client.get("/admin")).status_code == 200
        await client.post("/logout")
        assert (await client.get("/admin")).status_code in (303, 401)


async def test_a_proxy_is_believed_only_from_its_address(service: Open) -> None:
    named = SignIn(proxy_header="X-Remote-User", proxies=frozenset({"127.0.0.1"}))
    stranger = SignIn(proxy_header="X-Remote-User", proxies=frozenset({"10.0.0.1"}))
    for sign_in, status in ((named, 200), (stranger, 401)):
        async with service(FakeEngine(), open_to_all=False, sign_in=sign_in) as client:
            answer = await client.post(CHAT, json=ASK, headers={"X-Remote-User": "marie.durand"})
            assert answer.status_code == status
            assert "marie" not in str(client.desk.receipts.store.rows("SELECT * FROM answers"))  # type: ignore[attr-defined]


def provider(claims: dict[str, object]) -> httpx.AsyncClient:
    """A pretend identity provider."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("openid-configuration"):
            base = "https://id.example"
            found = {"issuer": base, "authorization_endpoint": f"{base}/auth", "token_endpoint": f"{base}/token"}
            return httpx.Response(200, json=found)
        body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
        return httpx.Response(200, json={"id_token": f"e30.{body}.sig"})

    return httpx.AsyncClient(transport=httpx.MockTransport(answer))


@pytest.mark.parametrize(
    ("change", "comes_in"),
    [
        ({}, True),
        ({"aud": "other"}, False),
        ({"iss": "https://evil"}, False),
        ({"exp": 1}, False),
        ({"nonce": "x"}, False),
    ],
)
async def test_only_an_identity_meant_for_us_comes_in(change: dict[str, object], comes_in: bool) -> None:
    claims: dict[str, object] = {"iss": "https://id.example", "aud": "us", "sub": "42", "exp": time.time() + 60}
    sign_in = OpenId(SignIn(issuer="https://id.example", client_id="us"), provider(claims))
    begun = await sign_in.start("http://service/login/back", False)
    query = parse_qs(urlsplit(begun.headers["location"]).query)
    claims |= {"nonce": query["nonce"][0]} | change
    cookie = begun.headers["set-cookie"].split(";")[0]
    scope = {"type": "http", "method": "GET", "path": "/login/back", "headers": [(b"cookie", cookie.encode())]}
    scope["query_string"] = f"code=abc&state={query['state'][0]}".encode()
    if comes_in:
        assert await sign_in.finish(Request(scope), "http://service/login/back") == "https://id.example 42"
    else:
        with pytest.raises(Refusal):
            await sign_in.finish(Request(scope), "http://service/login/back")


async def test_a_sign_in_that_was_not_begun_here_is_refused() -> None:
    sign_in = OpenId(SignIn(issuer="https://id.example", client_id="us"), provider({}))
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b"code=a&state="}
    with pytest.raises(Refusal):
        await sign_in.finish(Request(scope), "http://service/login/back")
