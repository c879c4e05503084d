"""An endpoint with every fault is asked until all is there; keys and personal data stay where they belong."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from cornue.capture.ask import run_capture
from cornue.capture.budget import Purse
from cornue.capture.endpoint_stream import Torn, read_answer
from cornue.capture.reader import CaptureReader
from cornue.capture.teacher_endpoint import EndpointTeacher
from cornue.records.errors import BadInput, OutsideFailure, Refused
from cornue.records.recipe import Budget, Capture
from cornue.records.samples import Message, Prompt
from pretend.endpoint import EVERY_FAULT, FakeEndpoint

CANARY = "sk-canary-1234567890"
IBAN, NIR = "FR14 2004 1010 0505 0001 3M02 606", "2 55 08 14 168 025 38"


def question(text: str) -> Prompt:
    return Prompt.make((Message(role="user", content=text),))


PROMPTS = [question(f"question {number}") for number in range(30)]


def ask(
    endpoint: FakeEndpoint, folder: Path, prompts: list[Prompt] = PROMPTS, purse: Purse | None = None, **settings: Any
) -> CaptureReader:
    teacher = EndpointTeacher(endpoint.url, "pretend-1", pause=0.001, **settings)
    try:
        return run_capture(teacher, prompts, Capture(max_tokens=20), folder, purse=purse)
    finally:
        teacher.close()


def everything_in(folder: Path) -> str:
    """All that the files of a folder say, tables unpacked."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    said = [str(pq.read_table(path).to_pylist()) if path.suffix == ".parquet" else "" for path in files]
    return "".join([*said, *(path.read_bytes().decode("utf-8", "replace") for path in files)])


@pytest.mark.parametrize("fault", EVERY_FAULT)
def test_every_fault_is_outlived_and_every_answer_is_whole(tmp_path: Path, fault: Any) -> None:
    with FakeEndpoint(faults=0.3, kinds=(fault,)) as endpoint:
        capture = ask(endpoint, tmp_path / "1-capture")
        assert len(endpoint.asked) > len(PROMPTS)
    assert [sample.text for sample in capture.samples()] == [f"You asked: question {n}" for n in range(30)]


def test_an_endpoint_that_is_down_ends_the_capture(tmp_path: Path) -> None:
    with FakeEndpoint(faults=1.0, kinds=("500",)) as endpoint, pytest.raises(OutsideFailure, match="status 500"):
        ask(endpoint, tmp_path / "1-capture")


def test_retry_after_is_waited_for(tmp_path: Path) -> None:
    with FakeEndpoint(faults=0.3, kinds=("429",), retry_after=0.1) as endpoint:
        capture = ask(endpoint, tmp_path / "1-capture", PROMPTS[:6], slots=1)
        refused = len(endpoint.asked) - 6
    assert refused
    assert capture.about["record"]["last_sitting"]["seconds"] >= 0.1 * refused


def test_many_requests_run_side_by_side_but_never_more_than_allowed(tmp_path: Path) -> None:
    with FakeEndpoint(latency=0.02) as endpoint:
        ask(endpoint, tmp_path / "1-capture", slots=6)
        assert 2 <= endpoint.most_at_once <= 6


def test_a_model_that_changes_midway_ends_the_capture(tmp_path: Path) -> None:
    with FakeEndpoint(changes_after=10) as endpoint, pytest.raises(OutsideFailure, match="pretend-1-new"):
        ask(endpoint, tmp_path / "1-capture", slots=1)


def test_a_model_that_changes_between_two_sittings_is_seen(tmp_path: Path) -> None:
    with FakeEndpoint(changes_after=10) as endpoint:
        for _ in range(2):
            with pytest.raises(OutsideFailure, match="pretend-1-new"):
                ask(endpoint, tmp_path / "1-capture", slots=1)


def test_a_cut_answer_is_data_with_its_reason(tmp_path: Path) -> None:
    with FakeEndpoint(answer=lambda messages: "word " * 50) as endpoint:
        capture = ask(endpoint, tmp_path / "1-capture", PROMPTS[:2])
    assert {sample.finish for sample in capture.samples()} == {"length"}
    assert capture.counts["cut"] == 2


def test_an_empty_answer_is_counted(tmp_path: Path) -> None:
    with FakeEndpoint(answer=lambda messages: "") as endpoint:
        assert ask(endpoint, tmp_path / "1-capture", PROMPTS[:2]).counts["empty"] == 2


def test_a_prompt_that_is_too_long_is_a_sample_with_an_error(tmp_path: Path) -> None:
    with FakeEndpoint(context=50) as endpoint:
        capture = ask(endpoint, tmp_path / "1-capture", [*PROMPTS[:2], question("word " * 100)])
    assert [bool(sample.error) for sample in capture.samples()] == [False, False, True]
    assert "too many words" in capture.samples()[2].error


def test_thoughts_are_told_apart(tmp_path: Path) -> None:
    with FakeEndpoint(reasoning="let me see") as endpoint:
        [sample] = ask(endpoint, tmp_path / "1-capture", PROMPTS[:1]).samples()
    assert (sample.reasoning, sample.text) == ("let me see", "You asked: question 0")
    with FakeEndpoint(answer=lambda messages: "<think>let me see</think> 42") as endpoint:
        [sample] = ask(endpoint, tmp_path / "2-capture", PROMPTS[:1]).samples()
    assert (sample.reasoning, sample.text) == ("let me see", "42")


@pytest.mark.parametrize("key_fits", [True, False])
def test_the_key_is_in_no_file_no_log_and_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, key_fits: bool
) -> None:
    monkeypatch.setenv("PRETEND_KEY", CANARY)
    caplog.set_level(logging.DEBUG)
    said = ""
    with FakeEndpoint(key=CANARY if key_fits else "another", faults=0.2) as endpoint:
        try:
            ask(endpoint, tmp_path / "1-capture", PROMPTS[:5], key_env="PRETEND_KEY")
        except OutsideFailure as failure:
            said = repr(failure) + str(failure) + repr(failure.__cause__) + repr(failure.__context__)
    assert bool(said) != key_fits
    assert CANARY not in said
    assert CANARY not in caplog.text
    assert CANARY not in everything_in(tmp_path)


@pytest.mark.parametrize("before", ["", "word " * 10, "x" * 290])
def test_a_key_that_the_endpoint_repeats_is_taken_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    monkeypatch.setenv("PRETEND_KEY", CANARY)
    with FakeEndpoint(answer=lambda messages: f"{before}{CANARY} it is", model=CANARY) as endpoint:
        ask(endpoint, tmp_path / "1-capture", PROMPTS[:2], key_env="PRETEND_KEY")
    with FakeEndpoint(context=3, refusal=f"{before}{CANARY}") as endpoint:
        ask(endpoint, tmp_path / "2-capture", PROMPTS[:2], key_env="PRETEND_KEY")
    assert CANARY[:9] not in everything_in(tmp_path)


@pytest.mark.parametrize("key", ["clé", "two words", "line\nbreak"])
def test_what_is_no_key_is_refused_and_not_repeated(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("PRETEND_KEY", key)
    with pytest.raises(BadInput, match="PRETEND_KEY") as caught:
        EndpointTeacher("http://127.0.0.1:1/v1", "m", key_env="PRETEND_KEY")
    assert key not in repr(caught.value) + str(caught.value)


def test_a_line_break_behind_a_key_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRETEND_KEY", f"{CANARY}\r\n")
    with FakeEndpoint(key=CANARY) as endpoint:
        assert len(ask(endpoint, tmp_path / "1-capture", PROMPTS[:2], key_env="PRETEND_KEY").samples()) == 2


def test_a_key_that_is_not_set_is_named() -> None:
    with pytest.raises(BadInput, match="NOT_SET_ANYWHERE"):
        EndpointTeacher("http://127.0.0.1:1/v1", "m", key_env="NOT_SET_ANYWHERE")


def test_prompts_leave_the_machine_only_if_the_recipe_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRETEND_KEY", CANARY)
    with pytest.raises(Refused, match="api.example"):
        EndpointTeacher("https://api.example/v1", "m")
    EndpointTeacher("https://api.example/v1", "m", remote_allowed=True).close()
    with pytest.raises(Refused):
        EndpointTeacher("http://api.example/v1", "m", remote_allowed=True, key_env="PRETEND_KEY")


@pytest.mark.parametrize("url", ["ftp://x/v1", "https://user:pw@x/v1", "https://x/v1?key=1", "nothing"])
def test_an_address_that_could_hold_a_secret_or_is_none_is_refused(url: str) -> None:
    with pytest.raises(BadInput) as caught:
        EndpointTeacher(url, "m", remote_allowed=True)
    assert "pw" not in str(caught.value)


def test_personal_data_is_refused_before_anything_leaves(tmp_path: Path) -> None:
    prompts = [*PROMPTS[:3], question(f"Mme Durand, IBAN {IBAN}, NIR {NIR}")]
    with FakeEndpoint() as endpoint:
        with pytest.raises(Refused, match="iban"):
            ask(endpoint, tmp_path / "1-capture", prompts, remote_allowed=True)
        assert endpoint.asked == []


def test_personal_data_is_replaced_before_it_leaves(tmp_path: Path) -> None:
    prompts = [question(f"Mme Durand, IBAN {IBAN}, NIR {NIR}")]
    with FakeEndpoint() as endpoint:
        capture = ask(endpoint, tmp_path / "1-capture", prompts, remote_allowed=True, personal_data="replace")
        sent = str(endpoint.asked)
    assert "IBAN_1" in sent and IBAN not in sent and NIR not in sent
    found = capture.about["record"]["last_sitting"]["personal_data"]["found"]
    assert found["iban"] == 1 and found["nir"] == 1


def test_the_cap_on_tokens_is_never_exceeded_and_the_rest_is_asked_later(tmp_path: Path) -> None:
    with FakeEndpoint(faults=0.2) as endpoint:
        purse = Purse(Budget(tokens=250))
        with pytest.raises(Refused, match="250"):
            ask(endpoint, tmp_path / "1-capture", purse=purse)
        assert 0 < purse.spent.total <= 250
        assert len(ask(endpoint, tmp_path / "1-capture").samples()) == 30


def test_cached_and_reasoning_tokens_are_counted_over_all_sittings(tmp_path: Path) -> None:
    with FakeEndpoint(reasoning="let me see", cached=2) as endpoint:
        with pytest.raises(Refused):
            ask(endpoint, tmp_path / "1-capture", purse=Purse(Budget(tokens=200)))
        asked = len(endpoint.asked)
        capture = ask(endpoint, tmp_path / "1-capture")
    assert 0 < asked < 30
    assert (capture.counts["cached_tokens"], capture.counts["reasoning_tokens"]) == (60, 90)
    assert capture.samples()[0].completion_tokens == 4 + 3


def test_tokens_that_an_endpoint_does_not_tell_are_counted_at_their_most(tmp_path: Path) -> None:
    with FakeEndpoint(counts=False) as endpoint:
        purse = Purse(Budget(tokens=300))
        with pytest.raises(Refused):
            ask(endpoint, tmp_path / "1-capture", purse=purse)
        capture = ask(endpoint, tmp_path / "1-capture")
    assert purse.spent.total > 200
    assert all(sample.prompt_tokens and sample.completion_tokens for sample in capture.samples())
    assert capture.about["record"]["last_sitting"]["answers_counted_by_us"]


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["data: {"],
        ["data: 7"],
        ['data: {"choices": [{"delta": {"content": "half"}}]}'],
        ['data: {"error": {"message": "overloaded"}}'],
        ['data: {"choices": 7}'],
        ['data: {"choices": [{"delta": {"content": 7}, "finish_reason": "stop"}]}'],
        ["<html>busy</html>"],
    ],
)
def test_what_is_no_whole_answer_is_torn(lines: list[str]) -> None:
    with pytest.raises(Torn):
        read_answer(lines)


def test_an_endpoint_that_does_not_stream_is_understood() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 2}}
    choice = {"message": {"content": "yes"}, "finish_reason": "stop"}
    body = json.dumps({"model": "m", "choices": [choice], "usage": usage})
    answer = read_answer([body])
    assert (answer.text, answer.finish, answer.tokens.cached) == ("yes", "stop", 2)


def test_likeliest_tokens_with_ids_become_rows() -> None:
    others = [{"id": 5, "logprob": -0.1}, {"id": 2, "logprob": -3.0}]
    choice = {
        "message": {"content": "a"},
        "finish_reason": "stop",
        "logprobs": {"content": [{"id": 5, "logprob": -0.1, "top_logprobs": others}]},
    }
    answer = read_answer([json.dumps({"choices": [choice]})])
    found = answer.rows()
    assert found is not None
    assert found[0] == (5,)
    assert found[1].ids.tolist() == [2, 5]
    assert found[1].codes.tolist() == [768, 26]
