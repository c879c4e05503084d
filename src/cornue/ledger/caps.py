"""Holds what a run has cost against the caps of its recipe.

It sums energy, its price and time from totals; tokens are the capture's affair, which holds them back before it asks.
It stops nothing itself: it says when a cap is reached, and whoever asked ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cornue.ledger.numbers import Total
from cornue.ledger.prices import JOULES_PER_KWH, electricity_cost, energy_of
from cornue.records import recipe
from cornue.records.errors import Refused
from cornue.records.words import words


@dataclass(frozen=True)
class Spent:
    """What a run has cost: wall hours, kilowatt-hours, and euros for them."""

    hours: float
    kwh: float
    euros: float

    @staticmethod
    def of(totals: Mapping[str, Total]) -> Spent:
        """From the totals of a ledger."""
        energy = energy_of(totals)
        return Spent(
            hours=totals["wall"].value / 3600 if "wall" in totals else 0.0,
            kwh=energy.value / JOULES_PER_KWH,
            euros=electricity_cost(energy).value,
        )


def require_room(caps: recipe.Budget, totals: Mapping[str, Total]) -> None:
    """Nothing, as long as every cap has room.

    Raises:
        Refused: naming the cap that is reached.
    """
    spent = Spent.of(totals)
    units = {"hours": words(en="hours", fr="heures"), "kwh": "kWh", "euros": "€"}
    for name, unit in units.items():
        cap, so_far = getattr(caps, name), getattr(spent, name)
        if cap and so_far >= cap:
            raise Refused(
                words(
                    en=f"The budget of {cap:g} {unit} is spent ({so_far:.3g}).",
                    fr=f"Le budget de {cap:g} {unit} est épuisé ({so_far:.3g}).",
                ),
                words(
                    en="Raise [budget] and run again; what is finished stays, and the last checkpoint is sound.",
                    fr="Relevez [budget] et relancez ; ce qui est fait reste, et le dernier point de reprise est sain.",
                ),
            )
