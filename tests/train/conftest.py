"""A tiny random student, lessons for it, and a short way to train it."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from cornue.records.progress import Silent
from cornue.records.recipe import Sft, Stage
from cornue.train.batches import Lesson
from cornue.train.loop import Settings, learn
from cornue.train.sft import Sft as SftMethod
from cornue.train.weights import Weights


@pytest.fixture(autouse=True)
def _on_one_thread(one_thread: None) -> None:
    pass


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


def sft(**changes: Any) -> Sft:
    return Sft(**{"method": "sft", "learning_rate": 0.01, "batch_tokens": 48, "epochs": 2, **changes})


def train(
    folder: Path,
    stage: Stage,
    settings: Settings | None = None,
    data: list[Lesson] | None = None,
    dtype: torch.dtype = torch.float32,
    stop_after: int = 0,
    checks: list[Lesson] | None = None,
) -> tuple[dict[str, torch.Tensor], list[dict[str, float]]]:
    """Train the tiny student; returns its weights and its figures. Stops by an error after ``stop_after`` steps."""
    model = tiny_model()
    weights, settings = Weights(model, stage, dtype), settings or Settings()
    figures: list[dict[str, float]] = []

    def on_step(step: dict[str, float]) -> None:
        figures.append(step)
        if step["step"] == stop_after:
            raise KeyboardInterrupt

    data = data or lessons()
    method = SftMethod(model, data, checks or data[:4], stage, settings, seed=1)
    learn(weights, method, stage, folder, settings=settings, progress=Silent(), on_step=on_step)
    weights.finish()
    return {name: value.clone() for name, value in model.state_dict().items()}, figures
