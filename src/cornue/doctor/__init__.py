"""EXAMINE: proves, before anything is spent, that objectives, masks, templates and verifiers are right."""

from __future__ import annotations

from cornue.doctor.examine import examine, show

__all__ = ["examine", "show"]
