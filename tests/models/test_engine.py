from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from cornue.models.engine import Engine, Request
from cornue.records.errors import BadInput, OutsideFailure


@pytest.fixture(scope="module")
def engine(tiny_gguf: Path) -> Iterator[Engine]:
    with Engine(tiny_gguf, slots=2, context=256, threads=1) as engine:
        yield engine


def test_a_greedy_completion_repeats_itself(engine: Engine) -> None:
    first, second = (engine.complete("Combien", max_tokens=8, cache_prompt=False) for _ in range(2))
    assert first.token_ids == second.token_ids
    assert (first.finish, first.completion_tokens, len(first.token_ids)) == ("length", 8, 8)


def test_a_seed_decides_what_is_drawn(engine: Engine) -> None:
    drawn = [
        engine.complete("Combien", max_tokens=8, temperature=1.0, seed=seed, cache_prompt=False).token_ids
        for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]


def test_token_ids_and_text_are_the_same_prompt(engine: Engine) -> None:
    ids = engine.tokenize("Combien de communes ?")
    by_ids = engine.complete(ids, max_tokens=6, cache_prompt=False)
    assert by_ids.token_ids == engine.complete("Combien de communes ?", max_tokens=6, cache_prompt=False).token_ids
    assert by_ids.prompt_tokens == len(ids)


def test_likely_tokens_are_reported_for_each_step(engine: Engine) -> None:
    completion = engine.complete("Combien", max_tokens=6, n_probs=4)
    assert len(completion.choices) == len(completion.token_ids)
    for token, choices in zip(completion.token_ids, completion.choices, strict=True):
        assert choices is None or choices.drawn == token == choices.ids[0]
        assert choices is None or (len(choices.ids) == 4 and list(choices.logprobs) == sorted(choices.logprobs)[::-1])


def test_a_common_beginning_is_read_once(engine: Engine) -> None:
    beginning = "SELECT COUNT(*) FROM communes WHERE departement = 'Morbihan' AND population > 10000;"
    slots = [engine.complete(beginning, max_tokens=1) for _ in range(3)]
    again = engine.complete(beginning + " Combien", max_tokens=1)
    assert again.cached_tokens > 0.7 * slots[0].prompt_tokens
    assert again.prompt_tokens > slots[0].prompt_tokens


def test_map_tells_each_answer_with_its_place(engine: Engine) -> None:
    requests = [Request("Combien" * (1 + number), max_tokens=3) for number in range(7)]
    answers = dict(engine.map(iter(requests)))
    assert sorted(answers) == list(range(7))
    lengths = [answers[number].prompt_tokens for number in range(7)]
    assert lengths == sorted(set(lengths))


def test_map_draws_requests_only_as_there_is_room(engine: Engine) -> None:
    drawn = []

    def endless() -> Iterator[Request]:
        while True:
            drawn.append(1)
            yield Request("Combien", max_tokens=1)

    answers = engine.map(endless())
    next(answers)
    answers.close()
    assert len(drawn) <= engine.slots + 2


def test_a_prompt_that_is_too_long_is_told_in_map_and_raised_elsewhere(engine: Engine) -> None:
    long = "x " * 400
    (answer,) = (answer for _, answer in engine.map([Request(long)]))
    assert answer.finish == "error"
    assert "256" in answer.error
    with pytest.raises(BadInput, match="holds 256"):
        engine.complete(long)


def test_a_stream_adds_up_to_the_completion(engine: Engine) -> None:
    deltas = list(engine.stream("Combien", max_tokens=10, cache_prompt=False))
    whole = deltas[-1].completion
    assert whole is not None
    assert "".join(delta.text for delta in deltas) == whole.text
    assert whole.text == engine.complete("Combien", max_tokens=10, cache_prompt=False).text
    assert (whole.completion_tokens, whole.token_ids) == (10, ())


def test_a_schema_holds_the_completion(engine: Engine) -> None:
    schema = {"type": "string", "enum": ["oui"]}
    assert engine.complete("Combien", max_tokens=20, temperature=1.0, json_schema=schema).text == '"oui"'


def test_the_door_is_closed_without_the_key(engine: Engine) -> None:
    address = str(engine._http().base_url)
    assert address.startswith("http://127.0.0.1:")
    for route in ("/completion", "/v1/chat/completions", "/tokenize", "/apply-template", "/slots", "/lora-adapters"):
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            answer = httpx.post(address + route, json={"prompt": "x"}, headers=headers, trust_env=False)
            assert answer.status_code == 401
    assert httpx.get(address + "/props", trust_env=False).status_code == 401


def test_no_page_of_another_origin_is_let_in(engine: Engine) -> None:
    answer = engine._http().get("/props", headers={"Origin": "https://evil.example"})
    assert answer.headers.get("access-control-allow-origin") != "https://evil.example"
    assert "access-control-allow-credentials" not in answer.headers


def test_properties_do_not_name_the_file(engine: Engine, tiny_gguf: Path) -> None:
    assert str(tiny_gguf.parent) not in str(engine.props())


def test_a_killed_child_is_replaced_and_its_time_is_counted(tiny_gguf: Path) -> None:
    with Engine(tiny_gguf, context=256, threads=1) as engine:
        before = engine.complete("Combien", max_tokens=4, cache_prompt=False)
        spent = engine.cpu_seconds()
        assert engine._child is not None
        os.kill(engine._child.pid, signal.SIGKILL)
        assert engine.complete("Combien", max_tokens=4, cache_prompt=False).token_ids == before.token_ids
        assert engine.cpu_seconds() > spent > 0
    assert engine.cpu_seconds() > spent


def test_a_child_that_may_not_be_replaced_is_a_failure_of_the_engine(tiny_gguf: Path) -> None:
    with Engine(tiny_gguf, context=256, threads=1, restarts=0) as engine:
        assert engine._child is not None
        os.kill(engine._child.pid, signal.SIGKILL)
        with pytest.raises(OutsideFailure) as caught:
            engine.complete("Combien", max_tokens=4)
    assert caught.value.boundary == "engine"


def test_a_file_that_llama_cpp_cannot_load_is_a_failure_of_the_engine(tmp_path: Path, small_gguf: bytes) -> None:
    path = tmp_path / "hollow.gguf"
    path.write_bytes(small_gguf)
    with pytest.raises(OutsideFailure, match=r"hollow\.gguf"):
        Engine(path).start()


def test_a_missing_file_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"nothing\.gguf"):
        Engine(tmp_path / "nothing.gguf").start()


def test_the_child_dies_with_its_parent(tiny_gguf: Path) -> None:
    code = (
        "import sys, time; from cornue.models.engine import Engine\n"
        f"engine = Engine({str(tiny_gguf)!r}, context=256, threads=1).start()\n"
        "print(engine._child.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env={**os.environ})
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    for _ in range(100):
        if not Path(f"/proc/{child}/cmdline").exists() or not Path(f"/proc/{child}/cmdline").read_bytes():
            return
        time.sleep(0.1)
    pytest.fail("the child outlived its parent")
