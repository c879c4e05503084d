"""The description of the API, made from the types that read requests.

It describes; it does not check.
"""

from __future__ import annotations

from typing import Any

from cornue import __version__
from cornue.serve.orders import ChatOrder, TextOrder
from cornue.serve.settings import Offer

REF = "#/components/schemas/{model}"


def describe(offer: Offer) -> dict[str, Any]:
    """The OpenAPI 3.1 document."""
    schemas: dict[str, Any] = {"Error": _error(), "Any": {"type": "object"}}
    for kind in (ChatOrder, TextOrder):
        schema = kind.model_json_schema(ref_template=REF, by_alias=True)
        schemas |= schema.pop("$defs", {})
        schema["properties"]["model"]["enum"] = [offer.name]
        schemas[kind.__name__] = schema
    answer: dict[str, Any] = {
        "200": {"description": "The answer; with “stream”, as server-sent events.", "content": _content("Any")}
    }
    answer["200"]["content"] |= {"text/event-stream": {"schema": {"type": "string"}}}
    by_id = [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}]
    by_model = [{"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}]
    paths = {
        "/v1/chat/completions": {
            "post": _operation("Answer a conversation", answer, 400, 404, 413, 503, body="ChatOrder")
        },
        "/v1/completions": {"post": _operation("Complete a text", answer, 400, 404, 413, 503, body="TextOrder")},
        "/v1/models": {"get": _operation("The model that is served", _ok())},
        "/v1/models/{model}": {"get": _operation("The model that is served", _ok(), 404) | {"parameters": by_model}},
        "/v1/receipts/{id}": {"get": _operation("A receipt and its proof", _ok(), 404) | {"parameters": by_id}},
        "/v1/usage": {"get": _operation("What one's own key has used, by day", _ok())},
        "/health": {"get": _operation("Whether a question would be answered now", _ok(), 503)},
    }
    bearer = {"type": "http", "scheme": "bearer"}
    return {
        "openapi": "3.1.0",
        "info": {"title": offer.title or offer.name, "version": __version__},
        "paths": paths,
        "security": [{}, {"key": []}],
        "components": {"schemas": schemas, "securitySchemes": {"key": bearer}},
    }


def _operation(summary: str, answers: dict[str, Any], *refusals: int, body: str = "") -> dict[str, Any]:
    for status in (*refusals, 401, 403, 429):
        answers = answers | {str(status): {"description": "Refused", "content": _content("Error")}}
    operation: dict[str, Any] = {"summary": summary, "responses": answers}
    if body:
        operation["requestBody"] = {"required": True, "content": _content(body)}
    return operation


def _content(schema: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": REF.format(model=schema)}}}


def _ok() -> dict[str, Any]:
    return {"200": {"description": "Found", "content": _content("Any")}}


def _error() -> dict[str, Any]:
    text = {"type": "string"}
    nullable = {"type": ["string", "null"]}
    inside = {"message": text, "type": text, "code": nullable, "param": nullable, "position": {"type": "integer"}}
    error = {"type": "object", "required": ["message", "type", "code", "param"], "properties": inside}
    return {"type": "object", "required": ["error"], "properties": {"error": error}}
