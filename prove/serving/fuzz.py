"""Requests made from the API's own description, and the official client's calls: no server error but 503."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import results
from serving.world import service


def prove(work: Path, examples: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Figures and bars."""
    with service(work / "fuzz", slots=4, waiting=1000) as running:
        command = [sys.executable, "-m", "schemathesis.cli", "run", f"{running.url}/openapi.json", "--no-color"]
        command += ["--checks=not_a_server_error", f"--max-examples={examples}", "--phases=fuzzing"]
        command += ["--suppress-health-check=all", "--generation-deterministic"]
        done = subprocess.run(command, capture_output=True, text=True)
        passed = official(running.url)
    if done.returncode:
        print(done.stdout[-4000:], done.stderr[-1000:])
    figures = {"examples per operation": examples, "schemathesis": done.stdout.strip().splitlines()[-1], **passed}
    bars = [
        results.bar("exit code of schemathesis (server errors)", done.returncode, 0, at_most=True),
        results.bar("calls of the official Python client that failed", passed["client failures"], 0, at_most=True),
    ]
    return figures, bars


def official(url: str) -> dict[str, Any]:
    """The official Python client's calls, each by name."""
    import openai

    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    hello: list[Any] = [{"role": "user", "content": "hello"}]
    done: list[str] = []
    failed: list[str] = []

    def attempt(name: str, right: Any) -> None:
        (done if right else failed).append(name)

    attempt("models", [model.id for model in client.models.list()] == ["proof"])
    whole = client.chat.completions.create(model="proof", messages=hello, max_tokens=5, seed=1, stop=["zzz"])
    attempt("chat", whole.choices[0].message.content and whole.usage and whole.usage.total_tokens > 0)
    stream = client.chat.completions.create(
        model="proof", messages=hello, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    attempt("stream", "".join(c.choices[0].delta.content or "" for c in chunks if c.choices).startswith("word"))
    attempt("usage in the stream", chunks[-1].usage and chunks[-1].usage.completion_tokens == 10)
    attempt("completions", client.completions.create(model="proof", prompt="x").choices[0].text)
    with client.chat.completions.stream(model="proof", messages=hello) as events:
        attempt("stream helper", events.get_final_completion().choices[0].message.content)
    for name, kind, fields in (
        ("unknown model", openai.NotFoundError, {"model": "gpt-4"}),
        ("refused field", openai.BadRequestError, {"extra_body": {"id_slot": 1}}),
    ):
        try:
            client.chat.completions.create(**{"model": "proof", "messages": hello, **fields})
            attempt(name, False)
        except kind as error:
            attempt(name, error.body)
    return {"client calls": len(done) + len(failed), "client failures": len(failed), "failed": ", ".join(failed)}
