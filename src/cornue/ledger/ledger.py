"""The ledger: every act of a run with what it cost, one JSON line each, chained by digests.

Lines are only ever added. Each names the digest of the one before, so that no line can be changed, dropped or moved
without a trace; that the *last* lines are all there shows only where the head is bound elsewhere (a manifest, a
signature). A kill can tear only the line that was being written: it is kept aside and named. It does not measure
(``meters``) nor price (``prices``).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field, ValidationError

from cornue.ledger.numbers import Number, Total, add_up
from cornue.records.digests import digest_bytes, digest_json
from cornue.records.errors import CheckFailed
from cornue.records.samples import Record
from cornue.records.words import words
from cornue.seal.write import AnyPath, disk_failures, write_bytes

START = "sha256:" + "0" * 64
TORN = "torn"


class Entry(Record):
    """One act."""

    n: int = Field(description="Place in the ledger, from 0.")
    at: str = Field(description="When it was written, UTC, ISO 8601.")
    room: str = Field(description="The room that acted.")
    act: str = Field(description="What it did, in one or two words.")
    numbers: dict[str, Number] = Field(description="What it cost, by name.")
    note: str = ""
    prev: str = Field(description="Digest of the entry before; zeros for the first.")
    digest: str = Field(description="Digest of all the other fields.")

    @staticmethod
    def make(n: int, room: str, act: str, numbers: Mapping[str, Number], note: str, prev: str) -> Entry:
        """An entry of now, with its digest."""
        at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        bare = Entry(n=n, at=at, room=room, act=act, numbers=dict(numbers), note=note, prev=prev, digest="")
        return bare.model_copy(update={"digest": bare.own_digest})

    @property
    def own_digest(self) -> str:
        """The digest that this entry ought to have."""
        return digest_json(self.model_dump(mode="json", exclude={"digest"}))

    @property
    def line(self) -> bytes:
        """The entry as it stands in the file."""
        return json.dumps(self.model_dump(mode="json"), ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


class Ledger:
    """The ledger of a run, open for appending.

    Opening it mends what a kill has torn. Several processes may append to one file.

    Raises:
        CheckFailed: the chain is broken: somebody has altered the file.
    """

    def __init__(self, path: AnyPath) -> None:
        self.path = Path(path)
        self._entries: list[Entry] = []
        self._units: dict[str, str] = {}
        self._size = 0
        with disk_failures(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with _locked(self.path) as file:
                self._catch_up(file)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All entries known to this process, in their order."""
        return tuple(self._entries)

    @property
    def head(self) -> str:
        """The digest of the last entry; it stands for the whole ledger."""
        return self._entries[-1].digest if self._entries else START

    def append(self, room: str, act: str, numbers: Mapping[str, Number] | None = None, note: str = "") -> Entry:
        """Add an act; when this returns, it is on the disk.

        Raises:
            OutsideFailure: the disk is full (boundary "disk").
            ValueError: a number stands in another unit than before.
        """
        with disk_failures(self.path), _locked(self.path) as file:
            self._catch_up(file)
            self._refuse_other_units(numbers or {})
            return self._write(file, room, act, numbers or {}, note)

    def check(self, head: str = "") -> list[str]:
        """What is wrong with the file as it stands now, in sentences; with a head, also whether that head is in it."""
        return check_ledger(self.path, head)

    def totals(self, room: str = "") -> dict[str, Total]:
        """The sums of all numbers by name, of one room where one is given."""
        return totals(self._entries, room)

    def _refuse_other_units(self, numbers: Mapping[str, Number]) -> None:
        for name, number in numbers.items():
            if self._units.setdefault(name, number.unit) != number.unit:
                raise ValueError(f"{name} is counted in {self._units[name]}, not in {number.unit}")

    def _catch_up(self, file: int) -> None:
        """Read what stands in the file beyond what is known; mend a torn end."""
        if os.fstat(file).st_size == self._size:
            return
        data = self.path.read_bytes()
        self._entries, whole, problem = _read(data)
        if problem:
            raise CheckFailed(f"{self.path}: {problem}", _remedy())
        self._units = {name: number.unit for entry in self._entries for name, number in entry.numbers.items()}
        self._size = len(data)
        rest = data[whole:]
        if not rest:
            return
        torn = self.path.with_name(f"{self.path.stem}.torn-{digest_bytes(rest)[7:15]}")
        write_bytes(torn, rest)
        os.ftruncate(file, whole)
        self._size = whole
        note = f"{len(rest)} bytes of an unfinished line are kept in {torn.name}"
        self._write(file, "ledger", TORN, {}, note)

    def _write(self, file: int, room: str, act: str, numbers: Mapping[str, Number], note: str) -> Entry:
        entry = Entry.make(len(self._entries), room, act, numbers, note, self.head)
        line = entry.line
        try:
            written = os.write(file, line)
            while written < len(line):
                written += os.write(file, line[written:])
            os.fsync(file)
        except OSError:
            os.ftruncate(file, self._size)
            raise
        self._entries.append(entry)
        self._size += len(line)
        return entry


def read_ledger(path: AnyPath) -> list[Entry]:
    """The entries of a ledger, without touching the file.

    Raises:
        CheckFailed: the chain is broken or the last line is torn.
    """
    problems = check_ledger(path)
    if problems:
        raise CheckFailed(f"{path}: {problems[0]}", _remedy())
    return _read(Path(path).read_bytes())[0]


def check_ledger(path: AnyPath, head: str = "") -> list[str]:
    """What is wrong with a ledger, in sentences; an empty list means that the chain holds."""
    if Path(path).is_symlink() or not Path(path).is_file():
        return [words(en="there is no ledger", fr="il n'y a pas de registre des actes")]
    data = Path(path).read_bytes()
    entries, whole, problem = _read(data)
    problems = [problem] if problem else []
    if not problem and whole < len(data):
        problems.append(words(en="the last line is torn", fr="la dernière ligne est déchirée"))
    if head and head != START and head not in {entry.digest for entry in entries}:
        problems.append(
            words(en=f"entries are missing: {head} is not in it", fr=f"des lignes manquent : {head} n'y figure pas")
        )
    return problems


def totals(entries: Iterable[Entry], room: str = "") -> dict[str, Total]:
    """The sums of all numbers by name, of one room where one is given."""
    return add_up(entry.numbers for entry in entries if room in ("", entry.room))


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[int]:
    """The file, open for appending and held against other processes."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o666)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file
    finally:
        os.close(file)


def _read(data: bytes) -> tuple[list[Entry], int, str]:
    """The entries, how many bytes they take, and what breaks the chain (nothing, if only the last line is torn)."""
    entries: list[Entry] = []
    whole = 0
    *lines, tail = data.split(b"\n")
    for number, line in enumerate(lines):
        try:
            entry = Entry.model_validate_json(line)
        except ValidationError:
            if number == len(lines) - 1 and not tail:
                break
            return entries, whole, _broken(number, words(en="it is no entry", fr="ce n'est pas un acte"))
        # The bytes too must be ours: a key that stands twice would escape the digest.
        if entry.digest != entry.own_digest or entry.line != line + b"\n":
            return entries, whole, _broken(number, words(en="it has been altered", fr="elle a été modifiée"))
        if entry.n != number or entry.prev != (entries[-1].digest if entries else START):
            gap = words(en="it does not follow the line before", fr="elle ne suit pas la ligne précédente")
            return entries, whole, _broken(number, gap)
        entries.append(entry)
        whole += len(line) + 1
    return entries, whole, ""


def _broken(number: int, reason: str) -> str:
    return words(
        en=f"line {number + 1} breaks the chain: {reason}", fr=f"la ligne {number + 1} rompt la chaîne : {reason}"
    )


def _remedy() -> str:
    return words(
        en="put back the ledger as it was; its figures cannot be trusted otherwise",
        fr="remettez le registre dans son état d'origine ; sans cela ses chiffres ne valent rien",
    )
