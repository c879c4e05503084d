"""Proves that our signatures and OpenSSF Model Signing's reference verifier understand each other.

Random folders are signed here and verified there, and the other way round; frauds must be refused by both. The
reference (``model-signing``, with the ``pyopenssl`` that it forgets to name) is installed in an environment of its own,
never beside Cornue. It does not prove the cryptography: that is the library's.

Run it with ``make prove-signing``, or ``python prove/signing.py --reference PYTHON`` where one is installed already.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import results
from cornue.seal.keys import KeyRing, SigningKey, new_key
from cornue.seal.manifest import write_manifest
from cornue.seal.sign import sign_folder, verify_folder

REFERENCE = ("model-signing==1.1.1", "pyopenssl")
FOLDERS = 40
BIG = 500_000_000

# Runs in the reference's environment: jobs come in, one answer each goes out.
WORKER = """
import json, sys, time
from model_signing import hashing, signing, verifying
for job in json.load(sys.stdin):
    begin = time.perf_counter()
    rules = hashing.Config().set_ignored_paths(paths=[job["folder"] + "/signatures"], ignore_git_paths=False)
    try:
        if job["act"] == "sign":
            config = signing.Config().use_elliptic_key_signer(private_key=job["key"]).set_hashing_config(rules)
            config.sign(job["folder"], job["signature"])
        else:
            config = verifying.Config().use_elliptic_key_verifier(public_key=job["key"]).set_hashing_config(rules)
            config.verify(job["folder"], job["signature"])
        answer = {"accepted": True}
    except Exception as error:
        answer = {"accepted": False, "reason": type(error).__name__ + ": " + str(error)[:200]}
    print(json.dumps({**answer, "seconds": time.perf_counter() - begin}), flush=True)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--reference", help="a Python that has model-signing and pyopenssl")
    parser.add_argument("--trial", action="store_true", help="print the figures, write no result")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as where:
        work = Path(where)
        python = options.reference or install_reference(work / "reference")
        key = new_key(work / "keys" / "school.pem")
        figures, bars = compare(work, python, key)
    results.write("prove-signing", figures, bars, folder=None if options.trial else results.RESULTS)
    if not all(bar["holds"] for bar in bars):
        sys.exit(1)


def install_reference(folder: Path) -> str:
    """An environment with the reference verifier; returns its Python."""
    venv.create(folder, with_pip=True)
    python = str(folder / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "--quiet", *REFERENCE], check=True)
    return python


def compare(work: Path, python: str, key: SigningKey) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """All cases in both directions."""
    ring = KeyRing([key.public])
    chance = random.Random(7)
    public, private = str(work / "keys" / "school.pub.pem"), str(work / "keys" / "school.pem")
    folders = [make_folder(work / "folders" / f"pack-{number}", chance) for number in range(FOLDERS)]
    ours = [
        {"act": "verify", "folder": str(folder), "signature": str(sign_folder(folder, key)), "key": public}
        for folder in folders
    ]
    accepted = [answer["accepted"] for answer in ask(python, ours)]

    refused_there, refused_here = [], []
    for name, fraud in FRAUDS.items():
        folder = shutil.copytree(folders[0], work / "frauds" / name)
        fraud(folder)
        job = {**ours[0], "folder": str(folder), "signature": str(next((folder / "signatures").iterdir()))}
        refused_there.append({"fraud": name, "reference": not ask(python, [job])[0]["accepted"]})
        refused_here.append(verify_folder(folder, ring).value == "false")

    theirs = []
    for folder in folders:
        shutil.rmtree(folder / "signatures")
        (folder / "signatures").mkdir()
        signature = str(folder / "signatures" / "theirs.sig")
        theirs.append({"act": "sign", "folder": str(folder), "signature": signature, "key": private})
    signed = [answer["accepted"] for answer in ask(python, theirs)]
    read = [verify_folder(folder, ring).value == "verified" for folder in folders]

    frauds = [{**row, "cornue": here} for row, here in zip(refused_there, refused_here, strict=True)]
    figures = {"folders": FOLDERS, "frauds": frauds, **measure_speed(work, python, key)}
    bars = [
        results.bar("our signatures accepted by the reference", sum(accepted) / FOLDERS, 1.0),
        results.bar(
            "the reference's signatures verified here",
            sum(a and b for a, b in zip(signed, read, strict=True)) / FOLDERS,
            1.0,
        ),
        results.bar("frauds refused here", sum(refused_here) / len(FRAUDS), 1.0),
        results.bar(
            "frauds refused by the reference", sum(bool(row["reference"]) for row in refused_there) / len(FRAUDS), 1.0
        ),
    ]
    return figures, bars


def make_folder(folder: Path, chance: random.Random) -> Path:
    """A folder with names that sort differently as text and as paths, empty files, French and hidden names."""
    names = ["a.txt", "a/b.txt", "a/b/c", "a-b", "Z", "été.json", "a b", ".hidden", ".git/x", "a/manifest.json", "vide"]
    for name in chance.sample(names, chance.randint(1, len(names) - 2)) + [f"deep/{chance.randrange(99)}/x", "weights"]:
        path = folder / name
        if path.is_dir() or any(parent.is_file() for parent in path.parents):
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chance.randbytes(chance.choice([0, 1, 1000, 70_000])))
    (folder / "weights").write_bytes(chance.randbytes(2000))
    write_manifest(folder, "pack", {"number": chance.random()})
    return folder


def change_a_byte(folder: Path) -> None:
    data = bytearray((folder / "weights").read_bytes())
    data[1000] ^= 1
    (folder / "weights").write_bytes(data)


def add_a_file(folder: Path) -> None:
    (folder / "new").touch()


def add_below_git(folder: Path) -> None:
    (folder / ".git").mkdir(exist_ok=True)
    (folder / ".git" / "hook").write_text("x")


def remove_a_file(folder: Path) -> None:
    (folder / "weights").unlink()


def rename_a_file(folder: Path) -> None:
    (folder / "weights").rename(folder / "weight")


def change_the_payload(folder: Path) -> None:
    path = next((folder / "signatures").iterdir())
    bundle = json.loads(path.read_text())
    payload = bundle["dsseEnvelope"]["payload"]
    bundle["dsseEnvelope"]["payload"] = payload[:40] + ("A" if payload[40] != "A" else "B") + payload[41:]
    path.write_text(json.dumps(bundle))


FRAUDS: dict[str, Callable[[Path], None]] = {
    "one byte changed": change_a_byte,
    "empty file added": add_a_file,
    "file added below .git": add_below_git,
    "file removed": remove_a_file,
    "file renamed": rename_a_file,
    "signed payload changed": change_the_payload,
}


def measure_speed(work: Path, python: str, key: SigningKey) -> dict[str, float]:
    """Seconds for a folder of half a gigabyte, here and there, read from warm memory."""
    folder = work / "big"
    folder.mkdir()
    (folder / "weights").write_bytes(random.Random(1).randbytes(BIG // 100) * 100)
    write_manifest(folder, "pack", {})
    begin = time.perf_counter()
    signature = sign_folder(folder, key)
    signed = time.perf_counter()
    verify_folder(folder, KeyRing([key.public]))
    verified = time.perf_counter()
    job = {
        "act": "verify",
        "folder": str(folder),
        "signature": str(signature),
        "key": str(work / "keys" / "school.pub.pem"),
    }
    gigabytes = BIG / 1e9
    return {
        "sign_seconds_per_gb": (signed - begin) / gigabytes,
        "verify_seconds_per_gb": (verified - signed) / gigabytes,
        "reference_verify_seconds_per_gb": ask(python, [job])[0]["seconds"] / gigabytes,
    }


def ask(python: str, jobs: list[dict[str, str]]) -> list[dict[str, Any]]:
    """The reference's answers to some jobs."""
    done = subprocess.run([python, "-c", WORKER], input=json.dumps(jobs), capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


if __name__ == "__main__":
    main()
