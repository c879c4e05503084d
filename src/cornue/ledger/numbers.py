"""Numbers that say how they were obtained, and their sums.

A number of the ledger is never bare: it has a unit, a word on how it was obtained, and where it is not exact an
interval and a source. It converts no units.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from pydantic import Field, model_validator

from cornue.records.samples import Record

How = Literal["measured", "counted", "estimated", "declared"]
PEAK = "peak_"


class Number(Record):
    """One quantity of one act."""

    value: float = Field(ge=0, allow_inf_nan=False)
    unit: str = Field(min_length=1, description="s, B, J, EUR, USD, tokens, FLOP, gCO2e …")
    how: How = Field(
        description="measured by an instrument, counted exactly, estimated by a model, declared by someone."
    )
    low: float | None = Field(default=None, ge=0, allow_inf_nan=False, description="Lower end where it is uncertain.")
    high: float | None = Field(default=None, ge=0, allow_inf_nan=False, description="Upper end where it is uncertain.")
    source: str = Field(default="", description="Instrument, table or person, with its boundary or date.")

    @model_validator(mode="after")
    def _interval_holds_value(self) -> Number:
        if not (self.lowest <= self.value <= self.highest):
            raise ValueError(f"{self.value} lies outside [{self.lowest}, {self.highest}]")
        return self

    @property
    def lowest(self) -> float:
        """Lower end of the interval; the value where it has none."""
        return self.value if self.low is None else self.low

    @property
    def highest(self) -> float:
        """Upper end of the interval; the value where it has none."""
        return self.value if self.high is None else self.high


class Total(Record):
    """A sum over acts, with the part that each way of obtaining it contributes; the largest, for names ``peak_…``."""

    value: float
    unit: str
    low: float
    high: float
    by_how: dict[How, float]


def measured(value: float, unit: str, source: str = "") -> Number:
    """What an instrument showed."""
    return Number(value=value, unit=unit, how="measured", source=source)


def counted(value: float, unit: str, source: str = "") -> Number:
    """What was counted one by one."""
    return Number(value=value, unit=unit, how="counted", source=source)


def estimated(value: float, unit: str, source: str, low: float | None = None, high: float | None = None) -> Number:
    """What a model yields; it names the model."""
    return Number(value=value, unit=unit, how="estimated", source=source, low=low, high=high)


def declared(value: float, unit: str, source: str) -> Number:
    """What somebody says; it names who."""
    return Number(value=value, unit=unit, how="declared", source=source)


def add_up(acts: Iterable[Mapping[str, Number]]) -> dict[str, Total]:
    """The totals of the numbers of some acts, by name.

    Raises:
        ValueError: one name has two units.
    """
    totals: dict[str, Total] = {}
    for numbers in acts:
        for name, number in numbers.items():
            so_far = totals.get(name) or Total(value=0, unit=number.unit, low=0, high=0, by_how={})
            if so_far.unit != number.unit:
                raise ValueError(f"{name} stands in {so_far.unit} and in {number.unit}")
            totals[name] = _largest(so_far, number) if name.startswith(PEAK) else _sum(so_far, number)
    return totals


def _sum(so_far: Total, number: Number) -> Total:
    by_how = {**so_far.by_how, number.how: so_far.by_how.get(number.how, 0.0) + number.value}
    return Total(
        value=so_far.value + number.value,
        unit=number.unit,
        low=so_far.low + number.lowest,
        high=so_far.high + number.highest,
        by_how=by_how,
    )


def _largest(so_far: Total, number: Number) -> Total:
    if number.value < so_far.value:
        return so_far
    by_how: dict[How, float] = {number.how: number.value}
    return Total(value=number.value, unit=number.unit, low=number.lowest, high=number.highest, by_how=by_how)
