"""Shares with their intervals, and paired comparisons.

Every share is reported with its 95 % Wilson interval, every comparison of two answerers on the same questions with a
bootstrap over the questions. Nothing here knows what was asked.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

Z95 = 1.959963984540054
RESAMPLES = 4000


def share(right: int, asked: int) -> dict[str, Any]:
    """A share of right answers with its Wilson interval (Wilson, 1927)."""
    if asked == 0:
        return {"asked": 0, "right": 0, "share": None, "low": None, "high": None}
    p, z = right / asked, Z95
    middle = (p + z * z / (2 * asked)) / (1 + z * z / asked)
    half = z * math.sqrt(p * (1 - p) / asked + z * z / (4 * asked * asked)) / (1 + z * z / asked)
    return {"asked": asked, "right": right, "share": p, "low": max(0.0, middle - half), "high": min(1.0, middle + half)}


def paired(first: Sequence[bool], second: Sequence[bool], seed: int = 1) -> dict[str, Any]:
    """Two answerers on the same questions: difference and ratio of their shares with 95 % bootstrap intervals."""
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if len(a) == 0 or len(a) != len(b):
        raise ValueError(f"a paired comparison needs equally many answers, got {len(a)} and {len(b)}")
    rows = np.random.default_rng(seed).integers(0, len(a), size=(RESAMPLES, len(a)))
    sums_a, sums_b = a[rows].mean(axis=1), b[rows].mean(axis=1)
    ratios = sums_a / np.maximum(sums_b, 1 / len(b))
    low, high = np.percentile(sums_a - sums_b, [2.5, 97.5])
    ratio_low, ratio_high = np.percentile(ratios, [2.5, 97.5])
    return {
        "asked": len(a),
        "difference": float(a.mean() - b.mean()),
        "difference_low": float(low),
        "difference_high": float(high),
        "ratio": float(a.mean() / b.mean()) if b.mean() else None,
        "ratio_low": float(ratio_low),
        "ratio_high": float(ratio_high),
        "only_first_right": int(((a == 1) & (b == 0)).sum()),
        "only_second_right": int(((a == 0) & (b == 1)).sum()),
    }
