"""A file is read again as soon as anything has touched it, and what differs ends the service."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cornue.records.digests import digest_bytes
from cornue.serve import seen as room
from cornue.serve.seen import NAME, Seen


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that are as young as these count as settled."""
    monkeypatch.setattr(room, "SETTLED_SECONDS", -10.0)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "weights"
    path.write_bytes(b"abc")
    return path


def looked(folder: Path, file: Path) -> tuple[Seen, str]:
    """A start of the service that finds all right."""
    seen = Seen(folder)
    digest = seen.digest(file)
    seen.keep()
    return seen, digest


def test_a_file_that_nobody_touched_is_not_read_again(tmp_path: Path, file: Path) -> None:
    first, digest = looked(tmp_path / "data", file)
    second, again = looked(tmp_path / "data", file)
    assert digest == again == digest_bytes(b"abc")
    assert (list(first.trusted), list(second.trusted)) == ([], [file])


def rewrite(file: Path) -> None:
    before = file.stat()
    file.write_bytes(b"abd")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace(file: Path) -> None:
    other = file.with_name("other")
    other.write_bytes(b"abd")
    other.replace(file)


def lengthen(file: Path) -> None:
    file.write_bytes(b"abcd")


@pytest.mark.parametrize("touch", [rewrite, replace, lengthen])
def test_a_file_that_was_touched_is_read(tmp_path: Path, file: Path, touch: Callable[[Path], None]) -> None:
    _, digest = looked(tmp_path / "data", file)
    touch(file)
    seen, again = looked(tmp_path / "data", file)
    assert again == digest_bytes(file.read_bytes()) != digest
    assert not seen.trusted


def test_a_file_that_is_still_being_changed_is_not_remembered(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "SETTLED_SECONDS", 60.0)
    looked(tmp_path / "data", file)
    assert not looked(tmp_path / "data", file)[0].trusted


@pytest.mark.parametrize("content", ["", "[]", '{"a": 1}', "\x00", '{"a": {"stamp": 3, "digest": 4}}'])
def test_notes_that_cannot_be_read_are_no_notes(tmp_path: Path, file: Path, content: str) -> None:
    (tmp_path / NAME).write_text(content)
    assert looked(tmp_path, file)[1] == digest_bytes(b"abc")


def test_what_was_trusted_is_read_later_and_forgotten_if_it_differs(tmp_path: Path, file: Path) -> None:
    looked(tmp_path, file)
    seen, _ = looked(tmp_path, file)
    assert seen.read_again() is None
    file.write_bytes(b"abd")
    assert seen.read_again() == file
    assert not (tmp_path / NAME).exists()
