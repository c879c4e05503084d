"""Prompts survive being written and read, and bad lines are named."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cornue.records.errors import BadInput
from cornue.records.samples import Message, Prompt
from cornue.sources.prompts import read_prompts, write_prompts


def ask(text: str) -> Prompt:
    return Prompt.make((Message(role="user", content=text),), {"decline": True}, split="heldout", form="f")


@pytest.mark.parametrize("name", ["p.jsonl", "p.jsonl.xz", "p.jsonl.gz"])
def test_reading_gives_what_was_written(tmp_path: Path, name: str) -> None:
    prompts = [ask("Combien d'habitants à Œuilly ?"), ask("line\nbreak\u2028here")]
    write_prompts(tmp_path / name, prompts)
    assert read_prompts(tmp_path / name) == prompts


@pytest.mark.parametrize("name", ["p.jsonl", "p.jsonl.xz", "p.jsonl.gz"])
def test_the_same_prompts_give_the_same_bytes(tmp_path: Path, name: str) -> None:
    write_prompts(tmp_path / name, [ask("a")])
    first = (tmp_path / name).read_bytes()
    write_prompts(tmp_path / name, [ask("a")])
    assert (tmp_path / name).read_bytes() == first


@pytest.mark.parametrize(
    "line", ["{", "[]", '{"id": "x"}', '{"id": "x", "messages": [], "extra": 1}', "[" * 5000, "NaN"]
)
def test_a_bad_line_is_named_by_its_number(tmp_path: Path, line: str) -> None:
    path = tmp_path / "p.jsonl"
    write_prompts(path, [ask("a")])
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(BadInput, match=r"(line|ligne) 2"):
        read_prompts(path)


def test_the_same_prompt_twice_is_refused_with_both_lines(tmp_path: Path) -> None:
    write_prompts(tmp_path / "p.jsonl", [ask("a"), ask("b"), ask("a")])
    with pytest.raises(BadInput, match=r"3.*1"):
        read_prompts(tmp_path / "p.jsonl")


@pytest.mark.parametrize("name", ["absent.jsonl", "p.jsonl.xz"])
def test_a_missing_or_damaged_file_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "p.jsonl.xz").write_bytes(b"no xz")
    with pytest.raises(BadInput, match=name):
        read_prompts(tmp_path / name)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "p.jsonl").write_bytes(content)
    try:
        prompts = read_prompts(tmp_path / "p.jsonl")
    except BadInput as error:
        assert error.remedy
    else:
        assert prompts == []
