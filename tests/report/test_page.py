"""The report shows what stands in the pack, escapes what it is given and asks no network. Run: pytest tests/report"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cornue.ledger.ledger import Ledger
from cornue.ledger.numbers import estimated, measured
from cornue.report.page import write_report

SHARE = {"asked": 20, "right": 15, "share": 0.75, "low": 0.53, "high": 0.89}
PAIR = {"asked": 20, "difference": -0.1, "difference_low": -0.3, "difference_high": 0.1}


def write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


UNKNOWN = {"teacher_kwh": None, "distilled": None, "plain": None, "students": None}
TRAINING = {"kwh": 2.0, "right": 0.7}


@pytest.fixture
def page(tmp_path: Path) -> str:
    return write_page(tmp_path, UNKNOWN)


def write_page(tmp_path: Path, reuse: dict[str, Any]) -> str:
    pack, rooms = tmp_path / "pack", {name: tmp_path / name for name in ("capture", "verify", "curate", "train")}
    facts = {"name": "x", "title": "<b>Title</b>", "language": "fr", "purpose": "P", "limits": "", "contact": ""}
    facts |= {"licence": "MIT", "attribution": "A", "table_digest": "", "model_digest": "sha256:77"}
    write(pack / "pack.json", facts)
    results = {"answerers": {"student": {"unseen": SHARE}, "teacher": {"unseen": SHARE | {"share": 0.9}}}}
    results |= {"student_against_teacher": {"unseen": PAIR}, "agreement": {"F16": SHARE}}
    write(pack / "evaluation" / "results.json", results)
    capture = {"teacher": {"name": "T", "weights": "sha256:9", "parameters": 15e8}}
    capture |= {"counts": {"prompts": 40, "completion_tokens": 900}}
    write(pack / "lineage" / "capture-identity.json", capture)
    fitted = {"parameters": 1e8, "parameters_before": 2e8, "vocabulary": 5, "vocabulary_before": 9}
    write(rooms["capture"] / "manifest.json", {"facts": {}})
    write(rooms["verify"] / "manifest.json", {"facts": {"values": {"correct": 30}}})
    removed = {"a rule": 4, "carried: enough refusals": 7}
    write(rooms["curate"] / "manifest.json", {"facts": {"train": 30, "forms": 3, "removed": removed}})
    write(rooms["train"] / "manifest.json", {"facts": {"student": fitted, "stages": []}})
    curve = rooms["train"] / "stages" / "01-sft" / "curve.jsonl"
    curve.parent.mkdir(parents=True)
    curve.write_text('{"loss": 3.0}\n{"loss": 1.0}\n')
    ledger = Ledger(tmp_path / "ledger.jsonl")
    spent = {"wall": measured(120, "s"), "cpu": measured(200, "s"), "cpu_energy": estimated(900, "J", "watts")}
    ledger.append("train", "finished", spent)
    write_report(pack, rooms, ledger.path, reuse)
    return (pack / "report.html").read_text(encoding="utf-8")


def test_a_french_report_names_steps_reasons_and_parts_in_french(page: str) -> None:
    for told in ("apprentissage", "transposée : assez de refus", "a rule", "(estimé)", "formes et lieux jamais vus"):
        assert told in page
    assert page.startswith("<!doctype html>")


def test_it_says_how_good_the_student_is_in_the_language_of_the_pack(page: str) -> None:
    assert "75 %" in page and "de réponses justes" in page and 'lang="fr"' in page


def test_words_of_the_pack_are_text_and_never_markup(page: str) -> None:
    assert "<b>Title" not in page and "&lt;b&gt;Title" in page


def test_it_needs_no_script_and_no_network(page: str) -> None:
    assert "<script" not in page and "http" not in page


def test_what_was_removed_is_named(page: str) -> None:
    assert "a rule" in page


def test_the_energy_says_how_it_was_obtained(page: str) -> None:
    assert "estimé" in page


def test_every_drawn_point_lies_in_the_box(page: str) -> None:
    points = page.split('points="')[1].split('"')[0].split()
    assert [tuple(map(float, point.split(","))) for point in points] == [(0.0, 10.0), (600.0, 103.3)]


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({}, "aucun seuil de rentabilité"),
        ({"teacher_kwh": 3.0}, "Aucun affinage simple"),
        ({"teacher_kwh": 3.0, "plain": TRAINING}, "quel que soit le nombre"),
        ({"teacher_kwh": 3.0, "plain": TRAINING, "students": 12.5}, "12,5 élèves"),
    ],
)
def test_it_says_how_many_students_repay_the_teacher_or_why_not(
    tmp_path: Path, facts: dict[str, Any], said: str
) -> None:
    assert said in write_page(tmp_path, UNKNOWN | {"distilled": TRAINING} | facts)
