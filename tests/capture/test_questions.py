"""A teacher writes questions about documents; what is no question of its own is counted and left out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from cornue.capture.questions import Questions, write_questions
from cornue.capture.teacher_endpoint import EndpointTeacher
from cornue.records.errors import CheckFailed
from cornue.sources.passages import Passage
from cornue.sources.prompts import read_prompts
from pretend.endpoint import FakeEndpoint

PASSAGES = [Passage.make("cantine.md", ("Cantine", f"Point {n}"), f"Le repas {n} coûte {n} euros.") for n in range(30)]
RECIPE = """
[recipe]
name = "tiny"
[sources]
prompts = "questions.jsonl"
[teacher]
kind = "endpoint"
model = "pretend-1"
url = "{url}"
licence = "apache-2.0"
remote_allowed = true
[student]
model = "tiny"
[verify]
kind = "exact"
[[train]]
method = "sft"
"""


def curious(messages: Sequence[dict[str, str]]) -> str:
    """A teacher that mixes good questions with the usual bad ones."""
    number = messages[-1]["content"].split("Le repas ")[-1].split(" ")[0]
    return (
        f"1. Combien coûte le repas {number} ?\n- Que dit ce texte du repas {number} ?\nVoici mes questions.\n"
        f"Quoi ?\nCombien COÛTE le repas {number} ?\n"
        f"* **À qui payer le repas {number} ?**\nQui mange le repas {number} ?"
    )


def asked(folder: Path, endpoint: FakeEndpoint, per_passage: int = 2) -> Questions:
    teacher = EndpointTeacher(endpoint.url, "pretend-1", pause=0.001)
    return write_questions(teacher, PASSAGES, folder / "q.capture", per_passage=per_passage)


def test_questions_are_taken_and_what_is_none_is_counted(tmp_path: Path) -> None:
    with FakeEndpoint(answer=curious) as endpoint:
        found = asked(tmp_path, endpoint)
    texts = ["Combien coûte le repas 0 ?", "À qui payer le repas 0 ?"]
    assert [prompt.messages[1].content for prompt in found.prompts[:2]] == texts
    assert found.left_out == {
        **dict.fromkeys(("leans on the passage", "no question", "too short or long", "repeated"), 30),
        "more than wanted": 30,
    }
    assert all("coûte" in prompt.messages[0].content for prompt in found.prompts)


def test_all_questions_about_a_section_go_to_the_same_part(tmp_path: Path) -> None:
    with FakeEndpoint(answer=curious) as endpoint:
        found = asked(tmp_path, endpoint, per_passage=3)
    parts: dict[str, set[str]] = {}
    for prompt in found.prompts:
        parts.setdefault(prompt.messages[0].content, set()).add(prompt.split)
    assert all(len(part) == 1 for part in parts.values())
    assert {"train", "heldout"} <= set().union(*parts.values())


def test_nothing_is_asked_twice(tmp_path: Path) -> None:
    with FakeEndpoint(answer=curious) as endpoint:
        first = asked(tmp_path, endpoint)
        requests = len(endpoint.asked)
        assert asked(tmp_path, endpoint).prompts == first.prompts
        assert len(endpoint.asked) == requests == len(PASSAGES)


def test_a_teacher_without_questions_is_told(tmp_path: Path) -> None:
    with FakeEndpoint(answer=lambda messages: "Non.") as endpoint, pytest.raises(CheckFailed, match="no question"):
        asked(tmp_path, endpoint)


def test_documents_become_prompts_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "cantine.md").write_text("# Cantine\n\nLe repas 3 coûte 3 euros.\n", encoding="utf-8")
    letter = "Le repas 4 se paie sur FR76 3000 6000 0112 3456 7890 189.\n"
    command = [sys.executable, "-m", "cornue.cli", "questions", "r.toml", "documents", "questions.jsonl", "--json"]
    environment = {**os.environ, "CORNUE_LANG": "en"}
    with FakeEndpoint(answer=curious) as endpoint:
        (tmp_path / "r.toml").write_text(RECIPE.format(url=endpoint.url), encoding="utf-8")
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["prompts"] == len(read_prompts(tmp_path / "questions.jsonl")) > 0
        sent = len(endpoint.asked)
        (tmp_path / "documents" / "paie.txt").write_text(letter, encoding="utf-8")
        refused = subprocess.run(
            [*command[:-2], "more.jsonl"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
        )
        assert refused.returncode == 3 and "iban" in refused.stderr and "7890" not in refused.stderr
        assert len(endpoint.asked) == sent
