"""Reads what a power meter at the wall has written, and gives the energy of a span of time.

The file is CSV with a head line and two columns, in any order among others: ``time`` (ISO 8601 with its offset, or
seconds since 1970) and ``watts``. It is the only instrument that counts the whole machine; what else hangs on the same
plug it counts too.
"""

from __future__ import annotations

import csv
from bisect import bisect_left
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from cornue.ledger.numbers import Number, measured
from cornue.records.errors import BadInput
from cornue.records.words import words

LARGEST_GAP = 300.0


def wall_energy(path: str | Path, begin: datetime, end: datetime) -> Number:
    """The energy between two moments, in joules, by straight lines between the readings.

    Raises:
        BadInput: the file is no such table, does not span the time, or has a gap of more than five minutes in it.
    """
    readings = _read(Path(path))
    start, stop = begin.timestamp(), end.timestamp()
    if not readings or readings[0][0] > start or readings[-1][0] < stop or stop < start:
        raise _refusal(path, words(en=f"it does not span {begin} to {end}", fr=f"il ne couvre pas {begin} à {end}"))
    inner = [reading for reading in readings if start < reading[0] < stop]
    line = [(start, _watts_at(readings, start)), *inner, (stop, _watts_at(readings, stop))]
    first, last = bisect_left(readings, (start, 0.0)), bisect_left(readings, (stop, 0.0))
    around = readings[max(first - 1, 0) : last + 1]
    gap = max((after[0] - before[0] for before, after in pairwise(around)), default=0.0)
    if gap > LARGEST_GAP:
        raise _refusal(path, words(en=f"it has a gap of {gap:.0f} s", fr=f"il a un trou de {gap:.0f} s"))
    joules = sum((after[0] - before[0]) * (before[1] + after[1]) / 2 for before, after in pairwise(line))
    return measured(joules, "J", f"power meter at the wall, whole machine, {len(around)} readings")


def _watts_at(readings: list[tuple[float, float]], moment: float) -> float:
    place = bisect_left(readings, (moment, 0.0))
    if place == 0 or readings[place][0] == moment:
        return readings[place][1]
    (before, low), (after, high) = readings[place - 1], readings[place]
    return low + (high - low) * (moment - before) / (after - before)


def _read(path: Path) -> list[tuple[float, float]]:
    """Seconds since 1970 and watts, in the order of time."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return sorted((_moment(row["time"]), _watts(row["watts"])) for row in csv.DictReader(file))
    except OSError as error:
        raise _refusal(path, str(error.strerror)) from error
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        reason = words(en=f"it lacks a time or watts: {error}", fr=f"il y manque un temps ou des watts : {error}")
        raise _refusal(path, reason) from error


def _moment(text: str) -> float:
    if text.replace(".", "", 1).isdecimal():
        return float(text)
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text} does not name its offset")
    return moment.timestamp()


def _watts(text: str) -> float:
    watts = float(text)
    if not 0 <= watts < 1e6:
        raise ValueError(f"{text} W")
    return watts


def _refusal(path: str | Path, reason: str) -> BadInput:
    return BadInput(
        words(
            en=f"the meter's file {path} cannot be used: {reason}", fr=f"le relevé {path} est inutilisable : {reason}"
        ),
        words(
            en="give a CSV file with the columns time and watts that spans the whole run",
            fr="donnez un fichier CSV avec les colonnes time et watts qui couvre toute l'exécution",
        ),
    )
