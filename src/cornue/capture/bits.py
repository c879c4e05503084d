"""Bit streams in numpy: fixed widths, unary, Elias gamma and a kind of Elias-Fano, each over a whole array at once.

The building blocks of the packed form of distributions (``packing``). Writers give arrays of bits (uint8, 0 or 1, the
highest bit of a number first); a ``BitReader`` takes them back in the same order. What the numbers mean is not known.

Source: P. Elias, "Universal codeword sets and representations of the integers", 1975, and "Efficient storage and
retrieval by content and address of static files", 1974.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Bits = NDArray[np.uint8]
Ints = NDArray[np.int64]
# Numbers are looked at with this much added, so that the cells of the smallest are not finer than the numbers.
EASE_LOG2 = 8
EASE = 1 << EASE_LOG2


def fixed(values: Ints, widths: Ints) -> Bits:
    """Each value in its own number of bits; a width of 0 writes nothing."""
    starts = np.cumsum(widths) - widths
    total = int(widths.sum())
    within = np.arange(total) - np.repeat(starts, widths)
    return (np.repeat(values, widths) >> (np.repeat(widths, widths) - 1 - within) & 1).astype(np.uint8)


def unary(values: Ints) -> Bits:
    """Each value (from 0) as so many zeros and a one."""
    bits = np.zeros(int(values.sum()) + len(values), dtype=np.uint8)
    bits[np.cumsum(values + 1) - 1] = 1
    return bits


def gamma(values: Ints) -> Bits:
    """Each value (from 1) by its bit length in unary, all lengths first, and then the bits below the highest."""
    exponents = _floor_log2(values)
    return np.concatenate([unary(exponents), fixed(values - (1 << exponents), exponents)])


def ascending(values: Ints, splits: Ints, universe: int) -> Bits:
    """Rows of ascending numbers below ``universe``: which cell each is in, in unary steps, and where in the cell.

    As in Elias-Fano coding, but cells double in size with every octave, as in a floating-point number: tokenizers give
    their commonest tokens the smallest ids. Ids drawn from a teacher take a seventh fewer bytes than in equal cells.
    """
    fine = _fineness(splits, universe)
    shifted = values + EASE
    octaves = _floor_log2(shifted)
    widths = octaves - fine
    cells = ((octaves - EASE_LOG2 - 1) << fine) + (shifted >> widths)
    return np.concatenate([unary(_row_steps(cells, splits)), fixed(shifted & ((1 << widths) - 1), widths)])


class BitReader:
    """Takes numbers out of bytes in the order in which they were written.

    Raises:
        ValueError: from every method: the bytes end too early.
    """

    def __init__(self, data: bytes | memoryview | NDArray[np.uint8]) -> None:
        self._bits = np.unpackbits(np.frombuffer(data, dtype=np.uint8))
        self._at = 0

    def take(self, count: int) -> Bits:
        """The next bits."""
        if self._at + count > len(self._bits):
            raise ValueError("the packed rows end too early")
        self._at += count
        return self._bits[self._at - count : self._at]

    def fixed(self, widths: Ints) -> Ints:
        """Values written by ``fixed`` with these widths."""
        ends = np.cumsum(widths)
        total = int(ends[-1]) if len(ends) else 0
        bits = self.take(total).astype(np.int64)
        shifted = bits << (np.repeat(ends, widths) - 1 - np.arange(total))
        sums = np.concatenate([[0], np.cumsum(shifted)])
        return np.asarray(sums[ends] - sums[ends - widths], dtype=np.int64)

    def unary(self, count: int) -> Ints:
        """So many values written by ``unary``."""
        if count == 0:
            return np.zeros(0, dtype=np.int64)
        ones = np.flatnonzero(self._bits[self._at :])[:count]
        if len(ones) < count:
            raise ValueError("the packed rows end too early")
        self._at += int(ones[-1]) + 1
        return np.asarray(np.diff(ones, prepend=-1) - 1, dtype=np.int64)

    def gamma(self, count: int) -> Ints:
        """So many values written by ``gamma``."""
        exponents = self.unary(count)
        if np.any(exponents > 40):
            raise ValueError("the packed rows are damaged")
        return self.fixed(exponents) + (1 << exponents)

    def ascending(self, splits: Ints, universe: int) -> Ints:
        """Rows of numbers written by ``ascending`` with these splits."""
        fine = _fineness(splits, universe)
        sums = np.cumsum(self.unary(len(fine)))
        before = np.concatenate([[0], sums])[splits[:-1]]
        cells = sums - np.repeat(before, np.diff(splits))
        octaves = (cells >> fine) + EASE_LOG2
        if np.any(octaves > _octave(universe)):
            raise ValueError("the packed rows are damaged")
        widths = octaves - fine
        lead = (cells & ((1 << fine) - 1)) + (1 << fine)
        return np.asarray(self.fixed(widths) + (lead << widths) - EASE, dtype=np.int64)


def _floor_log2(values: Ints) -> Ints:
    """Exact for values from 1 up to 2**52."""
    return np.frexp(values.astype(np.float64))[1].astype(np.int64) - 1


def _octave(universe: int) -> int:
    """The octave of the largest numbers, with the ease added."""
    return (universe + EASE - 1).bit_length() - 1


def _fineness(splits: Ints, universe: int) -> Ints:
    """Of each number: each octave has two to this many cells, so that a row has one or two cells for each number."""
    sizes = np.diff(splits)
    octaves = _octave(universe) - EASE_LOG2 + 1
    return np.repeat(np.minimum(_floor_log2(np.maximum(2 * sizes // octaves, 1)), EASE_LOG2), sizes)


def _row_steps(values: Ints, splits: Ints) -> Ints:
    """Differences of neighbours; the first of each row is its distance from 0."""
    steps = np.diff(values, prepend=0)
    first = splits[:-1][np.diff(splits) > 0]
    steps[first] = values[first]
    return steps
