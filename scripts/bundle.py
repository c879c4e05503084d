"""Gather all that a machine without network needs to serve a pack: wheels, the pack, what installs it, its checksums.

    python scripts/bundle.py PACK [--folder build/bundle]

The folder is carried there, on a stick for instance; `sh install.sh` checks every file and installs, without asking any
other machine. It fits the platform and the Python version on which it was gathered.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from cornue.pack.open import open_pack
from cornue.records.digests import digest_file
from cornue.records.errors import CornueError

ROOT = Path(__file__).resolve().parent.parent
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
INSTALL = """#!/bin/sh
# Checks every file, then installs Cornue into a folder of its own: sh install.sh [FOLDER]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
into=${1:-/opt/cornue}
cd "$here"
sha256sum --check --quiet SHA256SUMS
python%(version)s -m venv "$into"
"$into/bin/python" -m pip install --quiet --no-index --find-links wheels cornue
echo "Installed. Now: $into/bin/cornue serve $here/pack"
"""


def main() -> int:
    """0 when the bundle is there, 2 when there is no sound pack."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("pack", type=Path)
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "bundle")
    options = parser.parse_args()
    try:
        open_pack(options.pack)
    except CornueError as error:
        print(f"bundle: {error}", file=sys.stderr)
        return 2
    folder: Path = options.folder
    shutil.rmtree(folder, ignore_errors=True)
    wheels = folder / "wheels"
    wheels.mkdir(parents=True)
    pip = [sys.executable, "-m", "pip"]
    run([*pip, "wheel", "-qq", "--no-deps", "--no-build-isolation", "-w", str(wheels), str(ROOT)])
    own = next(wheels.glob("cornue-*.whl"))
    run(
        [
            *pip,
            "download",
            "-qq",
            "--only-binary=:all:",
            "-d",
            str(wheels),
            "-c",
            str(ROOT / "constraints.txt"),
            str(own),
        ]
    )
    shutil.copytree(options.pack, folder / "pack")
    shutil.copyfile(ROOT / "deploy" / "cornue-serve.service", folder / "cornue-serve.service")
    (folder / "install.sh").write_text(INSTALL % {"version": VERSION})
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    sums = [f"{digest_file(path).removeprefix('sha256:')}  {path.relative_to(folder).as_posix()}\n" for path in files]
    (folder / "SHA256SUMS").write_text("".join(sums))
    size = sum(path.stat().st_size for path in files) / 1e6
    print(f"{folder}: {len(files)} files, {size:,.0f} MB, for Python {VERSION}")
    return 0


def run(command: list[str]) -> None:
    """Run a command; its failure is ours."""
    subprocess.run(command, check=True)


if __name__ == "__main__":
    sys.exit(main())
