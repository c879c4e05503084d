"""A recipe's capture keeps the budget and says under which licences it stands; a foreign one is looked over first."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cornue.capture.reader import CaptureReader
from cornue.capture.run import capture_for, use_capture
from cornue.records.errors import BadInput, CheckFailed, Refused
from cornue.records.recipe import Recipe, parse_recipe
from cornue.records.samples import Message, Prompt
from cornue.seal.keys import new_key
from cornue.seal.sign import sign_folder
from pretend.endpoint import FakeEndpoint

PROMPTS = [Prompt.make((Message(role="user", content=f"question {number}"),)) for number in range(12)]
LETTER = Prompt.make((Message(role="user", content="IBAN FR76 3000 6000 0112 3456 7890 189"),))


def recipe(endpoint: FakeEndpoint, licence: str = "apache-2.0", **sections: object) -> Recipe:
    teacher = {"kind": "endpoint", "model": "pretend-1", "url": endpoint.url, "remote_allowed": True}
    return parse_recipe(
        {
            "recipe": {"name": "r"},
            "sources": {"prompts": "p.jsonl", "licence": "etalab-2.0", "attribution": "INSEE"},
            "teacher": {**teacher, "licence": licence},
            "student": {"model": "tiny"},
            "verify": {"kind": "exact"},
            "train": [{"method": "sft"}],
            **sections,
        }
    )


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The key folder of a user who trusts nobody yet."""
    monkeypatch.setenv("CORNUE_KEYS", str(tmp_path / "keys"))
    (tmp_path / "keys" / "trusted").mkdir(parents=True)
    return tmp_path / "keys"


def captured(folder: Path, licence: str = "apache-2.0") -> CaptureReader:
    with FakeEndpoint() as endpoint:
        return capture_for(recipe(endpoint, licence), folder, PROMPTS, folder / "1-capture")


def test_licences_and_attribution_travel_with_the_capture(tmp_path: Path) -> None:
    record = captured(tmp_path).about["record"]
    assert record["teacher_licence"]["answer"] == "yes"
    assert record["prompts_licence"] == {"licence": "etalab-2.0", "attribution": "INSEE"}


def test_the_recipes_budget_is_kept(tmp_path: Path) -> None:
    with FakeEndpoint() as endpoint:
        with pytest.raises(Refused, match="100"):
            capture_for(
                recipe(endpoint, budget={"tokens": 100}, capture={"max_tokens": 20}), tmp_path, PROMPTS, tmp_path / "c"
            )
        assert 0 < len(endpoint.asked) < 12


def test_the_recipes_word_on_personal_data_is_kept(tmp_path: Path) -> None:
    with FakeEndpoint() as endpoint:
        with pytest.raises(Refused, match="iban"):
            capture_for(recipe(endpoint), tmp_path, [LETTER], tmp_path / "c")
        assert endpoint.asked == []
        capture_for(recipe(endpoint, capture={"personal_data": "replace"}), tmp_path, [LETTER], tmp_path / "d")
        assert "[IBAN_1]" in str(endpoint.asked) and "7890" not in str(endpoint.asked)


def test_a_signed_capture_is_used_without_a_word_and_others_with_one(tmp_path: Path, keys: Path) -> None:
    folder = captured(tmp_path).folder
    assert "not signed" in use_capture(folder)[1][0]
    key = new_key(keys / "town-hall.pem")
    sign_folder(folder, key)
    assert "no key of yours" in use_capture(folder)[1][0]
    (keys / "trusted" / "town-hall.pem").write_bytes((keys / "town-hall.pub.pem").read_bytes())
    assert use_capture(folder)[1] == []


def test_a_broken_signature_or_an_altered_file_is_not_used(tmp_path: Path, keys: Path) -> None:
    folder = captured(tmp_path).folder
    (folder / "signatures").mkdir()
    (folder / "signatures" / "a.sig").write_text(json.dumps({"nothing": 1}))
    with pytest.raises(CheckFailed):
        use_capture(folder)
    (folder / "capture.json").write_text("{}")
    with pytest.raises(BadInput):
        use_capture(folder)


def test_a_capture_whose_teacher_may_not_teach_is_refused(tmp_path: Path, keys: Path) -> None:
    folder = captured(tmp_path, "llama2").folder
    with pytest.raises(Refused):
        use_capture(folder)
    found, said = use_capture(folder, override="Contract 12 of 2026 with the licensor allows it.")
    assert len(found.samples()) == 12 and len(said) == 2


def cornue(folder: Path, *told: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "CORNUE_LANG": "en", "CORNUE_KEYS": str(folder / "keys")}
    command = [sys.executable, "-m", "cornue.cli", *map(str, told)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


def test_publishing_signs_and_stops_at_personal_data(tmp_path: Path, keys: Path) -> None:
    new_key(keys / "town-hall.pem")
    sound = captured(tmp_path).folder
    assert cornue(tmp_path, "publish", sound, "shared").returncode == 0
    [shared] = (tmp_path / "shared").glob("sha256-*")
    assert list((shared / "signatures").iterdir())
    with FakeEndpoint(answer=lambda messages: "noted") as endpoint:
        whole = recipe(endpoint, capture={"personal_data": "replace"})
        folder = capture_for(whole, tmp_path, [LETTER], tmp_path / "letters").folder
    refused = cornue(tmp_path, "publish", folder, "shared")
    assert refused.returncode == 3 and "1 iban" in refused.stderr and "7890" not in refused.stderr
    assert cornue(tmp_path, "publish", folder, "shared", "--personal-data").returncode == 0
