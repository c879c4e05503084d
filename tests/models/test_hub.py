"""A model of the hub is fetched by name and revision. Run: pytest tests/models"""

from __future__ import annotations

from pathlib import Path

import huggingface_hub
import pytest

from cornue.capture.teachers import weights_of
from cornue.records.errors import BadInput, OutsideFailure
from cornue.records.recipe import Teacher

NAME = "hub:institute/model@0123abc"


def teacher(model: str) -> Teacher:
    return Teacher(kind="transformers", model=model)


def test_the_revision_goes_to_the_hub_and_a_folder_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}

    def snapshot(name: str, **options: object) -> str:
        asked.update(options, name=name)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    assert weights_of(teacher(NAME), Path("elsewhere")) == tmp_path
    assert (asked["name"], asked["revision"]) == ("institute/model", "0123abc")
    assert not any(pattern.endswith((".py", ".bin")) for pattern in asked["allow_patterns"])  # type: ignore[attr-defined]


def test_a_name_without_a_revision_is_refused() -> None:
    with pytest.raises(BadInput, match="no revision"):
        weights_of(teacher("hub:institute/model"), Path())


@pytest.mark.parametrize("name", [NAME, "hub:no such/name/at all@1"])
def test_what_cannot_be_fetched_is_told_in_a_sentence(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(OutsideFailure, match="cannot be fetched"):
        weights_of(teacher(name), Path())
