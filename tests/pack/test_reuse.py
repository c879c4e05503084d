"""Who learnt from a capture, and how many students repay it. Run: pytest tests/pack"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cornue.ledger.ledger import Ledger
from cornue.ledger.numbers import estimated
from cornue.pack import reuse
from cornue.pack.reuse import Training, packs_from, reuse_of, training_of

KWH = 3.6e6


def pack(folder: Path, kwh: float, right: int, digest: str = "", cost: float | None = None) -> Path:
    for part in ("lineage", "evaluation"):
        (folder / part).mkdir(parents=True)
    ledger = Ledger(folder / "ledger.jsonl")
    ledger.append("capture", "finished", {"cpu_energy": estimated(9 * KWH, "J", "watts")})
    ledger.append("train", "finished", {"cpu_energy": estimated(kwh * KWH, "J", "watts")})
    shares = {"unseen": {"asked": 8, "right": right}, "unseen/answerable": {"asked": 4, "right": 4}}
    (folder / "evaluation" / "results.json").write_text(json.dumps({"answerers": {"student": shares}}))
    (folder / "lineage" / "capture.json").write_text(json.dumps({"facts": {"capture": digest} if digest else {}}))
    record = {} if cost is None else {"cost": {"kwh": cost}}
    (folder / "lineage" / "capture-identity.json").write_text(json.dumps({"record": record}))
    (folder / "manifest.json").write_text("{}")
    return folder


class Opened:
    """A pack that was looked at elsewhere."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder


@pytest.fixture(autouse=True)
def _any_pack_is_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reuse, "open_pack", Opened)


def test_only_training_counts_and_every_question_once(tmp_path: Path) -> None:
    assert training_of(pack(tmp_path / "a", 2.0, 6)) == Training(2.0, 0.75)


def test_packs_that_name_the_capture_are_found_at_any_depth(tmp_path: Path) -> None:
    ours = [pack(tmp_path / name, 1, 1, "sha256:1") for name in ("a", "deep/er/b")]
    pack(tmp_path / "c", 1, 1, "sha256:2")
    assert list(packs_from("sha256:1", tmp_path)) == ours


def test_the_teacher_is_repaid_by_what_each_student_saves(tmp_path: Path) -> None:
    plain = pack(tmp_path / "plain", 3.0, 6)
    assert reuse_of(pack(tmp_path / "a", 2.5, 6, cost=4.0), plain).students == 8


def test_a_student_that_saves_nothing_repays_nobody(tmp_path: Path) -> None:
    plain = pack(tmp_path / "plain", 3.0, 6)
    assert reuse_of(pack(tmp_path / "a", 3.0, 6, cost=4.0), plain).students is None


def test_what_a_capture_does_not_say_is_not_made_up(tmp_path: Path) -> None:
    found = reuse_of(pack(tmp_path / "a", 2.0, 6), pack(tmp_path / "plain", 3.0, 6))
    assert (found.teacher_kwh, found.students) == (None, None)
