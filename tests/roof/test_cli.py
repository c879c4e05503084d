"""The journey as a person walks it: through the command line, with a replaying teacher and the tiny student.

Run: pytest tests/roof
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cornue.pack.open import open_pack
from cornue.records.samples import Message, Prompt
from cornue.sources.prompts import write_prompts
from pretend.endpoint import FakeEndpoint

from .conftest import cornue


def teacher_at(endpoint: FakeEndpoint) -> str:
    return f'kind = "endpoint"\nmodel = "pretend-1"\nurl = "{endpoint.url}"\nremote_allowed = true'


def run_of(job: Path) -> Path:
    return next(job.parent.glob("runs/tiny-*"))


def test_a_run_ends_in_a_sealed_pack_that_passes_its_audit_and_answers(finished: Path) -> None:
    run = run_of(finished)
    assert [path.name for path in sorted(run.glob("[1-6]-*"))] == [
        "1-capture", "2-verify", "3-curate", "4-train", "5-evaluate", "6-pack",
    ]  # fmt: skip
    audit = cornue("audit", run / "6-pack", "--json", cwd=finished.parent)
    assert audit.returncode == 0, audit.stderr
    assert {finding["value"] for finding in json.loads(audit.stdout)} <= {"verified", "declared"}
    chat = cornue("chat", run / "6-pack", "--ask", "Population of Ville-1?", "--json", cwd=finished.parent)
    assert json.loads(chat.stdout)["model"] == open_pack(run / "6-pack").facts.model_digest


def test_what_is_finished_is_not_done_again_and_a_new_key_signs_it(finished: Path) -> None:
    assert cornue("keys", "new", "town-hall", cwd=finished.parent).returncode == 0
    again = cornue("run", finished, cwd=finished.parent)
    assert again.returncode == 0 and again.stderr.count("done before") == 6
    pack = run_of(finished) / "6-pack"
    seal = json.loads(cornue("audit", pack, "--json", cwd=finished.parent).stdout)[0]
    assert seal["value"] == "not checkable"
    keys = finished.parent / "keys"
    (keys / "trusted").mkdir()
    shutil.copy(keys / "town-hall.pub.pem", keys / "trusted")
    seal = json.loads(cornue("audit", pack, "--json", cwd=finished.parent).stdout)[0]
    assert seal["value"] == "verified"


def test_an_altered_answer_is_found_false(finished: Path) -> None:
    results = run_of(finished) / "6-pack" / "evaluation" / "results.json"
    results.write_text(results.read_text().replace('"right":0', '"right":3').replace('"right": 0', '"right": 3'))
    audit = cornue("audit", run_of(finished) / "6-pack", "--json", cwd=finished.parent)
    values = {finding["claim"]: finding["value"] for finding in json.loads(audit.stdout)}
    assert audit.returncode == 1
    assert values["seal"] == values["accuracy"] == "false"


def test_a_killed_run_ends_with_the_same_model(finished: Path) -> None:
    command = [sys.executable, "-m", "cornue.cli", "run", str(finished), "--runs", "killed"]
    for sign in ("killed/*/4-train*/stages/*/checkpoints/*", "killed/*/5-evaluate*"):
        process = subprocess.Popen(command, cwd=finished.parent, start_new_session=True, stderr=subprocess.DEVNULL)
        while not list(finished.parent.glob(sign)):
            assert process.poll() is None
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    done = cornue("run", finished, "--runs", "killed", "--json", cwd=finished.parent)
    killed = finished.parent / json.loads(done.stdout)["run"]
    digests = {open_pack(run / "6-pack").facts.model_digest for run in (run_of(finished), killed)}
    assert len(digests) == 1


@pytest.mark.parametrize(
    "old, new, code, said",
    [
        ('licence = "apache-2.0"\n[student]', 'licence = "apache-2.0"\n[studnt]', 2, "student"),
        ("extend = 10", "extnd = 10", 2, "extend"),
        ('table = "towns.sqlite"', 'table = "town.sqlite"', 2, "town.sqlite"),
        ('kind = "sql"', 'kind = "choice"', 2, "choices"),
        ('licence = "apache-2.0"\n[student]', 'licence = "cc-by-nc-4.0"\n[student]', 3, "licen"),
        ('method = "sft"', 'method = "sftt"', 2, "sftt"),
    ],
)
def test_bad_input_is_one_sentence_with_its_code(job: Path, old: str, new: str, code: int, said: str) -> None:
    text = job.read_text()
    assert old in text
    job.write_text(text.replace(old, new, 1))
    done = cornue("run", job, cwd=job.parent)
    assert done.returncode == code, done.stderr
    assert said in done.stderr and "Traceback" not in done.stderr


def test_the_teacher_is_asked_within_the_budget(job: Path) -> None:
    job.write_text(job.read_text(encoding="utf-8") + "[budget]\ntokens = 250\n", encoding="utf-8")
    done = cornue("run", job, cwd=job.parent)
    assert done.returncode == 3, done.stderr
    assert "250 tokens" in done.stderr and "of 12 answers are there" in done.stderr


def test_what_names_a_person_leaves_no_machine_unless_the_recipe_replaces_it(job: Path) -> None:
    asked = (Message(role="user", content="Who pays from IBAN FR76 3000 6000 0112 3456 7890 189?"),)
    write_prompts(job.parent / "prompts.jsonl", [Prompt.make(asked, {"decline": True}, split="train")])
    with FakeEndpoint(answer=lambda messages: "not in the register") as endpoint:
        text = job.read_text(encoding="utf-8").replace('kind = "replay"\nmodel = "answers.jsonl"', teacher_at(endpoint))
        job.write_text(text, encoding="utf-8")
        refused = cornue("capture", job, cwd=job.parent)
        assert refused.returncode == 3 and "iban" in refused.stderr and endpoint.asked == []
        job.write_text(text + '[capture]\npersonal_data = "replace"\n', encoding="utf-8")
        done = cornue("capture", job, cwd=job.parent)
        assert done.returncode == 0, done.stderr
        assert "[IBAN_1]" in str(endpoint.asked) and "7890" not in str(endpoint.asked)


def test_the_capture_says_under_which_licences_it_stands(finished: Path) -> None:
    record = json.loads((run_of(finished) / "1-capture" / "capture.json").read_text(encoding="utf-8"))["record"]
    assert record["teacher_licence"]["answer"] == "yes"
    assert record["prompts_licence"]["licence"] == "etalab-2.0"
    assert record["cost"]["hours"] > 0 and record["cost"]["kwh"] > 0


def test_the_packs_that_learnt_from_a_capture_are_counted(finished: Path) -> None:
    run = run_of(finished)
    used = cornue("uses", run / "1-capture", run.parent, "--json", cwd=finished.parent)
    assert used.returncode == 0, used.stderr
    told = json.loads(used.stdout)
    assert [Path(pack).name for pack in told["packs"]] == ["6-pack"] and told["kwh"] > 0


def test_errors_speak_the_readers_language(job: Path) -> None:
    done = cornue("plan", job.with_name("absent.toml"), cwd=job.parent, language="fr")
    assert done.returncode == 2 and "recette" in done.stderr


def test_a_damaged_answer_file_is_named(job: Path) -> None:
    run = job.parent / json.loads(cornue("capture", job, "--json", cwd=job.parent).stdout)["run"]
    samples = run / "1-capture" / "samples.parquet"
    samples.write_bytes(samples.read_bytes()[:-9])
    done = cornue("verify", job, cwd=job.parent)
    assert done.returncode in (1, 2) and "samples.parquet" in done.stderr and "Traceback" not in done.stderr


def test_help_is_quick_and_light() -> None:
    code = (
        "import sys; sys.argv = ['cornue', '--help']\n"
        "from cornue.cli import main\n"
        "try:\n    main()\nfinally:\n    assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and "doctor" in done.stdout
