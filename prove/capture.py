"""Proves that a capture from a faulty endpoint, killed again and again, asks for nothing twice and loses nothing.

A pretend endpoint fails one request in five in every way that it knows. A process asks it for a thousand answers and is
killed with SIGKILL at random moments; the last sitting is let finish. The endpoint counts what it was asked and what it
answered whole; an answer may be asked for again only if it was in flight when the process was killed.

Run it with ``make prove-capture``; ``--answers`` and ``--kills`` choose another size.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import results
from cornue.capture.ask import run_capture
from cornue.capture.fake_endpoint import FakeEndpoint
from cornue.capture.reader import open_capture
from cornue.capture.teacher_endpoint import EndpointTeacher
from cornue.records.recipe import Capture
from cornue.records.samples import Message, Prompt

SLOTS = 8
FAULTS = 0.2
LATENCY = 0.02


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
    with FakeEndpoint(faults=FAULTS, latency=LATENCY) as endpoint:
        kills = disturb(endpoint, options.answers, options.kills, random.Random(options.seed), work)
        figures = {"kills": kills, **count(endpoint, options.answers, work / "1-capture")}
    bars = [
        results.bar("unique rows", figures["unique_rows"], options.answers),
        results.bar("rows", figures["rows"], options.answers, at_most=True),
        results.bar("kills", kills, options.kills),
        results.bar("answers repeated per kill", figures["repeated"] / max(1, kills), SLOTS, at_most=True),
        results.bar("rows with another answer than the endpoint gave", figures["wrong_rows"], 0, at_most=True),
    ]
    results.write("prove-capture", figures, bars, folder=None if options.trial else results.RESULTS)
    return 0 if all(bar["holds"] for bar in bars) else 1


def prompts(answers: int) -> list[Prompt]:
    """As many questions as answers are wanted."""
    return [Prompt.make((Message(role="user", content=f"question {number}"),)) for number in range(answers)]


def sit(url: str, answers: int, folder: Path) -> None:
    """Ask for what is missing."""
    teacher = EndpointTeacher(url, "pretend-1", slots=SLOTS, pause=0.01)
    run_capture(teacher, prompts(answers), Capture(max_tokens=20), folder)
    teacher.close()


def disturb(endpoint: FakeEndpoint, answers: int, kills: int, lot: random.Random, work: Path) -> int:
    """Start sittings and kill them, as soon as each has got a random share of what was left; returns the kills."""
    arguments = [sys.executable, __file__, "--sitting", endpoint.url, "--answers", str(answers)]
    for kill in range(kills):
        goal = endpoint.answered + lot.uniform(0.2, 1.0) * max(1, answers - endpoint.answered) / (kills - kill + 1)
        child = subprocess.Popen(arguments)
        while endpoint.answered < goal and child.poll() is None:
            time.sleep(0.002)
        if child.poll() is not None:
            return kill
        child.send_signal(signal.SIGKILL)
        child.wait()
        if kill == kills // 2:
            tear(work / "1-capture.partial")
    subprocess.run(arguments, check=True)
    return kills


def tear(journal: Path) -> None:
    """Cut the last line of a shard, as a kill in the middle of a write would."""
    shard = max(path for path in journal.glob("samples-*") if path.stat().st_size)
    shard.write_bytes(shard.read_bytes()[:-7])


def count(endpoint: FakeEndpoint, answers: int, folder: Path) -> dict[str, int]:
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
        "repeated": endpoint.answered - answers,
        "most_requests_for_one_answer": max(asked.values()),
        "torn_lines": int(capture.about["record"]["torn_lines"]),
    }


if __name__ == "__main__":
    sys.exit(main())
