"""The official Python and JavaScript clients' calls against a real engine: all that the API promises, by name.

The JavaScript client needs Node and the package ``openai`` (see ``prove/serve.py``).
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import results
from serving.world import javascript, service

SCRIPT = Path(__file__).with_name("official.mjs")
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer", "maximum": 150}},
    "required": ["name", "age"],
}
HELLO: list[Any] = [{"role": "user", "content": "Say hello."}]


def prove(work: Path, gguf: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Figures and bars."""
    with service(work / "clients", gguf=gguf, slots=2, waiting=100) as running:
        python = in_python(running.url)
        script = in_javascript(running.url)
    figures: dict[str, Any] = {}
    bars = []
    for name, found in (("Python", python), ("JavaScript", script)):
        figures |= {f"{name}: calls": ", ".join(found["done"]), f"{name}: failed": ", ".join(found["failed"]) or "none"}
        bars.append(results.bar(f"calls of the official {name} client that failed", len(found["failed"]), 0, True))
        bars.append(results.bar(f"calls of the official {name} client that passed", len(found["done"]), 13))
    return figures, bars


def in_javascript(url: str) -> dict[str, list[str]]:
    """Names of the calls that passed and failed."""
    node = shutil.which("node")
    if node is None:
        raise SystemExit("the proof of the JavaScript client needs Node")
    done = subprocess.run(
        [node, str(SCRIPT), str(javascript("openai")), url], capture_output=True, text=True, timeout=300, check=True
    )
    found: dict[str, list[str]] = json.loads(done.stdout.splitlines()[-1])
    return found


def in_python(url: str) -> dict[str, list[str]]:
    """Names of the calls that passed and failed."""
    import openai

    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    done: list[str] = []
    failed: list[str] = []

    def ask(**fields: Any) -> Any:
        return client.chat.completions.create(
            **{"model": "proof", "messages": HELLO, "max_tokens": 12, "temperature": 0} | fields
        )

    def attempt(name: str, call: Callable[[], Any]) -> None:
        try:
            right = call()
        except (openai.OpenAIError, ValueError, LookupError, TypeError, AttributeError) as error:
            failed.append(f"{name}: {error!r}")
            return
        (done if right else failed).append(name)

    def fails(kind: type[openai.APIError], **fields: Any) -> Any:
        try:
            ask(**fields)
        except kind as error:
            return error.body and error.code
        return False

    def stream() -> bool:
        chunks = list(ask(stream=True, stream_options={"include_usage": True}))
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        return bool(text) and chunks[-1].usage.completion_tokens > 0 and bool(chunks[-1].usage.receipt["id"])

    def helper() -> Any:
        with client.chat.completions.stream(model="proof", messages=HELLO, max_tokens=100) as events:
            return events.get_final_completion().choices[0].message.content

    def leave() -> bool:
        with ask(stream=True, max_tokens=200) as events:
            next(iter(events))
        return True

    def schema() -> bool:
        form = {"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA, "strict": True}}
        value = json.loads(ask(max_tokens=60, response_format=form).choices[0].message.content)
        return isinstance(value["name"], str) and isinstance(value["age"], int)

    def tools() -> bool:
        tool = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}
        whole = ask(max_tokens=60, tools=[tool], tool_choice="required")
        return "name" in json.loads(whole.choices[0].message.tool_calls[0].function.arguments)

    def logprobs() -> bool:
        steps = ask(logprobs=True, top_logprobs=3).choices[0].logprobs.content
        return all(len(step.top_logprobs) == 3 for step in steps)

    def said(**fields: Any) -> Any:
        return ask(**fields).choices[0].message.content

    attempt("models", lambda: [model.id for model in client.models.list()] == ["proof"])
    attempt("model", lambda: client.models.retrieve("proof").id == "proof")
    attempt("chat", lambda: said(seed=1, stop=["zzz"]))
    attempt("stream", stream)
    attempt("stream helper", helper)
    attempt("leaving a stream", leave)
    attempt(
        "completions", lambda: client.completions.create(model="proof", prompt="One,", max_tokens=4).choices[0].text
    )
    attempt("logprobs", logprobs)
    attempt("json schema", schema)
    attempt("tools", tools)
    attempt("replay", lambda: said(extra_body={"replay": True}) == said(extra_body={"replay": True}))
    attempt("unknown model", lambda: fails(openai.NotFoundError, model="gpt-4"))
    attempt("refused field", lambda: fails(openai.BadRequestError, extra_body={"id_slot": 1}))
    return {"done": done, "failed": failed}
