"""Chooses between the two languages in which Cornue speaks to people.

Both texts stand side by side at the place where they are said, so that neither can be forgotten. It does not translate,
and it is not used for data, file names or keys: those are always English.
"""

from __future__ import annotations

import locale
import os


def language() -> str:
    """The language of the person at the terminal: "fr" or "en".

    ``CORNUE_LANG`` wins over the locale variables in their POSIX order (``LC_ALL``, ``LC_MESSAGES``, ``LANG``).
    """
    for name in ("CORNUE_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        value = os.environ.get(name)
        if value:
            return "fr" if value.lower().startswith("fr") else "en"
    return "fr" if (locale.getlocale()[0] or "").lower().startswith("fr") else "en"


def words(en: str, fr: str) -> str:
    """The one of two texts that the reader understands."""
    return fr if language() == "fr" else en
