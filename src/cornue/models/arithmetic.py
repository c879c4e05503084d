"""Measures how fast this machine multiplies matrices, and chooses the number type of training from it.

On machines with bf16 units bf16 wins, on others fp32 is several times faster; no list of processors says which, so it
is measured, once, and written to the resolved recipe. It times products of the shapes that a small model has; it
predicts nothing else.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal

import torch

from cornue.models import memory

DType = Literal["float32", "bfloat16"]
SHAPE = (1536, 768, 2048)
SECONDS = 0.25


@dataclass(frozen=True)
class Arithmetic:
    """What was measured.

    Args:
        threads: threads that share a product.
        rates: floating-point operations per second, by number type.
        dtype: the fastest number type.
    """

    threads: int
    rates: dict[DType, float]
    dtype: DType

    @property
    def peak(self) -> float:
        """Operations per second of the chosen number type: what a training step is compared with."""
        return self.rates[self.dtype]


def measure_arithmetic(device: torch.device | str = "cpu") -> Arithmetic:
    """Time matrix products in fp32 and bf16 for about half a second in all, on all threads that torch uses."""
    memory.keep()
    rates: dict[DType, float] = {"float32": _rate(torch.float32, device), "bfloat16": _rate(torch.bfloat16, device)}
    best: DType = "bfloat16" if rates["bfloat16"] > rates["float32"] else "float32"
    return Arithmetic(threads=torch.get_num_threads(), rates=rates, dtype=best)


def _rate(dtype: torch.dtype, device: torch.device | str) -> float:
    """Operations per second of the best of several timed products, so that other work on the machine counts less."""
    rows, inner, columns = SHAPE
    left = torch.ones(rows, inner, dtype=dtype, device=device)
    right = torch.ones(inner, columns, dtype=dtype, device=device)
    _product(left, right)
    best, begin = float("inf"), time.perf_counter()
    while time.perf_counter() - begin < SECONDS:
        best = min(best, _product(left, right))
    return 2 * rows * inner * columns / best


def _product(left: torch.Tensor, right: torch.Tensor) -> float:
    """Seconds of one product."""
    begin = time.perf_counter()
    product = left @ right
    if product.is_cuda:
        torch.cuda.synchronize(product.device)
    return time.perf_counter() - begin
