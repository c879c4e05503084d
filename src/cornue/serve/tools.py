"""Tool calls that must be made, for engines that leave ``tool_choice`` unheard: the answer is held to the call's form.

The functions are described to the model in words and its answer is held to a JSON schema, so that every model can call
them, taught or not; what it wrote is then handed on in OpenAI's form. When to call is left to models that have learnt
it. It runs no tool.
"""

from __future__ import annotations

import json
from typing import Any

TEXT = """You can call these functions:
{functions}
Answer with one JSON object and nothing else: {{"name": the function's name, "arguments": its arguments}}."""
NOT_PASSED_ON = ("tools", "tool_choice", "parallel_tool_calls", "response_format")


def must_call(body: dict[str, Any]) -> bool:
    """Whether a request leaves the model no choice but to call a function."""
    choice = body.get("tool_choice")
    return bool(body.get("tools")) and (choice == "required" or isinstance(choice, dict))


def may_call(body: dict[str, Any]) -> bool:
    """Whether a request leaves it to the model to call a function."""
    return bool(body.get("tools")) and body.get("tool_choice") in (None, "auto")


def as_schema(body: dict[str, Any]) -> dict[str, Any]:
    """The same request as one for an answer of a certain form, without tools."""
    choice = body["tool_choice"]
    functions = [tool["function"] for tool in body["tools"]]
    if isinstance(choice, dict):
        functions = [function for function in functions if function["name"] == choice["function"]["name"]]
    forms = [
        {
            "type": "object",
            "properties": {
                "name": {"const": function["name"]},
                "arguments": function.get("parameters") or {"type": "object"},
            },
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for function in functions
    ]
    schema = forms[0] if len(forms) == 1 else {"anyOf": forms}
    kept = {name: value for name, value in body.items() if name not in NOT_PASSED_ON}
    told = TEXT.format(functions="\n".join(json.dumps(function, ensure_ascii=False) for function in functions))
    form = {"type": "json_schema", "json_schema": {"name": "call", "schema": schema, "strict": True}}
    return kept | {"messages": _with_system(body["messages"], told), "response_format": form}


def in_words(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A conversation for a model whose template has no place for calls: they are what the assistant said."""
    plain = []
    for message in messages:
        message = dict(message)
        calls = message.pop("tool_calls", None) or ()
        said = [json.dumps({"name": c["function"]["name"], "arguments": c["function"]["arguments"]}) for c in calls]
        if said:
            message["content"] = "\n".join([text for text in [message.get("content")] if text] + said)
        plain.append(message)
    return plain


def call_of(text: str, identity: str) -> list[dict[str, Any]] | None:
    """The call in an answer that was held to the form; None where it was cut off before its end."""
    try:
        said = json.loads(text)
        function = {"name": said["name"], "arguments": json.dumps(said["arguments"], ensure_ascii=False)}
    except (ValueError, KeyError, TypeError):
        return None
    return [{"index": 0, "id": f"call_{identity[2:]}", "type": "function", "function": function}]


def _with_system(messages: list[dict[str, Any]], told: str) -> list[dict[str, Any]]:
    first = messages[0]
    if first["role"] == "system" and isinstance(first.get("content"), str):
        return [first | {"content": f"{first['content']}\n\n{told}"}, *messages[1:]]
    return [{"role": "system", "content": told}, *messages]
