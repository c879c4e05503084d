"""Writes files and folders so that they are either whole or not there.

Everything is built under a temporary sibling name (``.unfinished-…``), brought to the disk (fsync) and renamed into
place. A kill leaves at most an unfinished sibling, which the next writer of the same place sweeps away. It does not say
what a folder holds (``manifest`` does), and it does not lock a place against a second writer: the last file wins, and
the first folder.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cornue.records.errors import BadInput, OutsideFailure
from cornue.records.words import words

UNFINISHED = ".unfinished-"
RANDOM = 17
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)

AnyPath = str | os.PathLike[str]


def write_bytes(path: AnyPath, data: bytes, mode: int = 0o666) -> None:
    """Write a file whole, in place of the one that may be there; its folder is made where it is missing.

    Args:
        mode: the permissions before the process's umask; 0o600 for secrets.

    Raises:
        OutsideFailure: the disk is full or may not be written (boundary "disk"); nothing half-written stays.
    """
    target = Path(path)
    with disk_failures(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary, descriptor = _claim_file(target, mode)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync(target.parent)


def write_text(path: AnyPath, text: str) -> None:
    """Write a text in UTF-8; raises as ``write_bytes`` does."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: AnyPath, value: Any) -> None:
    """Write a value as indented JSON with sorted keys: equal values give equal bytes; raises as ``write_bytes`` does.

    Raises:
        ValueError: for infinities and NaN, which JSON cannot say.
    """
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True, allow_nan=False) + "\n")


@contextlib.contextmanager
def new_folder(path: AnyPath) -> Iterator[Path]:
    """Build a folder aside and put it in place when the block ends without an error.

    Yields the temporary folder, to be filled by any means. After an error, or a kill, ``path`` does not exist.

    Raises:
        BadInput: something is there already; a finished folder is never overwritten.
        OutsideFailure: the disk is full or may not be written (boundary "disk"), within the block too.
    """
    target = Path(path)
    _refuse_existing(target)
    with disk_failures(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        sweep(target.parent, target.name)
        temporary, lock = _claim_folder(target)
    try:
        with disk_failures(target, FULL):
            yield temporary
        with disk_failures(target):
            _sync_tree(temporary)
            _refuse_existing(target)
            temporary.rename(target)
            _sync(target.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    finally:
        os.close(lock)


def remove_folder(path: AnyPath) -> None:
    """Take a folder away so that a kill midway cannot leave half of it under its name."""
    target = Path(path)
    with disk_failures(target):
        temporary = _unfinished_name(target)
        target.rename(temporary)
        shutil.rmtree(temporary)


def sweep(parent: AnyPath, name: str = "") -> list[str]:
    """Remove what interrupted writers left in ``parent``; with a name, only what was to become that name.

    What a living writer is still building is held by its lock and stays. Returns the names removed.
    """
    removed = []
    for leftover in sorted(Path(parent).glob(UNFINISHED + "*")):
        place = leftover.name.removeprefix(UNFINISHED)
        if name and name not in (place, place[:-RANDOM]):
            continue
        with _abandoned(leftover) as abandoned:
            if abandoned:
                _discard(leftover)
                removed.append(leftover.name)
    return removed


@contextlib.contextmanager
def disk_failures(path: AnyPath, kinds: tuple[int, ...] = FULL + FORBIDDEN) -> Iterator[None]:
    """Turn the operating system's refusal to write into an ``OutsideFailure`` with a remedy."""
    try:
        yield
    except OSError as error:
        if error.errno not in kinds:
            raise
        raise _disk_failure(Path(path), error) from error


def _disk_failure(path: Path, error: OSError) -> OutsideFailure:
    if error.errno in FORBIDDEN:
        return OutsideFailure(
            words(
                en=f"{path} may not be written: {error.strerror}", fr=f"{path} : écriture refusée ({error.strerror})"
            ),
            words(
                en="choose another folder, or ask for the right to write there",
                fr="choisissez un autre dossier, ou demandez le droit d'y écrire",
            ),
            boundary="disk",
        )
    free = _free_megabytes(path)
    return OutsideFailure(
        words(
            en=f"the disk is full: {path} could not be written ({free} MB free; {error.strerror})",
            fr=f"le disque est plein : {path} n'a pas pu être écrit ({free} Mo libres ; {error.strerror})",
        ),
        words(
            en="free some space and give the same command again: what was finished is kept",
            fr="libérez de la place et relancez la même commande : ce qui était fini est gardé",
        ),
        boundary="disk",
    )


def _free_megabytes(path: Path) -> int:
    existing = next(folder for folder in [path, *path.absolute().parents] if folder.exists())
    return shutil.disk_usage(existing).free // 1_000_000


def _refuse_existing(target: Path) -> None:
    if target.exists() or target.is_symlink():
        raise BadInput(
            words(en=f"{target} exists already", fr=f"{target} existe déjà"),
            words(
                en="a finished folder is never overwritten: choose another name, or remove it yourself",
                fr="un dossier fini n'est jamais écrasé : choisissez un autre nom, ou supprimez-le vous-même",
            ),
        )


def _unfinished_name(target: Path) -> Path:
    return target.with_name(f"{UNFINISHED}{target.name}-{secrets.token_hex(8)}")


def _claim_file(target: Path, mode: int) -> tuple[Path, int]:
    """The temporary file for ``target``, empty, and the open lock on it; another writer of the same file is awaited."""
    temporary = target.with_name(UNFINISHED + target.name)
    while True:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, mode)
        with contextlib.ExitStack() as stack:
            stack.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # The writer that we waited for has renamed the file away, or does so now.
            if _stands_at(temporary, descriptor):
                os.fchmod(descriptor, os.fstat(descriptor).st_mode & mode)
                os.ftruncate(descriptor, 0)
                stack.pop_all()
                return temporary, descriptor


def _stands_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _claim_folder(target: Path) -> tuple[Path, int]:
    """A new temporary folder and the open lock on it."""
    while True:
        temporary = _unfinished_name(target)
        temporary.mkdir()
        lock = os.open(temporary, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        # A sweeper may have come between mkdir and the lock.
        if temporary.exists():
            return temporary, lock
        os.close(lock)


@contextlib.contextmanager
def _abandoned(leftover: Path) -> Iterator[bool]:
    """Whether no living writer holds the leftover; while the block lasts, none can take it."""
    try:
        descriptor = os.open(leftover, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        yield False
    else:
        yield True
    finally:
        os.close(descriptor)


def _discard(leftover: Path) -> None:
    if leftover.is_dir():
        shutil.rmtree(leftover, ignore_errors=True)
    else:
        leftover.unlink(missing_ok=True)


def _sync_tree(folder: Path) -> None:
    for where, _, names in os.walk(folder, topdown=False):
        for name in names:
            file = Path(where, name)
            if file.is_file() and not file.is_symlink():
                _sync(file)
        _sync(Path(where))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
