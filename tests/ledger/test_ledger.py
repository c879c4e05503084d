"""A ledger can be added to, is mended after a kill, and shows every alteration."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cornue.ledger.ledger import START, Ledger, check_ledger, read_ledger
from cornue.ledger.numbers import counted, estimated, measured
from cornue.records.errors import CheckFailed, OutsideFailure


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.append("capture", "ask", {"wall": measured(2.5, "s"), "tokens": counted(100, "tokens")})
    ledger.append("train", "learn", {"wall": measured(1, "s"), "flops": estimated(3e17, "FLOP", "6 N D")}, "stage 1")
    ledger.append("train", "learn", {"wall": measured(4, "s"), "peak_memory": measured(7, "B")})
    yield tmp_path / "ledger.jsonl"


def test_acts_come_back_as_they_were_written(path: Path) -> None:
    entries = read_ledger(path)
    assert [(entry.n, entry.room, entry.note) for entry in entries] == [
        (0, "capture", ""),
        (1, "train", "stage 1"),
        (2, "train", ""),
    ]
    assert entries[1].numbers["flops"].value == 3e17


def test_each_entry_names_the_one_before(path: Path) -> None:
    entries = read_ledger(path)
    assert [entry.prev for entry in entries] == [START, entries[0].digest, entries[1].digest]
    assert Ledger(path).head == entries[2].digest


def test_totals_add_up_by_name_and_by_room(path: Path) -> None:
    ledger = Ledger(path)
    assert ledger.totals()["wall"].value == 7.5
    assert ledger.totals("train")["wall"].value == 5
    assert ledger.totals("train").keys() == {"wall", "flops", "peak_memory"}


def test_a_number_in_another_unit_is_refused_and_nothing_is_written(path: Path) -> None:
    with pytest.raises(ValueError, match="wall is counted in s"):
        Ledger(path).append("train", "learn", {"wall": measured(1, "h")})
    assert len(read_ledger(path)) == 3


@pytest.mark.parametrize("cut", [1, 2, 30, 200])
def test_a_torn_last_line_is_kept_aside_and_named(path: Path, cut: int) -> None:
    whole = path.read_bytes()
    last = whole.splitlines(keepends=True)[-1]
    path.write_bytes(whole[:-cut])
    ledger = Ledger(path)
    torn = list(path.parent.glob("ledger.torn-*"))
    assert [file.read_bytes() for file in torn] == [last[:-cut]]
    assert ledger.entries[-1].act == "torn" and torn[0].name in ledger.entries[-1].note
    assert len(ledger.entries) == 3 and ledger.check() == []


def test_a_last_line_of_noise_is_kept_aside(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\x00\x00\x00\n")
    assert [entry.act for entry in Ledger(path).entries][-1] == "torn"


def test_reading_does_not_mend(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])
    before = path.read_bytes()
    with pytest.raises(CheckFailed):
        read_ledger(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("old", "new"),
    [(b"2.5", b"1.5"), (b'"measured"', b'"counted"'), (b"stage 1", b"stage 2"), (b'"n":1', b'"n":0,"n":1')],
)
def test_an_altered_line_breaks_the_chain(path: Path, old: bytes, new: bytes) -> None:
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    assert len(check_ledger(path)) == 1
    with pytest.raises(CheckFailed, match=r"(line|ligne) [12]"):
        Ledger(path)


def test_a_dropped_line_breaks_the_chain(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[2])
    assert len(check_ledger(path)) == 1


def test_an_insider_who_digests_again_breaks_the_chain_behind(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    first = read_ledger(path)[0]
    forged = first.model_copy(update={"note": "cheaper"})
    forged = forged.model_copy(update={"digest": forged.own_digest})
    path.write_bytes(forged.line + b"".join(lines[1:]))
    assert "2" in check_ledger(path)[0]


def test_a_dropped_end_shows_against_a_bound_head(path: Path) -> None:
    head = Ledger(path).head
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
    assert check_ledger(path) == []
    assert len(check_ledger(path, head)) == 1


def test_two_open_ledgers_of_one_file_see_each_other(path: Path) -> None:
    one, two = Ledger(path), Ledger(path)
    one.append("verify", "judge")
    two.append("curate", "choose")
    one.append("evaluate", "measure")
    assert [entry.room for entry in read_ledger(path)][3:] == ["verify", "curate", "evaluate"]


def test_a_missing_ledger_is_said() -> None:
    assert len(check_ledger("nowhere/ledger.jsonl")) == 1


def test_a_full_disk_is_named_and_leaves_whole_lines(path: Path) -> None:
    ledger = Ledger(path)
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 40, hard))
    try:
        with pytest.raises(OutsideFailure) as caught:
            ledger.append("train", "learn")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.boundary == "disk"
    assert path.read_bytes() == before
    assert ledger.append("train", "learn").n == 3


def test_a_writer_killed_at_any_moment_loses_no_finished_act(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    program = (
        "import sys; from cornue.ledger.ledger import Ledger; ledger = Ledger(sys.argv[1])\n"
        "while True: print(ledger.append('train', 'learn', note='x' * 5000).n, flush=True)\n"
    )
    said = -1
    for _ in range(2):
        with subprocess.Popen(
            [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, env=os.environ
        ) as child:
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(0.05)
            child.send_signal(signal.SIGKILL)
            said = max([said, *map(int, child.stdout.read().split())])
        assert len(Ledger(path).entries) > said
        assert check_ledger(path) == []


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(place=st.integers(min_value=0), byte=st.integers(min_value=0, max_value=255))
def test_no_single_byte_can_be_changed_unseen(path: Path, place: int, byte: int) -> None:
    whole = path.read_bytes()
    place %= len(whole)
    changed = whole[:place] + bytes([byte]) + whole[place + 1 :]
    (path.parent / "copy").write_bytes(changed)
    assert (check_ledger(path.parent / "copy") == []) == (changed == whole)


def test_a_line_is_plain_json(path: Path) -> None:
    entry = json.loads(path.read_bytes().splitlines()[0])
    assert entry["numbers"]["tokens"]["value"] == 100
