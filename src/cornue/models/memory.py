"""Lets a process keep the memory that it has once had, instead of giving it back after every product.

glibc hands large blocks back to the system as soon as they are free; the next step takes them again, page by page, and
each page is cleared anew. On two cores this took a third of a training step. It changes no result. Elsewhere than with
glibc it does nothing.

Source: mallopt(3).
"""

from __future__ import annotations

import ctypes
import os
from functools import cache

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD, ARENA_MAX = -1, -2, -3, -8
LARGEST_THRESHOLD = 32 << 20


@cache
def keep() -> None:
    """Keep freed memory from now on; blocks above 32 MiB still come and go, and are asked for in large pages."""
    # torch reads this once, when it first allocates.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return
    for option, value in (
        (ARENA_MAX, 1),
        (MMAP_THRESHOLD, LARGEST_THRESHOLD),
        (TRIM_THRESHOLD, -1),
        (TOP_PAD, 256 << 20),
    ):
        mallopt(option, value)
