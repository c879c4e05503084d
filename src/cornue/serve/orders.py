"""What may be asked over the API, field by field, and how it is passed on.

What is not honoured is refused by name; what could touch other people's requests (slots, caches, adapters) does not
exist here. The same types make the OpenAPI description.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from cornue.serve.errors import Refusal

RegisterMode = Literal["text", "field", "tool", "off"]
Text = Annotated[str, StringConstraints(max_length=200_000)]
Probability = Annotated[float, Field(ge=0, le=1)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
ROUTING = {"model", "stream", "stream_options", "replay", "register", "register_", "max_completion_tokens"}
THROWN_AWAY = {"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key"}
CONSTANT = {"n", "best_of", "suffix", "echo"}
CHARACTERS_PER_TOKEN = 3
INT32 = 2**31 - 1


class Part(BaseModel):
    """A piece of a message; only text is understood."""

    model_config = ConfigDict(strict=True)
    type: Literal["text"]
    text: Text


class Turn(BaseModel):
    """A message; fields that this service added to an earlier answer may come back and are left out."""

    model_config = ConfigDict(strict=True)
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Text | list[Part] | None = None
    name: str | None = None
    reasoning_content: Text | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None


class StreamOptions(BaseModel):
    """What a stream carries besides text."""

    model_config = ConfigDict(strict=True)
    include_usage: bool | None = None
    include_obfuscation: Literal[False] | None = None


class JsonSchema(BaseModel):
    """A schema that the answer is held to."""

    name: str = "answer"
    schema_: dict[str, Any] = Field(alias="schema", default_factory=dict)
    strict: bool | None = None
    description: str | None = None


class ResponseFormat(BaseModel):
    """The form of the answer."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class Common(BaseModel):
    """What both kinds of request share."""

    model_config = ConfigDict(extra="forbid", strict=True)
    model: str
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, Field(ge=1, le=INT32)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Probability | None = None
    seed: Annotated[int, Field(ge=0, le=INT32)] | None = None
    stop: Annotated[str, StringConstraints(max_length=200)] | Annotated[list[str], Field(max_length=8)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    n: Literal[1] | None = None
    user: str | None = Field(default=None, description="Accepted and thrown away.")
    replay: bool = Field(default=False, description="Run alone with the cache off: the same bytes again.")


class ChatOrder(Common):
    """``POST /v1/chat/completions``."""

    messages: Annotated[list[Turn], Field(min_length=1, max_length=512)]
    max_completion_tokens: Annotated[int, Field(ge=1, le=INT32)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None
    tools: Annotated[list[dict[str, Any]], Field(max_length=64)] | None = None
    tool_choice: Literal["none", "auto", "required"] | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high"] | None = None
    chat_template_kwargs: dict[Literal["enable_thinking"], bool] | None = None
    metadata: dict[str, str] | None = None
    store: Literal[False] | None = None
    service_tier: Literal["auto", "default"] | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    register_: RegisterMode = Field(
        default="text",
        alias="register",
        description="How rows from the register come: appended as text, as a field only, as a tool call, or not.",
    )


class TextOrder(Common):
    """``POST /v1/completions``."""

    prompt: Text | Annotated[list[Text], Field(min_length=1, max_length=1)]
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None
    best_of: Literal[1] | None = None
    echo: Literal[False] | None = None
    suffix: None = None


@dataclass(frozen=True)
class Order:
    """A request that has been read: what goes to the engine, and what stays here."""

    route: Literal["/v1/chat/completions", "/v1/completions"]
    body: dict[str, Any]
    stream: bool
    include_usage: bool
    replay: bool
    register: RegisterMode
    ceiling: int
    """Most tokens that the answer may have."""
    prompt_guess: int
    """Tokens of the question, guessed from its length; for quotas only."""

    @property
    def question(self) -> str:
        """What the person asked last."""
        asked = [turn.get("content") for turn in self.body.get("messages", ()) if turn["role"] == "user"]
        last = asked[-1] if asked else self.body.get("prompt", "")
        if isinstance(last, str):
            return last
        return " ".join(part["text"] for part in last or () if isinstance(part, dict))


def read_order(data: bytes, chat: bool, model: str, longest: int, context: int) -> Order:
    """A request from its JSON.

    Args:
        model: the only model there is.
        longest: cap on the answer's tokens; a smaller wish is granted.
        context: tokens of question and answer together.

    Raises:
        Refusal: 400 with the field's name, 404 for another model.
    """
    try:
        value = json.loads(data, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise Refusal(400, "The body is not JSON.", "invalid_json") from None
    if not isinstance(value, dict):
        raise Refusal(400, "The body is not a JSON object.", "invalid_json")
    return order_from(value, chat, model, longest, context)


def order_from(value: dict[str, Any], chat: bool, model: str, longest: int, context: int) -> Order:
    """A request from its fields; see ``read_order``."""
    try:
        order: ChatOrder | TextOrder = (ChatOrder if chat else TextOrder).model_validate(value)
    except ValidationError as error:
        raise _explain(error) from None
    if order.model != model:
        raise Refusal(404, f"There is no model “{order.model[:80]}” here; ask “{model}”.", "model_not_found", "model")
    body = order.model_dump(exclude_none=True, by_alias=True, exclude=ROUTING | THROWN_AWAY | CONSTANT, mode="json")
    wish = order.max_tokens or (order.max_completion_tokens if isinstance(order, ChatOrder) else None) or longest
    # llama.cpp takes -1 as "no limit", so a number always stands there.
    body["max_tokens"] = ceiling = min(wish, longest, context)
    if order.replay:
        if body.get("temperature", 0) != 0:
            raise Refusal(400, "Replay is greedy: leave temperature out or set it to 0.", "bad_replay", "temperature")
        body["temperature"] = 0
    options = order.stream_options
    register = order.register_ if isinstance(order, ChatOrder) else "off"
    if isinstance(order, ChatOrder):
        _check_lists(order)
    return Order(
        route="/v1/chat/completions" if chat else "/v1/completions",
        body=body,
        stream=bool(order.stream),
        include_usage=bool(options and options.include_usage),
        replay=order.replay,
        register=register,
        ceiling=ceiling,
        prompt_guess=len(json.dumps(body.get("messages") or body.get("prompt"))) // CHARACTERS_PER_TOKEN,
    )


def _check_lists(order: ChatOrder) -> None:
    """Refuses here what the engine would only stumble over."""
    for place, turn in enumerate(order.messages):
        if turn.content is None and not turn.tool_calls:
            raise Refusal(400, f"Message {place} says nothing.", "empty_message", f"messages.{place}.content")
        if turn.role == "tool" and not turn.tool_call_id:
            raise Refusal(400, f"Message {place} answers no tool call.", "bad_tool", f"messages.{place}.tool_call_id")
        for call in turn.tool_calls or ():
            function = call.get("function")
            if not isinstance(function, dict) or not all(
                isinstance(function.get(k), str) for k in ("name", "arguments")
            ):
                raise Refusal(400, f"Message {place} holds no proper tool call.", "bad_tool", f"messages.{place}")
    for place, tool in enumerate(order.tools or ()):
        function = tool.get("function")
        if (
            tool.get("type") != "function"
            or not isinstance(function, dict)
            or not isinstance(function.get("name"), str)
        ):
            raise Refusal(400, f"Tool {place} is not a named function.", "bad_tool", f"tools.{place}")
        if not isinstance(function.get("parameters", {}), dict):
            raise Refusal(400, f"The parameters of tool {place} are no schema.", "bad_tool", f"tools.{place}")
    if isinstance(order.tool_choice, dict):
        function = order.tool_choice.get("function")
        names = [tool["function"]["name"] for tool in order.tools or ()]
        if not isinstance(function, dict) or function.get("name") not in names:
            raise Refusal(400, "“tool_choice” names none of the tools.", "bad_tool", "tool_choice")


def _explain(error: ValidationError) -> Refusal:
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"] if not str(part).startswith(("constrained", "list[", "str")))
    if first["type"] == "extra_forbidden":
        return Refusal(400, f"“{where}” is not understood here, so it is not silently ignored.", "unknown_field", where)
    return Refusal(400, f"“{where}”: {first['msg']}.", "invalid_value", where)


def _no_constant(name: str) -> float:
    raise ValueError(name)
