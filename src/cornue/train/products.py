"""The three matrix products of a head: logits from hidden states, and from the logits' gradient those of both factors.

It knows bias, scale, softcap, padded vocabularies and number types, and no objective. Logits of one chunk of rows live
at a time, in one buffer. Sums are fp32 (fp64 for fp64), products are in the type of the hidden states.

Shapes: R rows, C rows of a chunk, H hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from cornue.models.head import Head

# Most rows and bytes of logits at once: products gain nothing from more rows, and lose by fewer.
CHUNK = {"cpu": (512, 1 << 28), "cuda": (4096, 1 << 30)}

# The last pass's memory for logits, kept for the next: new pages from the system cost a tenth of a product. Who works
# with it takes it out, so a pass inside of a pass, or in another thread, gets memory of its own.
_SPARE: list[Tensor] = []


class Products:
    """The products of one pass.

    Args:
        hidden_RH: states of all rows.
        head: rows of its weight beyond the vocabulary take no part, so their ids get no mass and no gradient.
        gradients: whether gradients are wanted; those of weight and bias only where they can move (``requires_grad``).
        chunk_rows: most rows of a chunk; 0: as ``CHUNK`` says.
    """

    def __init__(self, hidden_RH: Tensor, head: Head, gradients: bool, chunk_rows: int = 0) -> None:
        self.dtype = torch.float64 if hidden_RH.dtype == torch.float64 else torch.float32
        self.vocabulary = head.vocabulary or len(head.weight_VH)
        self._hidden_RH, self._head = hidden_RH, head
        self._weight_VH = head.weight_VH[: self.vocabulary].to(hidden_RH.dtype)
        self._bias_V = None if head.bias_V is None else head.bias_V[: self.vocabulary].to(self.dtype)
        self._hidden_grad_RH = torch.empty_like(hidden_RH) if gradients else None
        moves = gradients and head.weight_VH.requires_grad
        self._weight_grad_VH = torch.empty_like(head.weight_VH, dtype=self.dtype) if moves else None
        moves = gradients and head.bias_V is not None and head.bias_V.requires_grad
        self._bias_grad_V = torch.zeros_like(head.bias_V, dtype=self.dtype) if moves else None  # type: ignore[arg-type]
        rows, size = CHUNK.get(hidden_RH.device.type, CHUNK["cpu"])
        most = chunk_rows or max(1, min(rows, size // (4 * self.vocabulary)))
        self._chunks = max(1, -(-len(hidden_RH) // most))
        self._cells: Tensor | None = None
        self._slope_CV: Tensor | None = None

    def chunks(self) -> Iterator[slice]:
        """Slices of all rows, alike in size; one empty slice where there is no row."""
        rows = len(self._hidden_RH)
        for index in range(self._chunks):
            yield slice(rows * index // self._chunks, rows * (index + 1) // self._chunks)

    def logits(self, rows: slice) -> Tensor:
        """Logits (C, V) of a chunk, to be overwritten by whoever asked; the next call takes their memory back."""
        hidden_CH, weight_HV = self._hidden_RH[rows], self._weight_VH.T
        logits_CV = self._memory(len(hidden_CH))
        if hidden_CH.dtype == self.dtype:
            torch.mm(hidden_CH, weight_HV, out=logits_CV)
        elif hidden_CH.is_cuda:
            torch.mm(hidden_CH, weight_HV, out_dtype=self.dtype, out=logits_CV)
        else:
            logits_CV.copy_(torch.mm(hidden_CH, weight_HV))
        if self._bias_V is not None:
            logits_CV.add_(self._bias_V)
        if self._head.softcap:
            logits_CV.div_(self._head.softcap).tanh_()
            self._slope_CV = logits_CV.square().neg_().add_(1)
            logits_CV.mul_(self._head.softcap)
        if self._head.scale != 1.0:
            logits_CV.mul_(self._head.scale)
        return logits_CV

    def pull_back(self, rows_CV: Tensor, factor_C1: Tensor, rows: slice) -> None:
        """Add a chunk's share of all gradients; the one by its logits is ``factor_C1 * rows_CV``, which is spent."""
        if self._hidden_grad_RH is None:
            return
        factor_C1 = factor_C1 * self._head.scale
        if self._slope_CV is not None:
            rows_CV.mul_(self._slope_CV)
        hidden_CH, hidden_grad_CH = self._hidden_RH[rows], self._hidden_grad_RH[rows]
        if self._bias_grad_V is not None:
            self._bias_grad_V[: self.vocabulary] += rows_CV.T @ factor_C1[:, 0]
        if hidden_CH.dtype == self.dtype:
            torch.mm(rows_CV, self._weight_VH, out=hidden_grad_CH)
            hidden_grad_CH.mul_(factor_C1)
            hidden_CH = hidden_CH * factor_C1
        else:
            rows_CV = rows_CV.mul_(factor_C1).to(hidden_CH.dtype)
            torch.mm(rows_CV, self._weight_VH, out=hidden_grad_CH)
        if self._weight_grad_VH is not None:
            self._add_weight_gradient(rows_CV, hidden_CH, first=rows.start == 0)

    def gradients(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """The gradients by hidden states, in their type, and by weight and bias, in that of the sums. Ends the pass."""
        if self._cells is not None and self._cells.device.type == "cpu":
            _SPARE[:] = [self._cells]
            self._cells = None
        return self._hidden_grad_RH, self._weight_grad_VH, self._bias_grad_V

    def _memory(self, rows: int) -> Tensor:
        """Memory for the logits of so many rows: what this pass has, or the last one left, if it suffices."""
        count = rows * self.vocabulary
        if self._cells is None or self._cells.numel() < count:
            spare = _SPARE.pop() if _SPARE else None
            fits = spare is not None and spare.dtype == self.dtype and spare.numel() >= count
            # A tensor that is born in inference mode could not be written to outside of it.
            with torch.inference_mode(False):
                self._cells = spare if fits else torch.empty(count, dtype=self.dtype, device=self._hidden_RH.device)
        assert self._cells is not None
        return self._cells[:count].view(rows, self.vocabulary)

    def _add_weight_gradient(self, rows_CV: Tensor, hidden_CH: Tensor, first: bool) -> None:
        assert self._weight_grad_VH is not None
        total_VH = self._weight_grad_VH[: self.vocabulary]
        if first:
            self._weight_grad_VH[self.vocabulary :] = 0
        if hidden_CH.dtype == self.dtype:
            # beta = 0 does not read what is there, so the sum needs no zeros to start from.
            torch.addmm(total_VH, rows_CV.T, hidden_CH, beta=0 if first else 1, out=total_VH)
        elif first:
            total_VH.copy_(_product(rows_CV.T, hidden_CH, self.dtype))
        else:
            total_VH.add_(_product(rows_CV.T, hidden_CH, self.dtype))


def _product(left: Tensor, right: Tensor, dtype: torch.dtype) -> Tensor:
    """A product of 16-bit matrices in a wider type; on a CPU it is rounded to 16 bits in between."""
    if left.is_cuda:
        return torch.mm(left, right, out_dtype=dtype)
    return torch.mm(left, right).to(dtype)
