"""Measures how fast this machine multiplies matrices, and chooses the number type of training from it.

On machines with bf16 units bf16 wins, on others fp32 is several times faster; no list of processors says which, so it
is measured, once, and written to the resolved recipe. It times products of the shapes that a small model has; it
predicts nothing else.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Literal

import torch

from cornue.models import memory

DType = Literal["float32", "bfloat16"]
SHAPE = (1536, 768, 2048)
SECONDS = 0.75
# bf16 costs digits; it has to be worth them.
CLEARLY = 1.25


@dataclass(frozen=True)
class Arithmetic:
    """What was measured.

    Args:
        threads: threads that share a product.
        rates: floating-point operations per second, by number type.
        dtype: bf16 where it is clearly faster, else fp32.
    """

    threads: int
    rates: dict[DType, float]
    dtype: DType

    @property
    def peak(self) -> float:
        """Operations per second of the chosen number type: what a training step is compared with."""
        return self.rates[self.dtype]


def measure_arithmetic(device: torch.device | str = "cpu") -> Arithmetic:
    """Time matrix products in fp32 and bf16 for about a second in all, on all threads that torch uses.

    The two take turns, and the best of each counts, so that other work on the machine does not decide between them.
    """
    memory.keep()
    pairs: dict[DType, tuple[torch.Tensor, torch.Tensor]] = {
        "float32": _matrices(torch.float32, device),
        "bfloat16": _matrices(torch.bfloat16, device),
    }
    # The first product of a type also pays for its preparation.
    best = {dtype: _product(*pair) for dtype, pair in pairs.items()}
    begin = time.perf_counter()
    while time.perf_counter() - begin < SECONDS:
        for dtype, pair in pairs.items():
            best[dtype] = min(best[dtype], _product(*pair))
    operations = 2 * math.prod(SHAPE)
    rates: dict[DType, float] = {dtype: operations / seconds for dtype, seconds in best.items()}
    faster: DType = "bfloat16" if rates["bfloat16"] > CLEARLY * rates["float32"] else "float32"
    return Arithmetic(threads=torch.get_num_threads(), rates=rates, dtype=faster)


def _matrices(dtype: torch.dtype, device: torch.device | str) -> tuple[torch.Tensor, torch.Tensor]:
    rows, inner, columns = SHAPE
    left = torch.ones(rows, inner, dtype=dtype, device=device)
    return left, torch.ones(inner, columns, dtype=dtype, device=device)


def _product(left: torch.Tensor, right: torch.Tensor) -> float:
    """Seconds of one product."""
    begin = time.perf_counter()
    product = left @ right
    if product.is_cuda:
        torch.cuda.synchronize(product.device)
    return time.perf_counter() - begin
