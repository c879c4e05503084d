"""Turns joules and tokens into money and greenhouse gas by dated tables, and says when a teacher pays for itself.

The tables are open data beside this file; a table of the user's own goes before them. It measures nothing and converts
no currencies. Every result is an estimate that names its table line, whatever it was computed from.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import Field, ValidationError

from cornue.ledger.numbers import Number, Total, estimated
from cornue.records.errors import BadInput
from cornue.records.samples import Record
from cornue.records.words import words

JOULES_PER_KWH = 3.6e6
ENERGY = ("cpu_energy", "gpu_energy")
Quality = Literal["official", "reported", "background", "declared"]


class Line(Record):
    """What every line of a table says of itself."""

    date: str = Field(description="From when it holds, ISO 8601.")
    how: Quality = Field(description="How well it was read.")
    source: str


L = TypeVar("L", bound=Line)


class ElectricityPrice(Line):
    """A price of electricity."""

    region: str
    euros_per_kwh: float = Field(ge=0)


class GridIntensity(Line):
    """The greenhouse gas behind a kilowatt-hour."""

    region: str
    grams_per_kwh: float = Field(ge=0)
    low: float = Field(ge=0)
    high: float = Field(ge=0)


class ModelPrice(Line):
    """The price of a hosted model, per million tokens."""

    name: str
    currency: str
    prompt: float = Field(ge=0)
    cached_prompt: float = Field(ge=0)
    completion: float = Field(ge=0)


class Tables(Record):
    """The price and grid tables in force; of lines with one name the first holds."""

    electricity: tuple[ElectricityPrice, ...] = ()
    grid: tuple[GridIntensity, ...] = ()
    model: tuple[ModelPrice, ...] = ()

    def before(self, other: Tables) -> Tables:
        """These lines, then those of another table."""
        return Tables(
            electricity=self.electricity + other.electricity,
            grid=self.grid + other.grid,
            model=self.model + other.model,
        )


def read_tables(path: str | Path | None = None) -> Tables:
    """Our tables, after the user's own TOML file where one is given.

    Raises:
        BadInput: the file is missing or says something that a table cannot say.
    """
    if path is None:
        return _our_tables()
    try:
        own = Tables.model_validate(tomllib.loads(Path(path).read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError) as error:
        reason = "; ".join(str(error).splitlines()[:3])
        raise BadInput(
            words(en=f"{path} is no price table: {reason}", fr=f"{path} n'est pas une table de prix : {reason}"),
            words(
                en="write [[electricity]], [[grid]] or [[model]] lines as in cornue/ledger/prices.toml",
                fr="écrivez des lignes [[electricity]], [[grid]] ou [[model]] comme dans cornue/ledger/prices.toml",
            ),
        ) from error
    return own.before(_our_tables())


@cache
def _our_tables() -> Tables:
    folder = resources.files("cornue.ledger")
    texts = [folder.joinpath(name).read_text(encoding="utf-8") for name in ("prices.toml", "grid.toml")]
    return Tables.model_validate({key: value for text in texts for key, value in tomllib.loads(text).items()})


def electricity_cost(energy: Number | Total, region: str = "FR", tables: Tables | None = None) -> Number:
    """What an amount of energy in joules costs, in euros.

    Raises:
        BadInput: no price for the region.
    """
    line = _line((tables or read_tables()).electricity, "electricity", "region", region)
    price = line.euros_per_kwh / JOULES_PER_KWH
    low, value, high = (joules * price for joules in _interval(energy))
    return estimated(value, "EUR", f"{line.euros_per_kwh} EUR/kWh, {line.date}: {line.source}", low, high)


def emissions(energy: Number | Total, region: str = "FR", tables: Tables | None = None) -> Number:
    """The greenhouse gas behind an amount of energy in joules, in grams of CO2 equivalent.

    Raises:
        BadInput: no figure for the region.
    """
    line = _line((tables or read_tables()).grid, "grid", "region", region)
    low, value, high = (joules / JOULES_PER_KWH for joules in _interval(energy))
    source = f"{line.grams_per_kwh} gCO2e/kWh, {line.date}: {line.source}"
    return estimated(value * line.grams_per_kwh, "gCO2e", source, low * line.low, high * line.high)


def tokens_cost(
    model: str,
    prompt: int,
    completion: int,
    cached: int = 0,
    reasoning: int = 0,
    tables: Tables | None = None,
) -> Number:
    """What a hosted model charges, in the currency of its price line.

    Args:
        model: the name of its price line.
        prompt: all prompt tokens, cached ones included.
        completion: completion tokens without the reasoning.
        cached: the prompt tokens that were cached.
        reasoning: reasoning tokens, charged like completion tokens.

    Raises:
        BadInput: no price for the model.
    """
    line = _line((tables or read_tables()).model, "model", "name", model)
    if not 0 <= cached <= prompt or completion < 0 or reasoning < 0:
        raise ValueError(f"{cached} cached of {prompt} prompt tokens, {completion} completion, {reasoning} reasoning")
    fresh = (prompt - cached) * line.prompt
    money = (fresh + cached * line.cached_prompt + (completion + reasoning) * line.completion) / 1e6
    return estimated(money, line.currency, f"price sheet of {model}, {line.date}: {line.source}")


def energy_of(totals: Mapping[str, Total]) -> Total:
    """All energy among some totals, in joules."""
    parts = [totals[name] for name in ENERGY if name in totals]
    by_how = {how: sum(part.by_how.get(how, 0.0) for part in parts) for part in parts for how in part.by_how}
    return Total(
        value=sum(part.value for part in parts),
        unit="J",
        low=sum(part.low for part in parts),
        high=sum(part.high for part in parts),
        by_how=by_how,
    )


def bill(totals: Mapping[str, Total], region: str = "FR", tables: Tables | None = None) -> dict[str, Number]:
    """The electricity and emissions behind a ledger's totals: ``electricity`` (EUR), ``emissions`` (gCO2e)."""
    energy = energy_of(totals)
    return {
        "electricity": electricity_cost(energy, region, tables),
        "emissions": emissions(energy, region, tables),
    }


def break_even(teacher: float, student_alone: float, student_distilled: float) -> float | None:
    """How many students a teacher's answers must serve before distilling costs less than fine-tuning without it.

    N* = teacher / (student_alone - student_distilled), all three in one unit (joules, euros, core-seconds), for
    students of equal quality (Lambert and Luccioni, arXiv 2605.13981). None if a distilled student is not cheaper to
    train: then no number of reuses pays for the teacher.
    """
    saved = student_alone - student_distilled
    return teacher / saved if saved > 0 else None


def _interval(energy: Number | Total) -> tuple[float, float, float]:
    if energy.unit != "J":
        raise ValueError(f"energy is wanted in J, not in {energy.unit}")
    if isinstance(energy, Number):
        return energy.lowest, energy.value, energy.highest
    return energy.low, energy.value, energy.high


def _line(lines: Sequence[L], table: str, key: str, value: str) -> L:
    """The first line whose key has a value."""
    for line in lines:
        if getattr(line, key) == value:
            return line
    known = ", ".join(sorted({getattr(line, key) for line in lines}))
    raise BadInput(
        words(
            en=f"the price tables have no [[{table}]] line with {key} = {value!r}; they know {known}",
            fr=f"les tables de prix n'ont pas de ligne [[{table}]] avec {key} = {value!r} ; elles connaissent {known}",
        ),
        words(
            en="add a line of your own, with its date and source, in a table of your own",
            fr="ajoutez votre ligne, avec sa date et sa source, dans votre propre table",
        ),
    )
