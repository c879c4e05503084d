"""Whole or not there: files and folders that are written atomically."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from cornue.records.errors import BadInput, OutsideFailure
from cornue.seal.write import UNFINISHED, new_folder, remove_folder, sweep, write_bytes, write_json, write_text


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_and_replaced(tmp_path: Path) -> None:
    write_text(tmp_path / "deep" / "a.txt", "été")
    write_text(tmp_path / "deep" / "a.txt", "hiver")
    assert (tmp_path / "deep" / "a.txt").read_text(encoding="utf-8") == "hiver"
    assert names(tmp_path / "deep") == ["a.txt"]


def test_equal_values_give_equal_json_bytes(tmp_path: Path) -> None:
    write_json(tmp_path / "a", {"b": 1, "a": "é"})
    write_json(tmp_path / "b", {"a": "é", "b": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_secret_gets_its_permissions(tmp_path: Path) -> None:
    write_bytes(tmp_path / "key", b"secret", mode=0o600)
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600


def test_a_leftover_does_not_widen_the_permissions_of_a_secret(tmp_path: Path) -> None:
    (tmp_path / f"{UNFINISHED}key").write_bytes(b"a longer leftover")
    (tmp_path / f"{UNFINISHED}key").chmod(0o666)
    write_bytes(tmp_path / "key", b"secret", mode=0o600)
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "key").read_bytes() == b"secret"


def test_a_planted_link_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("untouched")
    (tmp_path / f"{UNFINISHED}a").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError):
        write_text(tmp_path / "a", "new")
    assert (tmp_path / "victim").read_text() == "untouched"


def test_a_full_disk_leaves_the_old_file_and_no_leftover(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a", b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OutsideFailure) as caught:
            write_bytes(tmp_path / "a", b"x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.boundary == "disk"
    assert caught.value.remedy
    assert (tmp_path / "a").read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


def test_a_folder_appears_only_when_it_is_finished(tmp_path: Path) -> None:
    with new_folder(tmp_path / "1-capture") as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "a.txt").write_text("a")
        assert not (tmp_path / "1-capture").exists()
    assert (tmp_path / "1-capture" / "sub" / "a.txt").read_text() == "a"
    assert names(tmp_path) == ["1-capture"]


def test_a_failing_block_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyError), new_folder(tmp_path / "a") as folder:
        (folder / "half.txt").write_text("half")
        raise KeyError("broken")
    assert names(tmp_path) == []


def test_a_finished_folder_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(BadInput, match="exists already|existe déjà"), new_folder(tmp_path / "a"):
        pass


def test_of_two_builders_the_first_wins(tmp_path: Path) -> None:
    with pytest.raises(BadInput), new_folder(tmp_path / "a") as slow:
        (slow / "who").write_text("slow")
        with new_folder(tmp_path / "a") as fast:
            (fast / "who").write_text("fast")
    assert (tmp_path / "a" / "who").read_text() == "fast"
    assert names(tmp_path) == ["a"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_disk_that_fills_inside_the_block_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutsideFailure) as caught, new_folder(tmp_path / "a"):
        Path("/dev/full").write_bytes(b"x")
    assert caught.value.boundary == "disk"
    assert isinstance(caught.value.__cause__, OSError) and caught.value.__cause__.errno == errno.ENOSPC
    assert names(tmp_path) == []


def test_an_error_of_another_kind_keeps_its_own_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), new_folder(tmp_path / "a"):
        (tmp_path / "nowhere").read_bytes()


def test_what_a_killed_writer_left_is_swept_by_the_next(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys; from cornue.seal.write import new_folder\n"
        "with new_folder(sys.argv[1]) as folder:\n"
        "    (folder / 'half').write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "a")], env=os.environ, check=False)
    assert done.returncode == -signal.SIGKILL
    assert [name.startswith(UNFINISHED) for name in names(tmp_path)] == [True]
    with new_folder(tmp_path / "a") as folder:
        (folder / "whole").write_text("whole")
    assert names(tmp_path) == ["a"]


def test_the_work_of_a_living_writer_is_not_swept(tmp_path: Path) -> None:
    with new_folder(tmp_path / "a") as folder:
        assert sweep(tmp_path) == []
        (folder / "still").write_text("here")
    assert (tmp_path / "a" / "still").exists()


def test_a_sweep_by_name_leaves_other_names(tmp_path: Path) -> None:
    mine, other = tmp_path / f"{UNFINISHED}a-{'0' * 16}", tmp_path / f"{UNFINISHED}b-{'0' * 16}"
    mine.mkdir()
    other.mkdir()
    assert sweep(tmp_path, "a") == [mine.name]
    assert names(tmp_path) == [other.name]


def test_writers_of_one_file_take_turns(tmp_path: Path) -> None:
    texts = [str(number) * 50_000 for number in range(8)]
    with ThreadPoolExecutor(len(texts)) as pool:
        # What a writer raises comes out here.
        list(pool.map(partial(write_text, tmp_path / "a"), texts * 5))
    assert (tmp_path / "a").read_text() in texts
    assert names(tmp_path) == ["a"]


def test_a_removed_folder_is_gone_whole(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    remove_folder(tmp_path / "a")
    assert names(tmp_path) == []
