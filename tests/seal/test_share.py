"""Captures and packs go to a shared folder and come back whole, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from cornue.records.errors import BadInput, CheckFailed
from cornue.seal.keys import KeyRing, new_key
from cornue.seal.manifest import check_manifest, folder_digest, write_manifest
from cornue.seal.share import find_shared, publish, pull
from cornue.seal.sign import sign_folder, verify_folder


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    root = tmp_path / "1-capture"
    (root / "shards").mkdir(parents=True)
    (root / "shards" / "0.bin").write_bytes(b"distribution" * 1000)
    (root / "samples.parquet").write_bytes(b"samples")
    write_manifest(root, "capture", {"teacher": "sha256:1"})
    return root


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    return tmp_path / "shared"


def in_it(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_capture_goes_and_comes_back_by_digest(capture: Path, shared: Path, tmp_path: Path) -> None:
    digest = publish(capture, shared)
    pulled = pull(digest, shared, tmp_path / "mine")
    assert pulled == tmp_path / "mine" / f"capture-{digest[7:19]}"
    assert folder_digest(pulled) == digest == folder_digest(capture)
    assert check_manifest(pulled) == []


@pytest.mark.parametrize("length", [15, 27, 71])
def test_the_beginning_of_a_digest_suffices(capture: Path, shared: Path, tmp_path: Path, length: int) -> None:
    digest = publish(capture, shared)
    assert folder_digest(pull(digest[:length], shared, tmp_path / "mine")) == digest


def test_a_name_passes_to_what_was_published_last(capture: Path, shared: Path, tmp_path: Path) -> None:
    publish(capture, shared, "communes")
    (capture / "samples.parquet").write_bytes(b"better samples")
    later = write_manifest(capture, "capture", {})
    publish(capture, shared, "communes")
    assert folder_digest(pull("communes", shared, tmp_path / "mine")) == later
    assert len(list(shared.glob("sha256-*"))) == 2


def test_signatures_travel_and_late_ones_are_added(capture: Path, shared: Path, tmp_path: Path) -> None:
    digest = publish(capture, shared)
    pull(digest, shared, tmp_path / "mine")
    key = new_key(tmp_path / "keys" / "school.pem")
    sign_folder(capture, key)
    publish(capture, shared)
    pulled = pull(digest, shared, tmp_path / "mine")
    assert verify_folder(pulled, KeyRing([key.public])).value == "verified"


def test_publishing_again_copies_nothing(capture: Path, shared: Path) -> None:
    digest = publish(capture, shared)
    file = shared / digest.replace(":", "-") / "samples.parquet"
    before = file.stat().st_mtime_ns
    assert publish(capture, shared) == digest
    assert file.stat().st_mtime_ns == before


def test_a_damaged_folder_is_not_published(capture: Path, shared: Path) -> None:
    (capture / "samples.parquet").write_bytes(b"damaged")
    with pytest.raises(CheckFailed, match=r"samples\.parquet"):
        publish(capture, shared)
    assert not shared.exists()


def test_what_was_altered_in_the_shared_folder_does_not_arrive(capture: Path, shared: Path, tmp_path: Path) -> None:
    digest = publish(capture, shared)
    (shared / digest.replace(":", "-") / "samples.parquet").write_bytes(b"altered")
    with pytest.raises(CheckFailed, match=r"samples\.parquet"):
        pull(digest, shared, tmp_path / "mine")
    assert in_it(tmp_path / "mine") == []


def test_what_was_exchanged_whole_does_not_arrive(capture: Path, shared: Path, tmp_path: Path) -> None:
    digest = publish(capture, shared)
    other = shared / digest.replace(":", "-")
    (other / "samples.parquet").write_bytes(b"other samples")
    write_manifest(other, "capture", {"teacher": "sha256:1"})
    with pytest.raises(CheckFailed):
        pull(digest, shared, tmp_path / "mine")
    assert in_it(tmp_path / "mine") == []


def test_a_link_in_the_shared_folder_is_not_followed(capture: Path, shared: Path, tmp_path: Path) -> None:
    digest = publish(capture, shared)
    (tmp_path / "secret").write_bytes(b"samples")
    file = shared / digest.replace(":", "-") / "samples.parquet"
    file.unlink()
    file.symlink_to(tmp_path / "secret")
    with pytest.raises(CheckFailed):
        pull(digest, shared, tmp_path / "mine")
    assert in_it(tmp_path / "mine") == []


def test_a_damaged_copy_of_ones_own_is_named_and_kept(capture: Path, shared: Path, tmp_path: Path) -> None:
    digest = publish(capture, shared)
    pulled = pull(digest, shared, tmp_path / "mine")
    (pulled / "samples.parquet").write_bytes(b"damaged")
    with pytest.raises(CheckFailed, match="capture-"):
        pull(digest, shared, tmp_path / "mine")
    assert (pulled / "samples.parquet").read_bytes() == b"damaged"


@pytest.mark.parametrize("wanted", ["nothing", "sha256:0000", "sha256:00000000", "../mine", "sha256-*", "", "names/x"])
def test_what_is_not_there_is_said_with_what_is(capture: Path, shared: Path, tmp_path: Path, wanted: str) -> None:
    publish(capture, shared, "communes")
    with pytest.raises(BadInput) as caught:
        pull(wanted, shared, tmp_path / "mine")
    assert "communes" in caught.value.remedy


def test_a_pointer_that_was_tampered_with_leads_nowhere(capture: Path, shared: Path) -> None:
    publish(capture, shared, "communes")
    (shared / "names" / "communes").write_text("../../etc")
    with pytest.raises(BadInput):
        find_shared("communes", shared)


@pytest.mark.parametrize("name", ["Communes", "../x", "a/b", ".hidden", "é"])
def test_a_name_that_could_be_a_path_is_refused(capture: Path, shared: Path, name: str) -> None:
    with pytest.raises(BadInput):
        publish(capture, shared, name)


def test_only_captures_and_packs_are_published(tmp_path: Path, shared: Path) -> None:
    (tmp_path / "4-train").mkdir()
    write_manifest(tmp_path / "4-train", "train", {})
    with pytest.raises(BadInput, match="train"):
        publish(tmp_path / "4-train", shared)
