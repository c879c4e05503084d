"""Proves that the doctor finds nothing in a sound subject and catches every seeded bug by the name of its class.

The bugs are those of ``tests/roof/doctor_bugs.py``, put one at a time into a tiny random student's training. It also
takes the time of a whole examination of a model, from the recipe given with ``--recipe``, where there is one.

Run it with ``make prove-doctor``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import results

sys.path.insert(0, str(results.ROOT / "tests" / "roof"))

import doctor_bugs

from cornue.doctor.admit import admit
from cornue.doctor.examine import CHECKS, examine_subject

SECONDS = 60.0


def main() -> int:
    """Runs the proof; exits with 1 if a bar does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", type=Path, default=results.ROOT / "recipes" / "communes.toml")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sound = examine_subject(doctor_bugs.subject(Path(folder)))
    caught = [catch(bug) for bug in doctor_bugs.BUGS]
    alarms = sum(finding.value == "failed" for finding in sound)
    built = {finding.number for finding in sound if finding.value != "not applicable"}
    seeded = {bug.number for bug in doctor_bugs.BUGS}
    figures: dict[str, Any] = {
        "classes": len(CHECKS),
        "classes whose feature exists": len(built),
        "bugs seeded": len(caught),
        "sound": [vars(finding) for finding in sound],
        "bugs": caught,
    }
    bars = [
        results.bar("seeded bugs caught by name", sum(bug["caught"] for bug in caught), len(caught)),
        results.bar("classes whose feature exists and that have a bug", len(built & seeded), len(built)),
        results.bar("alarms on a sound subject", alarms, 0, at_most=True),
    ]
    not_run = []
    if options.recipe.parent.joinpath(student_of(options.recipe)).exists():
        seconds, findings = examination(options.recipe)
        figures |= {"recipe": options.recipe.name, "recipe findings": findings}
        bars.append(results.bar("seconds after the models are loaded", seconds, SECONDS, at_most=True))
    else:
        reason = f"{student_of(options.recipe)} is not there"
        not_run.append({"name": "seconds after the models are loaded", "reason": reason})
    outcome = results.write("prove-doctor", figures, bars, not_run)
    return 0 if all(item["holds"] for item in outcome["bars"]) else 1


def catch(bug: doctor_bugs.Bug) -> dict[str, Any]:
    """Whether the doctor finds a bug, and what it says."""
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        (finding,) = examine_subject(bug.plant(doctor_bugs.subject(Path(folder))), (bug.number,))
        seconds = time.perf_counter() - begin
    return {
        "class": bug.number,
        "name": finding.name,
        "bug": bug.name,
        "caught": finding.value == "failed",
        "said": finding.reason,
        "seconds": round(seconds, 2),
    }


def student_of(recipe: Path) -> str:
    """The file of a recipe's student, from the recipe's folder."""
    from cornue.records.recipe import read_recipe

    return read_recipe(recipe).student.model


def examination(recipe: Path) -> tuple[float, list[dict[str, Any]]]:
    """Seconds of a whole examination once the models are loaded, and what was found."""
    with tempfile.TemporaryDirectory() as folder:
        subject = admit(recipe, Path(folder))
        begin = time.perf_counter()
        found = examine_subject(subject)
        return time.perf_counter() - begin, [vars(finding) for finding in found]


if __name__ == "__main__":
    sys.exit(main())
