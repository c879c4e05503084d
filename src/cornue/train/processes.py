"""Several processes that train one student: how many there are, which one writes, and what they add up.

Without ``torchrun`` there is one process, and everything here does nothing. It starts no process itself.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import distributed

T = TypeVar("T")


def join() -> None:
    """Take part in what ``torchrun`` started, if it started this process."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not distributed.is_initialized():
        distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")


def count() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def is_first() -> bool:
    """Whether this process is the one that writes and speaks."""
    return not distributed.is_initialized() or distributed.get_rank() == 0


def own(parts: Sequence[T]) -> list[T]:
    """This process's share of some parts; every process gets as many, so that they keep step."""
    if count() == 1:
        return list(parts)
    if len(parts) % count():
        raise ValueError(f"{len(parts)} parts for {count()} processes")
    return list(parts[distributed.get_rank() :: count()])


def add_up(*counters: Counter[str]) -> list[Counter[str]]:
    """The sums of everybody's counters."""
    if count() == 1:
        return list(counters)
    everybody: list[Any] = [None] * count()
    distributed.all_gather_object(everybody, counters)
    totals = [Counter[str]() for _ in counters]
    for given in everybody:
        for total, counter in zip(totals, given, strict=True):
            for name, value in counter.items():
                total[name] += value
    return totals


def wait() -> None:
    """Until everybody has come here."""
    if count() > 1:
        distributed.barrier()
