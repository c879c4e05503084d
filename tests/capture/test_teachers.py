"""A recipe names its teacher in few words; a sealed pack teaches only if it is whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cornue.capture.teachers import weights_of
from cornue.records.errors import BadInput
from cornue.records.recipe import Teacher
from cornue.seal.manifest import write_manifest


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """The folder of a pack that holds little."""
    folder = tmp_path / "packs" / "6-pack"
    (folder / "student").mkdir(parents=True)
    (folder / "student" / "config.json").write_text("{}")
    (folder / "student-Q8_0.gguf").write_bytes(b"GGUF")
    (folder / "pack.json").write_text(json.dumps({"serve": "student-Q8_0.gguf"}))
    write_manifest(folder, "pack", {})
    return folder


def test_a_pack_gives_the_weights_that_its_engine_reads(pack: Path, tmp_path: Path) -> None:
    named = {"model": "pack:packs/6-pack"}
    assert weights_of(Teacher(kind="transformers", **named), tmp_path) == pack / "student"
    assert weights_of(Teacher(kind="gguf", **named), tmp_path) == pack / "student-Q8_0.gguf"
    assert weights_of(Teacher(kind="gguf", model="a.gguf"), tmp_path) == tmp_path / "a.gguf"


@pytest.mark.parametrize("change", ["alter", "remove", "add", "no facts"])
def test_an_altered_pack_does_not_teach(pack: Path, tmp_path: Path, change: str) -> None:
    if change == "alter":
        (pack / "student" / "config.json").write_text("[]")
    elif change == "remove":
        (pack / "student-Q8_0.gguf").unlink()
    elif change == "add":
        (pack / "extra").write_text("x")
    else:
        (pack / "pack.json").write_text("{}")
        write_manifest(pack, "pack", {})
    with pytest.raises(BadInput, match="cannot teach"):
        weights_of(Teacher(model="pack:packs/6-pack"), tmp_path)
