"""Opening a pack: every byte is checked, and nothing outside it is touched. Run: pytest tests/pack"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cornue.pack.open import FACTS, PackFacts, open_pack
from cornue.records.errors import BadInput, CheckFailed
from cornue.seal.manifest import write_manifest


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    folder = tmp_path / "pack"
    folder.mkdir()
    (folder / "student.gguf").write_bytes(b"weights")
    return write(folder)


def write(folder: Path, **changes: object) -> Path:
    facts = PackFacts(
        name="x", title="", language="en", purpose="", limits="", contact="", licence="MIT", attribution="",
        model_digest="sha256:0", parts={}, serve="student.gguf", verify="exact", version="0",
    )  # fmt: skip
    (folder / FACTS).write_text(json.dumps(facts.model_dump(mode="json") | changes))
    write_manifest(folder, "pack", {})
    return folder


def test_an_untouched_pack_opens(pack: Path) -> None:
    assert open_pack(pack).served_file.read_bytes() == b"weights"


def test_an_altered_byte_is_found(pack: Path) -> None:
    (pack / "student.gguf").write_bytes(b"weighty")
    with pytest.raises(CheckFailed, match=r"student\.gguf"):
        open_pack(pack)


def test_an_unlisted_file_is_found(pack: Path) -> None:
    (pack / "more.gguf").write_bytes(b"")
    with pytest.raises(CheckFailed, match=r"more\.gguf"):
        open_pack(pack)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "absent.gguf"])
def test_a_pack_cannot_name_a_file_outside_itself(pack: Path, name: str) -> None:
    with pytest.raises(BadInput, match="names"):
        open_pack(write(pack, serve=name))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": "cornue-pack/1"}'])
def test_unreadable_facts_are_bad_input(pack: Path, text: str) -> None:
    (pack / FACTS).write_text(text)
    write_manifest(pack, "pack", {})
    with pytest.raises(BadInput, match="pack.json"):
        open_pack(pack)


def test_a_folder_that_is_no_pack_says_what_a_pack_is(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="6-pack"):
        open_pack(tmp_path)
