"""A folder and its list of files: every difference has a name."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cornue.records.errors import BadInput, CheckFailed
from cornue.seal.manifest import check_manifest, folder_digest, read_manifest, require_manifest, write_manifest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "capture"
    (root / "shards").mkdir(parents=True)
    (root / "samples.jsonl").write_text("one\n")
    (root / "shards" / "été 1.bin").write_bytes(b"\x00\x01")
    write_manifest(root, "capture", {"teacher": "sha256:abc", "rows": 1})
    return root


def whats(folder: Path) -> list[tuple[str, str]]:
    return [(problem.what, problem.path) for problem in check_manifest(folder)]


def test_a_fresh_folder_agrees_with_its_manifest(folder: Path) -> None:
    assert check_manifest(folder) == []
    assert read_manifest(folder).facts == {"teacher": "sha256:abc", "rows": 1}
    assert [entry.path for entry in read_manifest(folder).files] == ["samples.jsonl", "shards/été 1.bin"]


def test_the_identity_is_the_digest_of_the_manifest_file(folder: Path) -> None:
    expected = "sha256:" + hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    assert folder_digest(folder) == expected


def test_the_same_content_has_the_same_identity(folder: Path) -> None:
    before = folder_digest(folder)
    assert write_manifest(folder, "capture", {"rows": 1, "teacher": "sha256:abc"}) == before


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "samples.jsonl").unlink()
    assert whats(folder) == [("missing", "samples.jsonl")]


def test_an_altered_file_of_equal_size_is_named(folder: Path) -> None:
    (folder / "samples.jsonl").write_text("two\n")
    assert whats(folder) == [("altered", "samples.jsonl")]


@pytest.mark.parametrize("extra", ["empty", ".git/hook", "shards/manifest.json", "sub/signatures/x"])
def test_an_extra_file_is_named_wherever_it_hides(folder: Path, extra: str) -> None:
    (folder / extra).parent.mkdir(exist_ok=True, parents=True)
    (folder / extra).touch()
    assert whats(folder) == [("extra", extra)]


def test_signatures_lie_outside_the_identity(folder: Path) -> None:
    (folder / "signatures").mkdir()
    (folder / "signatures" / "school.sig").write_text("{}")
    assert check_manifest(folder) == []


@pytest.mark.parametrize("place", ["link", "signatures", "shards/link"])
def test_links_to_files_and_folders_are_named(folder: Path, tmp_path: Path, place: str) -> None:
    (folder / place).symlink_to(tmp_path)
    assert whats(folder) == [("not plain", place)]


def test_a_file_replaced_by_a_link_to_its_copy_is_named(folder: Path, tmp_path: Path) -> None:
    (folder / "samples.jsonl").rename(tmp_path / "copy")
    (folder / "samples.jsonl").symlink_to(tmp_path / "copy")
    assert whats(folder) == [("not plain", "samples.jsonl")]


def test_a_pipe_is_named_and_not_read(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    assert whats(folder) == [("not plain", "pipe")]


def test_a_manifest_cannot_be_written_over_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    with pytest.raises(BadInput, match="link|lien"):
        write_manifest(tmp_path, "pack", {})


def test_a_manifest_that_is_a_link_is_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "manifest.json").rename(tmp_path / "manifest.json")
    (folder / "manifest.json").symlink_to(tmp_path / "manifest.json")
    assert whats(folder) == [("manifest", "manifest.json")]


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "a/../../secret", "shards//x", "./x", "a\\b", "", "a\nb"])
def test_a_path_that_leads_out_is_named_and_not_read(folder: Path, path: str) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"].append({"path": path, "size": 1, "sha256": "sha256:" + "0" * 64})
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert whats(folder) == [("escapes", path)]


def test_a_file_listed_twice_is_named(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"].append(manifest["files"][0])
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert whats(folder) == [("manifest", "samples.jsonl")]


def test_a_key_that_stands_twice_is_refused(folder: Path) -> None:
    text = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(text.replace('"kind"', '"kind": "pack", "kind"'))
    assert whats(folder) == [("manifest", "manifest.json")]


def test_a_folder_without_manifest_is_unfinished(tmp_path: Path) -> None:
    with pytest.raises(CheckFailed, match="manifest.json"):
        require_manifest(tmp_path)


def test_the_first_problem_is_said_and_the_others_counted(folder: Path) -> None:
    (folder / "samples.jsonl").unlink()
    (folder / "x").touch()
    with pytest.raises(CheckFailed, match="samples.jsonl.*1"):
        require_manifest(folder)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    noise=st.binary(max_size=60)
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(lambda value: json.dumps(value).encode())
)
def test_any_bytes_as_manifest_give_a_problem_and_no_crash(folder: Path, noise: bytes) -> None:
    (folder / "manifest.json").write_bytes(noise)
    assert whats(folder) == [("manifest", "manifest.json")]
