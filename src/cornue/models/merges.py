"""Byte pair encoding in the open: which merges cut a word, and which further merges would shorten many words.

The ``tokenizers`` library encodes; it does not say which merges took part, nor go on learning from a list that it
already has. Words are texts in the letters of a byte-level vocabulary. Everything is exact and independent of order.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from itertools import pairwise

Pair = tuple[str, str]


class Merges:
    """An ordered list of merges; the earlier one goes first."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self.pairs: list[Pair] = list(pairs)
        self._ranks = {pair: rank for rank, pair in reversed(list(enumerate(self.pairs)))}

    def cut(self, word: str) -> list[str]:
        """The pieces of a word."""
        return self._run(word)[0]

    def applied(self, word: str) -> list[Pair]:
        """The merges that take part in cutting a word; with these alone it is cut in the same way."""
        return self._run(word)[1]

    def _run(self, word: str) -> tuple[list[str], list[Pair]]:
        pieces, applied, last = list(word), [], len(self._ranks)
        while len(pieces) > 1:
            ranked = ((self._ranks.get(pair, last), place) for place, pair in enumerate(pairwise(pieces)))
            rank, place = min(ranked)
            if rank == last:
                break
            applied.append(self.pairs[rank])
            pieces[place : place + 2] = [pieces[place] + pieces[place + 1]]
        return pieces, applied


def learn_merges(merges: Merges, weights: Mapping[str, int], *, most: int, least: int) -> list[Pair]:
    """Merges to put behind the known ones: again and again the heaviest pair of neighbouring pieces.

    Args:
        weights: words with their weights.
        most: merges to learn at most.
        least: the least weight of a pair.
    """
    words = sorted(weights)
    pieces = [merges.cut(word) for word in words]
    totals: dict[Pair, int] = {}
    places: dict[Pair, set[int]] = {}
    for number, word in enumerate(words):
        _count(pieces[number], weights[word], number, totals, places)
    # Entries whose weight has changed since they were pushed are skipped when they come up.
    heap = [(-total, pair) for pair, total in totals.items()]
    heapq.heapify(heap)
    learnt: list[Pair] = []
    while heap and len(learnt) < most:
        total, pair = heapq.heappop(heap)
        if -total != totals.get(pair):
            continue
        if -total < least:
            break
        learnt.append(pair)
        touched: set[Pair] = set()
        for number in places[pair].copy():
            weight = weights[words[number]]
            touched.update(pairwise(pieces[number]))
            _count(pieces[number], -weight, number, totals, places)
            pieces[number] = _join(pieces[number], pair)
            _count(pieces[number], weight, number, totals, places)
            touched.update(pairwise(pieces[number]))
        for changed in touched:
            heapq.heappush(heap, (-totals[changed], changed))
    return learnt


def _count(
    pieces: Sequence[str], weight: int, number: int, totals: dict[Pair, int], places: dict[Pair, set[int]]
) -> None:
    """Adds a word's pairs, or takes them away again with a negative weight."""
    for pair in pairwise(pieces):
        totals[pair] = totals.get(pair, 0) + weight
        if weight > 0:
            places.setdefault(pair, set()).add(number)
        else:
            places[pair].discard(number)


def _join(pieces: Sequence[str], pair: Pair) -> list[str]:
    """The pieces with the pair joined wherever it stands, from the left."""
    joined: list[str] = []
    for piece in pieces:
        if joined and (joined[-1], piece) == pair:
            joined[-1] += piece
        else:
            joined.append(piece)
    return joined
