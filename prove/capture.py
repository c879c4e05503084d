"""Proves that a capture from a faulty endpoint asks for nothing twice, loses nothing, and lets no secret out.

A pretend endpoint fails one request in five in every way that it knows. A process asks it for a thousand answers and is
killed with SIGKILL at random moments; the last sitting is let finish. The endpoint counts what it was asked and what it
answered whole; an answer may be asked for again only if it was in flight when the process was killed. The key that the
endpoint wants is looked for afterwards in everything that was written. Then the endpoint is asked letters that hold
names, IBANs, social security numbers and SIRETs in many writings, and what reached it is searched.

Run it with ``make prove-capture``; ``--answers`` and ``--kills`` choose another size.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

import results
from cornue.capture.ask import run_capture
from cornue.capture.reader import open_capture
from cornue.capture.teacher_endpoint import EndpointTeacher
from cornue.privacy.check_digits import find_identifiers
from cornue.records.errors import Refused
from cornue.records.recipe import Capture
from cornue.records.samples import Message, Prompt
from pretend.endpoint import FakeEndpoint

SLOTS = 8
FAULTS = 0.2
LATENCY = 0.02
KEY, KEY_ENV = "sk-canary-7f3a9c51e2", "PRETEND_KEY"
LETTERS = 300
NAMES = ("Claire Martin", "Jean-Baptiste Le Goff", "Aïcha Benali", "Mme Durand", "Tuğba Yılmaz")
COUNTRIES = (("FR", 27), ("DE", 22), ("BE", 16), ("IT", 27), ("MT", 31))
GAPS = ("", " ", ".", "-", "\u00a0", "\u202f", " - ", "\u200b", "\n")


def main() -> int:
    """Runs the proof; exits with 1 if a bar does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--answers", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sitting", metavar="URL", help="be the process that asks")
    parser.add_argument("--trial", action="store_true", help="print only")
    options = parser.parse_args()
    work = results.ROOT / ".cache" / "prove-capture"
    if options.sitting:
        sit(options.sitting, options.answers, work / "1-capture")
        return 0
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    lot = random.Random(options.seed)
    with FakeEndpoint(faults=FAULTS, latency=LATENCY, key=KEY) as endpoint:
        lost = disturb(endpoint, options.answers, options.kills, lot, work)
        figures = {"kills": len(lost), **count(endpoint, options.answers, lost, work / "1-capture")}
    figures |= {"files_with_the_key": files_with(KEY, work), **send_letters(lot, work)}
    bars = [
        results.bar("unique rows", figures["unique_rows"], options.answers),
        results.bar("rows", figures["rows"], options.answers, at_most=True),
        results.bar("kills", figures["kills"], options.kills),
        results.bar("most answers lost by one kill", figures["most_lost_by_one_kill"], SLOTS, at_most=True),
        results.bar("answers asked again that no kill had lost", figures["repeated_needlessly"], 0, at_most=True),
        results.bar("rows with another answer than the endpoint gave", figures["wrong_rows"], 0, at_most=True),
        results.bar("files and outputs with the key in them", figures["files_with_the_key"], 0, at_most=True),
        results.bar("requests sent though refused", figures["requests_though_refused"], 0, at_most=True),
        results.bar("identifiers that left", figures["identifiers_that_left"], 0, at_most=True),
        results.bar("letters asked", figures["letters_asked"], LETTERS),
    ]
    results.write("prove-capture", figures, bars, folder=None if options.trial else results.RESULTS)
    return 0 if all(bar["holds"] for bar in bars) else 1


def prompts(answers: int) -> list[Prompt]:
    """As many questions as answers are wanted."""
    return [question(f"question {number}") for number in range(answers)]


def question(text: str) -> Prompt:
    """A prompt of one turn."""
    return Prompt.make((Message(role="user", content=text),))


def sit(url: str, answers: int, folder: Path) -> None:
    """Ask for what is missing."""
    teacher = EndpointTeacher(url, "pretend-1", key_env=KEY_ENV, slots=SLOTS, pause=0.01)
    run_capture(teacher, prompts(answers), Capture(max_tokens=20), folder)
    teacher.close()


def disturb(endpoint: FakeEndpoint, answers: int, kills: int, lot: random.Random, work: Path) -> list[int]:
    """Start sittings and kill them, as soon as each has got a random share of what was left.

    Returns:
        How many whole answers each kill cost.
    """
    arguments = [sys.executable, __file__, "--sitting", endpoint.url, "--answers", str(answers)]
    environment = {**os.environ, KEY_ENV: KEY}
    journal = work / "1-capture.partial"
    lost: list[int] = []
    for kill in range(kills):
        goal = endpoint.answered + lot.uniform(0.2, 1.0) * max(1, answers - endpoint.answered) / (kills - kill + 1)
        with (work / f"sitting-{kill}.log").open("wb") as log:
            child = subprocess.Popen(arguments, env=environment, stdout=log, stderr=log)
        while endpoint.answered < goal and child.poll() is None:
            time.sleep(0.002)
        if child.poll() is not None:
            return lost
        child.send_signal(signal.SIGKILL)
        child.wait()
        # What was in flight is still being answered, to nobody.
        time.sleep(20 * LATENCY)
        lost.append(endpoint.answered - whole_lines(journal) - sum(lost))
        if kill == kills // 2:
            tear(journal)
            lost[-1] += 1
    with (work / f"sitting-{kills}.log").open("wb") as log:
        subprocess.run(arguments, env=environment, stdout=log, stderr=log, check=True)
    return lost


def whole_lines(journal: Path) -> int:
    """Answers that are on the disk."""
    return sum(path.read_bytes().count(b"\n") for path in journal.glob("samples-*"))


def tear(journal: Path) -> None:
    """Cut the last line of a shard, as a kill in the middle of a write would."""
    shard = max(path for path in journal.glob("samples-*") if path.stat().st_size)
    shard.write_bytes(shard.read_bytes()[:-7])


def count(endpoint: FakeEndpoint, answers: int, lost: Sequence[int], folder: Path) -> dict[str, int]:
    """What the endpoint saw and what the capture holds."""
    capture = open_capture(folder)
    asked = Counter(json.dumps(request["messages"]) for request in endpoint.asked)
    wanted = {prompt.id: f"You asked: {prompt.messages[0].content}" for prompt in prompts(answers)}
    rows = capture.samples()
    return {
        "rows": len(rows),
        "unique_rows": len({row.prompt_id for row in rows}),
        "wrong_rows": sum(row.text != wanted[row.prompt_id] for row in rows),
        "requests": len(endpoint.asked),
        "answered_whole": endpoint.answered,
        "failed_on_purpose": len(endpoint.asked) - endpoint.answered,
        "lost_by_kills": sum(lost),
        "most_lost_by_one_kill": max(lost, default=0),
        "repeated_needlessly": endpoint.answered - answers - sum(lost),
        "most_requests_for_one_answer": max(asked.values()),
        "torn_lines": int(capture.about["record"]["torn_lines"]),
    }


def files_with(secret: str, folder: Path) -> int:
    """Files that hold a text, tables unpacked."""
    found = 0
    for path in filter(Path.is_file, folder.rglob("*")):
        table = str(pq.read_table(path).to_pylist()) if path.suffix == ".parquet" else ""
        found += secret in table or secret.encode() in path.read_bytes()
    return found


def send_letters(lot: random.Random, work: Path) -> dict[str, Any]:
    """Ask letters with personal data in them, first as a recipe does that says nothing, then with placeholders."""
    letters, codes = zip(*(letter(lot) for _ in range(LETTERS)), strict=True)
    asked = [question(text) for text in letters]
    with FakeEndpoint() as endpoint:
        refusals = 0
        try:
            EndpointTeacher("https://teacher.example/v1", "pretend-1")
        except Refused:
            refusals += 1
        teacher = EndpointTeacher(endpoint.url, "pretend-1", remote_allowed=True)
        # Every letter alone must stop a capture, not one of them for all.
        for number, prompt in enumerate(asked):
            try:
                run_capture(teacher, [prompt], Capture(max_tokens=20), work / f"refused-{number}")
            except Refused:
                refusals += 1
        teacher.close()
        sent_though_refused = len(endpoint.asked)
    with FakeEndpoint() as endpoint:
        teacher = EndpointTeacher(endpoint.url, "pretend-1", remote_allowed=True, personal_data="replace")
        capture = run_capture(teacher, asked, Capture(max_tokens=20), work / "replaced")
        teacher.close()
        sent = [message["content"] for request in endpoint.asked for message in request["messages"]]
    bare = [re.sub(r"\W", "", unicodedata.normalize("NFKC", text)).upper() for text in sent]
    everything = "\n".join(bare)
    kept = capture.about["record"]["last_sitting"]["personal_data"]["found"]
    return {
        "refusals": refusals,
        "requests_though_refused": sent_though_refused,
        "letters_asked": len(sent),
        "identifiers_written": sum(map(len, codes)),
        "identifiers_that_left": sum(code in everything for group in codes for code in group)
        + sum(len(find_identifiers(text)) for text in sent),
        "names_that_left": sum(any(name in text for name in NAMES) for text in sent),
        "found": ", ".join(f"{number} {kind}" for kind, number in sorted(kept.items())),
    }


def letter(lot: random.Random) -> tuple[str, list[str]]:
    """A letter with a name and three identifiers, and these identifiers bare."""
    codes = [iban(lot), nir(lot), siret(lot)]
    first, second = (written(code, lot) for code in codes[:2])
    third = f"{codes[2][:3]} {codes[2][3:6]} {codes[2][6:9]} {codes[2][9:]}"
    text = (
        f"Je suis {lot.choice(NAMES)}, mon IBAN est {first}, mon numéro {second} ; mon entreprise a le SIRET {third}."
    )
    return text, codes


def written(code: str, lot: random.Random) -> str:
    """An identifier as people and copies write it: with gaps, in small letters, in wide digits."""
    gap, step = lot.choice(GAPS), lot.choice((1, 2, 3, 4, 5))
    text = gap.join(code[first : first + step] for first in range(0, len(code), step))
    change = lot.choice(
        (str, str, str.lower, lambda one: "".join(chr(ord(c) + 0xFEE0) if c.isalnum() else c for c in one))
    )
    return str(change(text))


def digits(lot: random.Random, number: int) -> str:
    """So many digits."""
    return "".join(lot.choice("0123456789") for _ in range(number))


def iban(lot: random.Random) -> str:
    """An IBAN with right check digits."""
    country, length = lot.choice(COUNTRIES)
    account = digits(lot, length - 4)
    numbers = "".join(str(int(character, 36)) for character in account + country + "00")
    return f"{country}{98 - int(numbers) % 97:02}{account}"


def nir(lot: random.Random) -> str:
    """A French social security number with its key, of Corsica too."""
    department = lot.choice(("01", "29", "56", "75", "97", "2A", "2B"))
    body = lot.choice("12") + digits(lot, 2) + f"{lot.randint(1, 12):02}" + department + digits(lot, 6)
    return f"{body}{97 - int(body.replace('2A', '19').replace('2B', '18')) % 97:02}"


def siret(lot: random.Random) -> str:
    """The number of a French establishment, right by Luhn's formula."""
    body = "7" + digits(lot, 12)
    doubled = [int(digit) * (2 - place % 2) for place, digit in enumerate(reversed(body))]
    total = sum(value - 9 * (value > 9) for value in doubled)
    return f"{body}{-total % 10}"


if __name__ == "__main__":
    sys.exit(main())
