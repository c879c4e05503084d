"""Signing in through an OpenID Connect provider: authorisation code with PKCE, state and nonce.

The identity token comes straight from the provider over TLS, so its transport vouches for it (OpenID Connect Core 1.0,
3.1.3.7, point 6); issuer, audience, time and nonce are checked here. Only the subject's identifier is used, salted.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from typing import Any
from urllib.parse import urlencode

import httpx
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from cornue.serve.errors import Refusal
from cornue.serve.settings import SignIn

COOKIE = "cornue_sign_in"
MINUTES = 10
LEEWAY = 60.0


class OpenId:
    """A provider.

    Args:
        client: for tests; by default a client that goes to the provider.
    """

    def __init__(self, sign_in: SignIn, client: httpx.AsyncClient | None = None) -> None:
        self.sign_in = sign_in
        self.client = client or httpx.AsyncClient(timeout=10.0, trust_env=False)
        self._endpoints: dict[str, Any] = {}

    async def start(self, back: str, https: bool) -> Response:
        """Leads to the provider."""
        endpoints = await self._discover()
        ours = {name: secrets.token_urlsafe(32) for name in ("state", "nonce", "verifier")}
        challenge = base64.urlsafe_b64encode(hashlib.sha256(ours["verifier"].encode()).digest()).rstrip(b"=").decode()
        query = {"response_type": "code", "scope": "openid", "client_id": self.sign_in.client_id, "redirect_uri": back}
        query |= {"state": ours["state"], "nonce": ours["nonce"]}
        query |= {"code_challenge": challenge, "code_challenge_method": "S256"}
        response = RedirectResponse(f"{endpoints['authorization_endpoint']}?{urlencode(query)}", 303)
        value = ".".join(ours[name] for name in ("state", "nonce", "verifier"))
        response.set_cookie(COOKIE, value, max_age=MINUTES * 60, httponly=True, samesite="lax", secure=https)
        return response

    async def finish(self, request: Request, back: str) -> str:
        """Who came back from the provider: issuer and subject.

        Raises:
            Refusal: 401 when anything about it is not as it was sent.
        """
        state, _, rest = request.cookies.get(COOKIE, "").partition(".")
        nonce, _, verifier = rest.partition(".")
        code = request.query_params.get("code", "")
        given = request.query_params.get("state", "")
        if not (code and state and secrets.compare_digest(state.encode(), given.encode())):
            raise Refusal(403, "This sign-in was not begun here, or took too long.", "bad_sign_in")
        endpoints = await self._discover()
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": back, "code_verifier": verifier}
        secret = (self.sign_in.client_id, self.sign_in.client_secret)
        try:
            response = await self.client.post(endpoints["token_endpoint"], data=form, auth=secret)
            claims = _claims(response.json()["id_token"])
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            raise Refusal(403, "The sign-in provider did not confirm who you are.", "bad_sign_in") from error
        audience = claims.get("aud")
        right = claims.get("iss") == self.sign_in.issuer and claims.get("nonce") == nonce
        right = right and self.sign_in.client_id in (audience if isinstance(audience, list) else [audience])
        if not right or not isinstance(claims.get("exp"), (int, float)) or claims["exp"] < time.time() - LEEWAY:
            raise Refusal(403, "The sign-in provider's answer is not meant for this service.", "bad_sign_in")
        return f"{claims['iss']} {claims['sub']}"

    async def _discover(self) -> dict[str, Any]:
        if not self._endpoints:
            address = self.sign_in.issuer.rstrip("/") + "/.well-known/openid-configuration"
            try:
                found = (await self.client.get(address)).json()
            except (httpx.HTTPError, ValueError) as error:
                raise Refusal(503, "The sign-in provider does not answer.", "sign_in_down", retry_after=10) from error
            if not isinstance(found, dict) or found.get("issuer") != self.sign_in.issuer:
                raise Refusal(503, "The sign-in provider does not name itself as expected.", "sign_in_down")
            self._endpoints = found
        return self._endpoints


def _claims(token: str) -> dict[str, Any]:
    body = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    if not isinstance(claims, dict) or not isinstance(claims.get("sub"), str):
        raise ValueError("no subject")
    return claims
