"""Curves as SVG, drawn on the server: one line per series, axes with a few round numbers, no script.

It draws; it does not smooth, and it leaves nothing out but points closer than a pixel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT = 640, 220
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 12, 28
Point = tuple[float, float]


def curve(name: str, points: Sequence[Point]) -> str:
    """An SVG of one series; its name and last value are its text for those who do not see it."""
    points = [point for point in points if all(map(math.isfinite, point))]
    if len(points) < 2:
        return ""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    x_ticks, y_ticks = _ticks(min(xs), max(xs)), _ticks(min(ys), max(ys))
    low_x, high_x = min(xs), max(max(xs), min(xs) + 1e-12)
    low_y, high_y = min(y_ticks[0], min(ys)), max(y_ticks[-1], max(ys))

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - low_x) / (high_x - low_x)
        up = (y - low_y) / ((high_y - low_y) or 1.0)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    label = escape(f"{name}: {ys[0]:.4g} → {ys[-1]:.4g}")
    parts = [f'<svg class="curve" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">']
    for y in y_ticks:
        _, v = place(low_x, y)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{v:.1f}" y2="{v:.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{v + 4:.1f}" text-anchor="end">{y:.4g}</text>')
    for x in x_ticks:
        if low_x <= x <= high_x:
            h, _ = place(x, low_y)
            parts.append(f'<text x="{h:.1f}" y="{HEIGHT - 8}" text-anchor="middle">{x:.4g}</text>')
    path = " ".join(f"{h:.1f},{v:.1f}" for h, v in _thin([place(x, y) for x, y in points]))
    parts.append(f'<polyline points="{path}"/></svg>')
    return "".join(parts)


def _thin(points: list[Point]) -> list[Point]:
    """At most one point per half pixel across; first and last stay."""
    kept = [points[0]]
    for point in points[1:-1]:
        if point[0] - kept[-1][0] >= 0.5:
            kept.append(point)
    return [*kept, points[-1]]


def _ticks(low: float, high: float, wanted: int = 4) -> list[float]:
    span = (high - low) or abs(high) or 1.0
    rough = span / wanted
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first = math.floor(low / step)
    last = math.ceil(high / step)
    return [number * step for number in range(first, last + 1)]
