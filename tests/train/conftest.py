"""A tiny random student, lessons for it, and a method with a plain autograd loss that stands apart from ours."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from cornue.records.progress import Silent
from cornue.records.recipe import Sft, Stage
from cornue.train.batches import Batch, Lesson, Order, make_batch, split
from cornue.train.loop import Loss, Settings, learn
from cornue.train.weights import Weights


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def tiny_model(seed: int = 0, tied: bool = True) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=tied,
        initializer_range=0.2,
    )
    return LlamaForCausalLM(config).eval()


def lessons(count: int = 12, seed: int = 0, shortest: int = 3, longest: int = 9) -> list[Lesson]:
    """Completions that count upwards from the last prompt token, so that there is something to learn."""
    draw = random.Random(seed)
    made = []
    for index in range(count):
        prompt = tuple(draw.randrange(2, 40) for _ in range(draw.randint(shortest, longest)))
        completion = tuple((prompt[-1] + i) % 64 for i in range(1, draw.randint(2, 5))) + (1,)
        made.append(Lesson(prompt, completion, "teacher", ce=(1.0,) * len(completion), name=f"lesson {index}"))
    return made


class Plain:
    """Mean cross-entropy by autograd over full logits."""

    def __init__(self, model: Any, data: list[Lesson], stage: Stage, settings: Settings, seed: int = 1) -> None:
        self.model, self.data, self.settings = model, data, settings
        self.order = Order(
            [len(lesson) for lesson in data],
            seed=seed,
            epochs=stage.epochs,
            batch_tokens=stage.batch_tokens,
            max_steps=stage.max_steps,
        )
        self.steps = self.order.steps

    def plan(self, step: int) -> list[Batch]:
        chosen = [self.data[index] for index in self.order.at(step)]
        scale = 1 / sum(sum(lesson.ce) for lesson in chosen)
        return [make_batch(part, scale) for part in split(chosen, self.settings.micro_tokens)]

    def loss(self, hidden_RH: torch.Tensor, batch: Batch) -> Loss:
        hidden = hidden_RH.detach().requires_grad_()
        head = self.model.get_output_embeddings().weight.detach().requires_grad_()
        losses_R = torch.nn.functional.cross_entropy(hidden.float() @ head.float().T, batch.labels_R, reduction="none")
        value = (losses_R * batch.ce_R).sum()
        value.backward()
        assert hidden.grad is not None
        return Loss(value.item(), hidden.grad, head.grad, {"cross_entropy": value.item()})

    def validate(self) -> float:
        from cornue.models.packed import hidden_states

        batch = make_batch(self.data[:4])
        with torch.no_grad():
            hidden_RH = hidden_states(self.model, batch.packed)[batch.rows_R].float()
            logits_RV = hidden_RH @ self.model.get_output_embeddings().weight.float().T
            return float(torch.nn.functional.cross_entropy(logits_RV, batch.labels_R))

    def memory(self) -> dict[str, Any]:
        return {}

    def recall(self, memory: dict[str, Any]) -> None:
        pass


def sft(**changes: Any) -> Sft:
    return Sft(**{"method": "sft", "learning_rate": 0.01, "batch_tokens": 48, "epochs": 2, **changes})


def train(
    folder: Path,
    stage: Stage,
    settings: Settings | None = None,
    data: list[Lesson] | None = None,
    dtype: torch.dtype = torch.float32,
    stop_after: int = 0,
) -> tuple[dict[str, torch.Tensor], list[dict[str, float]]]:
    """Train the tiny student; returns its weights and its figures. Stops by an error after ``stop_after`` steps."""
    model = tiny_model()
    weights, settings = Weights(model, stage, dtype), settings or Settings()
    figures: list[dict[str, float]] = []

    def on_step(step: dict[str, float]) -> None:
        figures.append(step)
        if step["step"] == stop_after:
            raise KeyboardInterrupt

    method = Plain(model, data or lessons(), stage, settings)
    learn(weights, method, stage, folder, settings=settings, progress=Silent(), on_step=on_step)
    weights.finish()
    return {name: value.clone() for name, value in model.state_dict().items()}, figures
