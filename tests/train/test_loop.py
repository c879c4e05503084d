from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cornue.records.errors import BadInput, CheckFailed
from cornue.train.loop import Settings, learning_rate
from cornue.train.weights import BETAS, Weights

from .conftest import lessons, sft, tiny_model, train


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_the_loss_falls(tmp_path: Path) -> None:
    _, figures = train(tmp_path, sft(epochs=12))
    assert figures[-1]["loss"] < 0.5 * figures[0]["loss"]


def test_one_batch_and_several_accumulated_ones_give_the_same_trajectory(tmp_path: Path) -> None:
    whole, one = train(tmp_path / "whole", sft(learning_rate=1e-3))
    parts, several = train(tmp_path / "parts", sft(learning_rate=1e-3), Settings(micro_tokens=16))
    for name in whole:
        torch.testing.assert_close(whole[name], parts[name], rtol=1e-4, atol=1e-5)
    assert [f["loss"] for f in one] == pytest.approx([f["loss"] for f in several], rel=1e-4)


def test_a_stopped_run_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    stage = sft(checkpoint_every=3, epochs=4)
    whole, straight = train(tmp_path / "whole", stage)
    for stop in (2, 3, 7):
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "killed", stage, stop_after=stop)
    resumed, _ = train(tmp_path / "killed", stage)
    assert equal(whole, resumed)
    curves = [
        [json.loads(line) for line in (tmp_path / name / "curve.jsonl").read_text().splitlines()]
        for name in ("whole", "killed")
    ]
    assert [line["step"] for line in curves[1]] == list(range(1, len(straight) + 1))
    assert [line["loss"] for line in curves[0]] == [line["loss"] for line in curves[1]]


def test_a_stopped_bf16_run_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    stage = sft(checkpoint_every=2)
    whole, _ = train(tmp_path / "whole", stage, dtype=torch.bfloat16)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "killed", stage, dtype=torch.bfloat16, stop_after=3)
    resumed, _ = train(tmp_path / "killed", stage, dtype=torch.bfloat16)
    assert equal(whole, resumed)


def test_bf16_moves_fp32_weights_close_to_fp32(tmp_path: Path) -> None:
    full, exact = train(tmp_path / "a", sft(learning_rate=1e-3))
    half, rounded = train(tmp_path / "b", sft(learning_rate=1e-3), dtype=torch.bfloat16)
    assert [f["loss"] for f in exact] == pytest.approx([f["loss"] for f in rounded], rel=0.03)
    assert all(value.dtype == torch.float32 for value in half.values())
    assert not any(torch.equal(value, value.bfloat16().float()) for name, value in half.items() if "proj" in name)


def test_frozen_layers_and_their_embedding_do_not_move(tmp_path: Path) -> None:
    start = tiny_model().state_dict()
    end, _ = train(tmp_path, sft(freeze=2))
    moved = {name for name in start if not torch.equal(start[name], end[name])}
    assert moved == {name for name in start if "layers.2." in name} | {"model.norm.weight"}


def test_more_frozen_layers_than_there_are_is_refused() -> None:
    with pytest.raises(BadInput, match="freeze"):
        train(Path("nowhere"), sft(freeze=4))


def test_low_rank_updates_learn_and_leave_a_plain_model(tmp_path: Path) -> None:
    start = tiny_model().state_dict()
    end, figures = train(tmp_path, sft(lora_rank=4, epochs=12))
    assert end.keys() == start.keys()
    assert figures[-1]["loss"] < 0.7 * figures[0]["loss"]
    change = end["model.layers.1.mlp.up_proj.weight"] - start["model.layers.1.mlp.up_proj.weight"]
    assert torch.linalg.matrix_rank(change, tol=1e-5) == 4
    assert torch.equal(start["model.embed_tokens.weight"], end["model.embed_tokens.weight"])


def test_low_rank_updates_resume_to_the_same_bits(tmp_path: Path) -> None:
    stage = sft(lora_rank=2, checkpoint_every=2)
    whole, _ = train(tmp_path / "whole", stage)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "killed", stage, stop_after=3)
    assert equal(whole, train(tmp_path / "killed", stage)[0])


def test_the_best_validated_weights_are_chosen(tmp_path: Path) -> None:
    # The more is learnt, the less likely are answers that no lesson gives.
    others = [replace(lesson, completion=(0,) * len(lesson.completion)) for lesson in lessons()]
    end, figures = train(tmp_path, sft(validate_every=1), checks=others)
    best = min(figures, key=lambda figure: figure["validation_loss"])
    assert best["step"] < len(figures)
    kept = tmp_path / "best" / f"step-{int(best['step']):06d}"
    assert [folder.name for folder in (tmp_path / "best").iterdir()] == [kept.name]
    assert all(torch.equal(value, end[name]) for name, value in load_file(kept / "weights.safetensors").items())


def test_weights_move_with_nesterovs_momentum() -> None:
    model = tiny_model()
    weights, draw = Weights(model, sft(weight_decay=0.1)), torch.Generator().manual_seed(0)
    name, master = next(iter(weights.masters.items()))
    place = weights.values()[name].double()
    mean = square = torch.zeros_like(place)
    (first, second), rate = BETAS, 0.01
    for time in range(1, 6):
        slope = torch.randn(place.shape, generator=draw)
        master.grad = slope.clone()
        weights.step(rate, float("inf"))
        mean, square = first * mean + (1 - first) * slope, second * square + (1 - second) * slope.double() ** 2
        ahead = (first * mean + (1 - first) * slope) / (1 - first ** (time + 1))
        place -= rate * (0.1 * place + ahead / ((square / (1 - second**time)).sqrt() + 1e-8))
        assert torch.allclose(weights.values()[name].double(), place, atol=1e-6)


def test_two_checkpoints_are_kept(tmp_path: Path) -> None:
    _, figures = train(tmp_path, sft(checkpoint_every=1))
    names = sorted(folder.name for folder in (tmp_path / "checkpoints").iterdir())
    assert names == [f"step-{len(figures) - 1:06d}", f"step-{len(figures):06d}"]


def test_a_loss_that_is_no_number_stops_before_it_is_kept(tmp_path: Path) -> None:
    with pytest.raises(CheckFailed, match="nan|inf"):
        train(tmp_path, sft(learning_rate=1e30, epochs=6, checkpoint_every=1))


def test_the_learning_rate_rises_then_falls_to_zero() -> None:
    stage = sft(learning_rate=1.0, warmup=0.2)
    rates = [learning_rate(stage, step, 10) for step in range(10)]
    assert rates.index(max(rates)) == 2
    assert max(rates) == 1.0
    assert 0 < rates[-1] < 0.2
    assert rates == sorted(rates[:3]) + sorted(rates[3:], reverse=True)


def test_a_step_reports_its_figures(tmp_path: Path) -> None:
    _, figures = train(tmp_path, sft(), Settings(peak=1e12))
    assert figures[0]["tokens"] > 0
    assert 0 < figures[0]["share_of_peak"] < 1
    assert sum(f["tokens"] for f in figures) == 2 * sum(map(len, lessons()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_untied_head_learns_in_every_number_type(dtype: torch.dtype) -> None:
    model = tiny_model(tied=False)
    weights = Weights(model, sft(), dtype)
    head = model.get_output_embeddings().weight
    before = weights.values()["lm_head.weight"].clone()
    weights.add_gradient(head, torch.ones_like(head))
    weights.add_gradient(head, torch.ones_like(head))
    weights.step(0.01, clip=1.0)
    torch.testing.assert_close(weights.values()["lm_head.weight"], before - 0.01)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_gradient_of_a_frequent_word_is_whole_and_summed_in_fp32(dtype: torch.dtype, tied: bool) -> None:
    model = tiny_model(tied=tied)
    weights = Weights(model, sft(), dtype)
    if tied:
        weights.add_gradient(model.get_output_embeddings().weight, torch.zeros(64, 32))
    # In bf16 a sum of ones stays at 256.
    model.get_input_embeddings()(torch.full((300,), 5)).sum().backward()
    master = weights.masters["model.embed_tokens.weight"]
    assert master.grad is not None and not master.grad.is_sparse
    assert torch.equal(master.grad[5], torch.full((32,), 300.0))
    assert not master.grad[torch.arange(64) != 5].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_weight_moves_in_a_second_stage_too(dtype: torch.dtype) -> None:
    model = tiny_model()
    for _ in range(2):
        weights = Weights(model, sft(), dtype)
        before = {name: value.clone() for name, value in weights.values().items()}
        model(input_ids=torch.arange(6)[None]).logits.square().sum().backward()
        weights.step(0.01, clip=1.0)
        assert not any(torch.equal(before[name], value) for name, value in weights.values().items())
        model = weights.finish()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_finished_model_has_plain_gradients(dtype: torch.dtype) -> None:
    model = Weights(tiny_model(tied=False), sft(), dtype).finish()
    model(input_ids=torch.arange(6)[None]).logits.square().sum().backward()
    assert all(param.grad is not None and not param.grad.is_sparse for param in model.parameters())
