"""Other people's tables become prompts, whatever their form, and no question gets into two parts."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cornue.job import Job
from cornue.records.errors import BadInput
from cornue.records.samples import Prompt
from cornue.sources.hub_folder import licence_of, require_licence
from cornue.sources.prompts import read_prompts
from cornue.sources.tasks import read_tasks

ROWS: list[dict[str, Any]] = [{"question": f"What is {n} + {n}?", "answer": str(2 * n)} for n in range(60)]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Rows in the form that the file's name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".arrow":
        table = pa.Table.from_pylist(rows)
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def said(prompts: list[Prompt]) -> list[tuple[str, Any]]:
    return [(prompt.messages[-1].content, (prompt.truth or {}).get("answer")) for prompt in prompts]


@pytest.mark.parametrize("name", ["q.csv", "q.jsonl", "q.json", "q.parquet", "q.arrow"])
def test_every_kind_of_file_gives_the_same_prompts(tmp_path: Path, name: str) -> None:
    prompts = read_prompts(write(tmp_path / name, ROWS))
    assert said(prompts) == [(row["question"], row["answer"]) for row in ROWS]
    assert {prompt.source for prompt in prompts} == {name}
    assert [prompt.id for prompt in prompts] == [prompt.id for prompt in read_prompts(write(tmp_path / "o.csv", ROWS))]


def test_parts_that_are_not_named_are_drawn_and_stay_the_same(tmp_path: Path) -> None:
    prompts = read_prompts(write(tmp_path / "q.csv", ROWS))
    parts = Counter(prompt.split for prompt in prompts)
    assert parts["train"] > 35 and 3 <= parts["heldout"] <= 18 and parts["validation"] >= 1
    fewer = {prompt.id: prompt.split for prompt in read_prompts(write(tmp_path / "r.csv", ROWS[::-2]))}
    assert all(fewer.get(prompt.id, prompt.split) == prompt.split for prompt in prompts)


def test_parts_that_rows_name_are_kept(tmp_path: Path) -> None:
    rows = [{**row, "split": ("train", "dev", "test")[n % 3]} for n, row in enumerate(ROWS)]
    parts = [prompt.split for prompt in read_prompts(write(tmp_path / "q.jsonl", rows))]
    assert parts == ["train", "validation", "heldout"] * 20


def test_columns_can_be_named(tmp_path: Path) -> None:
    rows = [{"texte": row["question"], "classe": row["answer"], "question": "not this"} for row in ROWS]
    path = write(tmp_path / "q.csv", rows)
    assert said(read_prompts(path, {"question": "texte", "answer": "classe"})) == said(
        read_prompts(write(tmp_path / "p.csv", ROWS))
    )
    with pytest.raises(BadInput, match="réponse.*texte, classe, question"):
        read_prompts(path, {"answer": "réponse"})


def test_a_conversation_ends_where_an_answer_is_wanted(tmp_path: Path) -> None:
    turns = [("system", "Be brief."), ("human", "2 + 2?"), ("gpt", "4")]
    row = {"conversations": [{"from": who, "value": text} for who, text in turns]}
    [prompt] = read_prompts(write(tmp_path / "q.jsonl", [row]))
    assert [message.role for message in prompt.messages] == ["system", "user"]
    assert prompt.truth == {"answer": "4"}


def test_the_number_behind_a_marked_solution_is_the_answer(tmp_path: Path) -> None:
    row = {"question": "How many?", "answer": "3 and 4 are 7.\n#### 7"}
    assert said(read_prompts(write(tmp_path / "q.parquet", [row]))) == [("How many?", "7")]


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([{"text": "a"}], "no column 'question'; there are: text"),
        ([{"question": " "}], "question is empty"),
        ([{"question": "a"}, {"question": "b"}, {"question": "a"}], "row 3: it asks what .*row 1 asks"),
        ([{"question": "a", "split": "private"}], "'private'"),
        ([{"messages": [{"role": "king", "content": "a"}]}], "role"),
        ([{"messages": []}], "empty"),
    ],
)
def test_what_is_no_question_is_named(tmp_path: Path, rows: list[dict[str, Any]], why: str) -> None:
    with pytest.raises(BadInput, match=why):
        read_prompts(write(tmp_path / "q.json", rows))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("q.csv", b"question\n\xff\xfe\n"),
        ("q.csv", b"question,answer\nonly one\n"),
        ("q.json", b'{"question": 1}'),
        ("q.json", b"[" * 100_000),
        ("q.parquet", b"PAR1 no"),
        ("q.arrow", b"no"),
        ("q.xlsx", b"PK"),
        ("q.csv.gz", b"no gzip"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(BadInput, match=name):
        read_prompts(tmp_path / name)


CARD = "---\nlicense: mit\ntask_categories:\n- question-answering\n---\n# A data set\n"


def test_a_repository_folder_is_read_by_the_names_of_its_files(tmp_path: Path) -> None:
    write(tmp_path / "data" / "train-00000-of-00002.parquet", ROWS[:20])
    write(tmp_path / "data" / "train-00001-of-00002.parquet", ROWS[20:40])
    write(tmp_path / "data" / "test-00000-of-00001.parquet", ROWS[40:])
    write(tmp_path / ".cache" / "train.csv", ROWS)
    (tmp_path / "README.md").write_text(CARD)
    prompts = read_prompts(tmp_path)
    parts = Counter(prompt.split for prompt in prompts)
    assert len(prompts) == 60 and parts["heldout"] == 20
    assert parts["validation"] and all(prompt.split != "train" for prompt in prompts[:20])


def test_a_folder_of_save_to_disk_is_read(tmp_path: Path) -> None:
    for part, rows in (("train", ROWS[:30]), ("validation", ROWS[30:40]), ("test", ROWS[40:])):
        write(tmp_path / part / "data-00000-of-00001.arrow", rows)
        (tmp_path / part / "state.json").write_text("{}")
        (tmp_path / part / "dataset_info.json").write_text('{"license": ""}')
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "validation", "test"]}')
    assert Counter(prompt.split for prompt in read_prompts(tmp_path)) == {"train": 30, "validation": 10, "heldout": 20}


def test_several_subsets_are_not_mixed(tmp_path: Path) -> None:
    for subset in ("main", "socratic"):
        write(tmp_path / subset / "train.jsonl", ROWS)
    with pytest.raises(BadInput, match="main, socratic"):
        read_prompts(tmp_path)
    assert len(read_prompts(tmp_path / "main")) == 60


def test_the_same_question_in_two_parts_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", ROWS)
    write(tmp_path / "test.csv", ROWS[:1])
    with pytest.raises(BadInput, match="asks what"):
        read_prompts(tmp_path)


@pytest.mark.parametrize(
    ("card", "licence"),
    [(CARD, "mit"), ("---\nlicense:\n- cc-by-4.0\n---\n", "cc-by-4.0"), ("license: none here", ""), ("---\n---\n", "")],
)
def test_the_card_names_the_licence(tmp_path: Path, card: str, licence: str) -> None:
    (tmp_path / "README.md").write_text(card)
    assert licence_of(tmp_path) == licence
    (tmp_path / "main").mkdir()
    assert licence_of(tmp_path / "main") == licence


def test_a_recipe_must_name_the_licence_that_the_card_names(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(CARD)
    require_licence(tmp_path, "MIT")
    with pytest.raises(BadInput, match='licence = "mit"'):
        require_licence(tmp_path, "unknown")


TASKS = '[[task]]\nname = "sums"\ntrain = 6\nheldout = 3\nseed = 4\nsettings = { most = 9 }\n'


def sums(name: str, size: int, seed: int, most: int) -> list[dict[str, Any]]:
    """A generator that repeats itself."""
    if name != "sums":
        raise ValueError(f"Dataset '{name}' not registered")
    return [{"question": f"{(n + seed) % most} + 1?", "answer": str((n + seed) % most + 1)} for n in range(size)]


def test_tasks_become_different_questions_in_their_parts(tmp_path: Path) -> None:
    path = tmp_path / "tasks.toml"
    path.write_text(TASKS)
    rows = [row for _, _, row in read_tasks(path, sums)]
    assert len({row["question"] for row in rows}) == 9
    assert Counter(row["split"] for row in rows) == {"train": 6, "heldout": 3}


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("most = 9", "most = 5", "only 5 different"),
        ("sums", "subs", "not registered"),
        ("most = 9", "least = 1", "least"),
        ("train = 6", "trian = 6", "trian"),
        ("[[task]]", "task", "tasks.toml"),
    ],
)
def test_tasks_that_cannot_be_made_are_named(tmp_path: Path, old: str, new: str, why: str) -> None:
    path = tmp_path / "tasks.toml"
    path.write_text(TASKS.replace(old, new))
    with pytest.raises(BadInput, match=why):
        list(read_tasks(path, sums))


def test_tasks_of_the_real_generators(tmp_path: Path) -> None:
    pytest.importorskip("reasoning_gym")
    path = tmp_path / "tasks.toml"
    path.write_text('[[task]]\nname = "leg_counting"\ntrain = 5\nheldout = 2\n')
    prompts = read_prompts(path)
    assert Counter(prompt.split for prompt in prompts) == {"train": 5, "heldout": 2}
    assert all("legs" in prompt.messages[0].content and int((prompt.truth or {})["answer"]) for prompt in prompts)
    assert prompts == read_prompts(path)


RECIPE = """
[recipe]
name = "mails"
[sources]
prompts = "SOURCE"
licence = "LICENCE"
[teacher]
model = "teacher.gguf"
[student]
model = "tiny"
[verify]
kind = "exact"
[[train]]
method = "sft"
"""


def test_a_recipe_may_name_a_data_set_folder_under_its_licence(tmp_path: Path) -> None:
    write(tmp_path / "mails" / "train.csv", ROWS)
    (tmp_path / "mails" / "README.md").write_text(CARD)
    recipe = tmp_path / "r.toml"
    recipe.write_text(RECIPE.replace("SOURCE", "mails").replace("LICENCE", "mit"))
    job = Job.read(recipe)
    name = job.name
    assert len(job.prompts) == 60
    write(tmp_path / "mails" / "test.csv", [{"question": "one more", "answer": "1"}])
    assert Job.read(recipe).name != name
    recipe.write_text(RECIPE.replace("SOURCE", "mails").replace("LICENCE", "etalab-2.0"))
    with pytest.raises(BadInput, match="mit"):
        Job.read(recipe).prompts  # noqa: B018
