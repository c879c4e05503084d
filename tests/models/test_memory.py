"""Keeping freed memory: a block that was given back is had again without asking the system for its pages."""

from __future__ import annotations

import platform
import resource
import statistics

import pytest
import torch

from cornue.models import memory


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_a_freed_block_comes_back_with_its_pages() -> None:
    memory.keep()
    cells, pages = 2 << 20, (8 << 20) // resource.getpagesize()
    torch.ones(cells).sum()
    faults = []
    for _ in range(11):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(cells).sum()
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    # The median: one round may fall together with a growth of the heap.
    assert statistics.median(faults) < pages // 2
