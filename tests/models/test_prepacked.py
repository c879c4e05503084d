"""Weights that are laid out once: the same products, and a model that is left as it was."""

from __future__ import annotations

import platform

import pytest
import torch
from torch import nn

from cornue.models import prepacked as room
from cornue.models.head import Head
from cornue.models.prepacked import PackedLinear, prepacked
from cornue.models.tiny import tiny_model

HERE = platform.machine() in ("x86_64", "AMD64") and torch._C._has_mkldnn
IDS = torch.arange(4, 24)[None]


def linear(dtype: torch.dtype, bias: bool) -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(96, 40, bias=bias), nn.Linear(40, 7, bias=bias)).to(dtype)


@pytest.mark.parametrize("rows", [1, 32, 200])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("dtype", "away"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
def test_products_are_those_of_the_layers(dtype: torch.dtype, away: float, bias: bool, rows: int) -> None:
    layers, input_RI = linear(dtype, bias), torch.randn(2, rows, 96).to(dtype)
    with torch.inference_mode():
        wanted = layers(input_RI)
        with prepacked(layers):
            torch.testing.assert_close(layers(input_RI), wanted, rtol=away, atol=away)


@pytest.mark.skipif(not HERE, reason="another processor")
def test_layers_are_laid_out_inside_and_free_after_a_failure() -> None:
    model = tiny_model()
    with pytest.raises(ValueError, match="midway"), torch.inference_mode(), prepacked(model):
        assert isinstance(model.lm_head, PackedLinear)
        raise ValueError("midway")
    assert not any(isinstance(module, PackedLinear) or "packed" in vars(module) for module in model.modules())


def test_changed_weights_count_when_it_is_entered_anew() -> None:
    model = tiny_model()
    with torch.inference_mode():
        with prepacked(model):
            before = model(IDS).logits
        for parameter in model.parameters():
            parameter.mul_(1.5)
        with prepacked(model):
            after = model(IDS).logits
        torch.testing.assert_close(after, model(IDS).logits)
        assert not torch.allclose(after, before)


def test_a_head_multiplies_by_the_layout_and_knows_its_vocabulary() -> None:
    model = tiny_model()
    hidden_RH = torch.randn(5, model.config.hidden_size)
    with torch.inference_mode():
        plain = Head.of(model)
        with prepacked(model):
            packed = Head.of(model)
            assert bool(packed.layer) == HERE
            torch.testing.assert_close(packed.logits(hidden_RH), plain.logits(hidden_RH))
    assert packed.vocabulary == plain.vocabulary


def test_a_model_that_is_too_large_to_be_held_twice_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MOST_BYTES", 10)
    model = tiny_model()
    with torch.inference_mode(), prepacked(model):
        assert not isinstance(model.lm_head, PackedLinear)


def test_other_number_types_are_left_alone() -> None:
    layers = linear(torch.float64, bias=True)
    with torch.inference_mode(), prepacked(layers):
        assert not any(isinstance(layer, PackedLinear) for layer in layers)
