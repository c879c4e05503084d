"""What a person meets who asks a teacher on another machine: nothing leaves unseen, and the key stays a secret."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq

from pretend.endpoint import FakeEndpoint

KEY = "sk-canary-0987654321"
IBAN, NIR = "FR14 2004 1010 0505 0001 3M02 606", "2 55 08 14 168 025 38"
LETTER = f"Je suis Claire Martin, IBAN {IBAN}, numéro {NIR} : que dois-je ?"
RECIPE = """
[recipe]
name = "tiny"
[sources]
prompts = "mails.csv"
columns = { question = "texte" }
licence = "etalab-2.0"
[teacher]
kind = "endpoint"
model = "pretend-1"
url = "URL"
api_key_env = "PRETEND_KEY"
remote_allowed = true
licence = "apache-2.0"
[student]
model = "tiny"
[capture]
max_tokens = 20
[verify]
kind = "exact"
[[train]]
method = "sft"
"""


def cornue(folder: Path, *words: str, key: str = KEY) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "CORNUE_LANG": "en", "CORNUE_KEYS": str(folder / "keys"), "PRETEND_KEY": key}
    command = [sys.executable, "-m", "cornue.cli", *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


def write(folder: Path, endpoint: FakeEndpoint, letter: str, recipe: str = RECIPE) -> None:
    (folder / "r.toml").write_text(recipe.replace("URL", endpoint.url), encoding="utf-8")
    rows = [*(f"question {n}" for n in range(6)), letter]
    (folder / "mails.csv").write_text("nr;texte\n" + "".join(f"{n};{row}\n" for n, row in enumerate(rows)))


def everything_in(folder: Path) -> str:
    files = [path for path in folder.rglob("*") if path.is_file()]
    said = [str(pq.read_table(path).to_pylist()) if path.suffix == ".parquet" else "" for path in files]
    return "".join([*said, *(path.read_bytes().decode("utf-8", "replace") for path in files)])


def test_personal_data_stops_a_remote_capture_before_anything_leaves(tmp_path: Path) -> None:
    with FakeEndpoint(key=KEY) as endpoint:
        write(tmp_path, endpoint, LETTER)
        done = cornue(tmp_path, "capture", "r.toml")
        assert endpoint.asked == []
    assert done.returncode == 3 and "iban" in done.stderr and "nir" in done.stderr
    assert "2004" not in done.stderr and "168" not in done.stderr


def questions(folder: Path, endpoint: FakeEndpoint, recipe: str = RECIPE) -> subprocess.CompletedProcess[str]:
    """Ask about a letter; ``capture`` reaches a teacher by the same way, but weighs torch as well."""
    write(folder, endpoint, "", recipe)
    (folder / "letters.txt").write_text(f"{LETTER}\n\nLe repas coûte 3 euros.\n", encoding="utf-8")
    return cornue(folder, "questions", "r.toml", "letters.txt", "q.jsonl", "--debug")


REPLACE = RECIPE.replace("max_tokens", 'personal_data = "replace"\nmax_tokens')


def ask(messages: Sequence[dict[str, str]]) -> str:
    return "Qui doit payer la cantine ?"


def test_with_placeholders_nothing_with_a_right_key_leaves_and_the_key_is_nowhere(tmp_path: Path) -> None:
    with FakeEndpoint(key=KEY, answer=ask) as endpoint:
        done = questions(tmp_path, endpoint, REPLACE)
        sent = str(endpoint.asked)
    assert done.returncode == 0, done.stderr
    assert "[IBAN_1]" in sent and "[NIR_1]" in sent and "3M02" not in sent and "168 025" not in sent
    assert KEY not in done.stdout + done.stderr + everything_in(tmp_path)


def test_a_key_that_does_not_fit_is_not_shown_either(tmp_path: Path) -> None:
    with FakeEndpoint(key="another") as endpoint:
        done = questions(tmp_path, endpoint, REPLACE)
    assert done.returncode == 4 and "PRETEND_KEY" in done.stderr
    assert KEY not in done.stdout + done.stderr + everything_in(tmp_path)


def test_another_machine_is_not_asked_unless_the_recipe_says_so(tmp_path: Path) -> None:
    with FakeEndpoint() as endpoint:
        recipe = RECIPE.replace("remote_allowed = true\n", "").replace("URL", "https://teacher.example/v1")
        done = questions(tmp_path, endpoint, recipe)
    assert done.returncode == 3 and "remote_allowed" in done.stderr
