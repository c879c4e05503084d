"""A table and question forms are all that a job's questions need. Run: pytest tests/sources"""

from __future__ import annotations

from pathlib import Path

import pytest

from cornue.job import Job
from cornue.records.errors import BadInput
from cornue.records.samples import Prompt

FORMS = """
[slots.book]
column = "title"
[[form]]
id = "author"
ask = ["Qui a écrit {book} ?", "auteur de {book}"]
ask_en = ["Who wrote {book}?"]
sql = "SELECT author FROM books WHERE title = '{book}'"
[[form]]
id = "year"
split = "heldout"
ask = ["De quand date {book} ?"]
sql = "SELECT year FROM books WHERE title = '{book}'"
[[form]]
id = "price"
declines = true
ask = ["Combien coûte {book} ?"]
"""
RECIPE = """
[recipe]
name = "library"
[sources]
prompts = "forms.toml"
table = "books.csv"
per_form = 6
[teacher]
model = "tiny"
[student]
model = "tiny"
[verify]
kind = "sql"
[[train]]
method = "sft"
"""


def prompts_of(folder: Path, forms: str = FORMS) -> list[Prompt]:
    rows = [
        f"Roman {chr(65 + number // 26)}{chr(97 + number % 26)},Autrice {number},{1900 + number}"
        for number in range(90)
    ]
    (folder / "books.csv").write_text("title,author,year\n" + "\n".join(rows) + "\n", encoding="utf-8")
    (folder / "forms.toml").write_text(forms, encoding="utf-8")
    (folder / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    return Job.read(folder / "recipe.toml").prompts


def test_forms_and_a_table_are_enough(tmp_path: Path) -> None:
    found = prompts_of(tmp_path)
    counts = {(p.split, p.form) for p in found}
    assert counts >= {("train", "author"), ("train", "price"), ("heldout", "year"), ("heldout", "author")}
    assert sum(p.split == "train" and p.form == "author" for p in found) == 6
    assert all((p.truth or {}).get("decline") or (p.truth or {})["sql"].startswith("SELECT") for p in found)


def test_what_a_held_out_question_names_is_never_trained_on(tmp_path: Path) -> None:
    def titles(split: str) -> set[str]:
        return {
            p.truth["sql"].split("'")[1] for p in prompts_of(tmp_path) if p.split == split and "sql" in (p.truth or {})
        }  # type: ignore[index]

    assert titles("train") and titles("heldout")
    assert not titles("train") & titles("heldout")


def test_the_same_forms_give_the_same_questions(tmp_path: Path) -> None:
    assert prompts_of(tmp_path) == prompts_of(tmp_path)


def test_a_form_without_truth_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="price"):
        prompts_of(tmp_path, FORMS.replace("declines = true", ""))
