"""Keeping freed memory: a block that was given back is had again without asking the system for its pages."""

from __future__ import annotations

import platform
import resource

import pytest
import torch

from cornue.models import memory


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_a_freed_block_comes_back_with_its_pages() -> None:
    memory.keep()
    cells, pages = 2 << 20, (8 << 20) // resource.getpagesize()
    torch.ones(cells).sum()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(cells).sum()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < pages
