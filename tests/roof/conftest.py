"""A whole tiny job: a register of twelve towns, questions about them, a teacher that replays, a random student."""

from __future__ import annotations

import io
import shutil
import sqlite3
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import pytest

from cornue.cli import main
from cornue.records.samples import Message, Prompt, Sample
from cornue.sources.prompts import write_prompts

TOWNS = [(f"Ville-{n}", ("Ain", "Gard", "Var")[n % 3], 1000 * (n + 1)) for n in range(12)]
RECIPE = """
[recipe]
name = "tiny"
language = "en"
[sources]
prompts = "prompts.jsonl"
table = "towns.sqlite"
licence = "etalab-2.0"
[teacher]
kind = "replay"
model = "answers.jsonl"
licence = "apache-2.0"
[student]
model = "tiny"
template = "own"
extend = 10
licence = "apache-2.0"
[verify]
kind = "sql"
[[train]]
method = "sft"
epochs = 1
batch_tokens = 400
checkpoint_every = 2
[evaluate]
max_tokens = 8
agreement = 2
"""


class Ended(NamedTuple):
    """What a command left: its exit code and what it wrote."""

    returncode: int
    stdout: str
    stderr: str


def cornue(*words: str | Path, cwd: Path, language: str = "en") -> Ended:
    """The command line in this process: as in one of its own, without the seconds that importing torch takes."""
    said, told = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said), redirect_stderr(told):
        patch.chdir(cwd)
        patch.setenv("CORNUE_LANG", language)
        patch.setenv("CORNUE_KEYS", str(cwd / "keys"))
        patch.setattr(sys, "argv", ["cornue", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
    return Ended(int(ended.value.code or 0), said.getvalue(), told.getvalue())


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """The recipe of a job that runs in a few seconds; one of the teacher's answers is wrong."""
    return write_job(tmp_path)


@pytest.fixture(scope="session")
def finished_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same job after its run, in a folder that no test may change."""
    job = write_job(tmp_path_factory.mktemp("job"))
    done = cornue("run", job, cwd=job.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    return job


@pytest.fixture
def finished(finished_once: Path, tmp_path: Path) -> Path:
    """A copy of the finished job, to do with as one likes."""
    shutil.copytree(finished_once.parent, tmp_path / "job")
    return tmp_path / "job" / finished_once.name


def write_job(tmp_path: Path) -> Path:
    """Write recipe, register, prompts and recorded answers into a folder; returns the recipe."""
    with sqlite3.connect(tmp_path / "towns.sqlite") as connection:
        connection.execute("CREATE TABLE communes (nom TEXT, departement TEXT, population INTEGER)")
        connection.executemany("INSERT INTO communes VALUES (?, ?, ?)", TOWNS)
    connection.close()
    prompts, answers = [], []
    for number, (name, _, _) in enumerate(TOWNS):
        sql = f"SELECT population FROM communes WHERE nom = '{name}'"
        split = "heldout" if number >= 9 else "validation" if number == 8 else "train"
        asked = (Message(role="user", content=f"Population of {name}?"),)
        prompts.append(Prompt.make(asked, {"sql": sql}, split=split, form="population", stratum="unseen"))
        text = "SELECT 1" if number == 0 else f"-- population\n{sql}"
        answers.append(Sample(prompt_id=prompts[-1].id, text=text, completion_tokens=9))
    write_prompts(tmp_path / "prompts.jsonl", prompts)
    lines = "".join(answer.model_dump_json() + "\n" for answer in answers)
    (tmp_path / "answers.jsonl").write_text(lines, encoding="utf-8")
    (tmp_path / "tiny.toml").write_text(RECIPE, encoding="utf-8")
    return tmp_path / "tiny.toml"
