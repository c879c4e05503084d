"""What an audit says of a claim: one of four values and a reason, never one green light for all."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cornue.records.samples import Record

Value = Literal["verified", "declared", "not checkable", "false"]


class Finding(Record):
    """One claim of a pack, and what can be said of it."""

    claim: str = Field(description="What the pack says, in plain words.")
    value: Value
    reason: str
