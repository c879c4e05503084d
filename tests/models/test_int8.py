"""Frozen models in 8-bit integers: how far they are from floats, and what they let go of."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from cornue.models import int8
from cornue.models.sample import generate
from cornue.models.tiny import tiny_model, tiny_tokenizer


def relative_error(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


def test_a_row_comes_back_within_half_a_level() -> None:
    rows = torch.randn(5, 40, generator=torch.Generator().manual_seed(1))
    integers, scales = int8.quantise(rows)
    assert ((integers * scales - rows).abs() <= scales / 2 + 1e-7).all()


def test_a_row_of_zeros_stays_zero() -> None:
    integers, scales = int8.quantise(torch.zeros(2, 8))
    assert not integers.any() and torch.isfinite(scales).all()


@pytest.mark.parametrize("tokens", [1, 3, 50])
def test_a_product_is_that_of_floats_up_to_rounding(tokens: int) -> None:
    draw = torch.Generator().manual_seed(2)
    left_NI, right_OI = torch.randn(tokens, 96, generator=draw), torch.randn(64, 96, generator=draw)
    found = int8.multiply(int8.quantise(left_NI), int8.quantise(right_OI))
    assert relative_error(found, left_NI @ right_OI.t()) < 0.02


def test_a_frozen_model_thinks_alike_without_its_floats() -> None:
    model = tiny_model(tiny_tokenizer())
    ids = torch.arange(4, 24)[None]
    with torch.no_grad():
        before = model(ids).logits
        floats = sum(parameter.numel() for parameter in model.parameters())
        int8.freeze(model)
        assert relative_error(model(ids).logits, before) < 0.1
    assert sum(parameter.numel() for parameter in model.parameters()) < floats
    assert not any(type(module) is nn.Linear for module in model.modules())


def test_a_frozen_model_writes_what_its_logits_say() -> None:
    model = tiny_model(tiny_tokenizer())
    int8.freeze(model)
    with torch.no_grad():
        likeliest = int(model(torch.tensor([[5, 6, 7]])).logits[0, -1].argmax())
    (text,) = generate(model, [[5, 6, 7]], stop=(), max_tokens=1)
    assert text.ids == (likeliest,)
