"""Refusals over HTTP, in the form that OpenAI's clients understand.

A refusal says what is wrong and what to do; those that time can mend carry ``Retry-After``. It does not decide
anything.
"""

from __future__ import annotations

import math
from typing import Any

from starlette.responses import JSONResponse

TYPES = {400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error"}
TYPES |= {405: "invalid_request_error", 413: "invalid_request_error", 421: "invalid_request_error"}
TYPES |= {429: "rate_limit_error", 503: "service_unavailable_error"}


class Refusal(Exception):
    """A request that is not served.

    Args:
        status: the HTTP status.
        message: a sentence for people.
        code: a word for programs.
        param: the field of the request at fault.
        retry_after: seconds after which it is worth trying again.
        position: how many requests stood before this one.
    """

    def __init__(
        self,
        status: int,
        message: str,
        code: str,
        param: str | None = None,
        retry_after: float | None = None,
        position: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param
        self.retry_after, self.position = retry_after, position

    def body(self) -> dict[str, Any]:
        """The error object of OpenAI's API."""
        kind = TYPES.get(self.status, "server_error")
        error: dict[str, Any] = {"message": self.message, "type": kind, "code": self.code, "param": self.param}
        if self.position is not None:
            error["position"] = self.position
        return {"error": error}

    def headers(self) -> dict[str, str]:
        """``Retry-After`` where there is one; always on 429 and 503."""
        if self.retry_after is None and self.status not in (429, 503):
            return {}
        return {"Retry-After": str(max(1, math.ceil(self.retry_after or 1)))}

    def response(self) -> JSONResponse:
        """The refusal as a response."""
        return JSONResponse(self.body(), self.status, self.headers())
