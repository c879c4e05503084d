"""TRL's side of the comparison: one measurement in one process, as ``train_vs_trl`` asks for it.

TRL's trainers as they are, with the texts, the order, the schedule and the optimiser's constants of our side; the
optimiser is TRL's AdamW, where ours has Nesterov's momentum. Gradient checkpointing, which TRL switches on by default,
is off unless ``gkd_default`` is asked for: it saves memory and costs speed. It prints what it measured as one line of
JSON.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import DistillationConfig, DistillationTrainer
from trl.experimental.gkd import GKDConfig, GKDTrainer

import trl_materials as materials
from cornue.models.student import Student
from cornue.records.samples import Example
from cornue.train.weights import BETAS


class Watch(TrainerCallback):
    """The seconds of each step."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._begin = 0.0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """A step begins."""
        self._begin = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """A step ends."""
        self.seconds.append(time.perf_counter() - self._begin)


class CountedDistillation(DistillationTrainer):
    """Counts the tokens that are read, padding left out, and those that are padding."""

    def compute_loss(self, model: Any, inputs: Any, *arguments: Any, **options: Any) -> Any:
        """As it is, and counted."""
        masks = [inputs["prompt_mask"], inputs["completion_mask"]]
        COUNTED.append((sum(int(mask.sum()) for mask in masks), sum(mask.numel() for mask in masks)))
        return super().compute_loss(model, inputs, *arguments, **options)


COUNTED: list[tuple[int, int]] = []


def main(side: str, name: str, seed: int, folder: Path) -> dict[str, Any]:
    """Train the student; returns seconds, tokens, peak of memory and divergence."""
    texts = materials.SETS[name]
    place, batches, watch = folder / name, texts.batches(seed), Watch()
    teacher, student = (plain(folder / who) for who in ("teacher", "student"))
    examples = materials.read(place, materials.TRAIN)
    chosen = [examples[one] for batch in batches for one in batch]
    with tempfile.TemporaryDirectory() as scratch:
        common = shared(scratch, texts.batch, len(batches), seed, checkpointing=side == "gkd_default")
        build = on_policy if side == "distillation" else offline
        trainer = build(common, student, teacher, chosen)
        trainer.add_callback(watch)
        with materials.cores_at_work() as cores:
            trainer.train()
        peak = materials.peak_bytes()
        losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    lengths = [sum(map(len, materials.ids_of(student, example))) for example in chosen]
    steps = [lengths[first : first + texts.batch] for first in range(0, len(lengths), texts.batch)]
    counted = COUNTED or [(sum(step), max(step) * len(step)) for step in steps]
    return {
        "seconds": watch.seconds,
        "tokens": [real for real, _ in counted],
        "padding": 1 - sum(real for real, _ in counted) / sum(read for _, read in counted),
        "loss": losses,
        "peak": peak,
        "cores": cores[0],
        "divergence": materials.divergence(trainer.model, folder, materials.read(place, materials.HELD_OUT)),
    }


def plain(folder: Path) -> Student:
    """A model as transformers loads it: nothing of ours is at work in this process but the data and the ruler."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    return Student(model, AutoTokenizer.from_pretrained(folder, local_files_only=True))


def shared(scratch: str, batch: int, steps: int, seed: int, *, checkpointing: bool) -> dict[str, Any]:
    """The settings of both trainers."""
    return {
        "output_dir": scratch,
        "per_device_train_batch_size": batch,
        "max_steps": steps,
        "learning_rate": materials.RATE,
        "lr_scheduler_type": "linear",
        "warmup_steps": 0,
        "adam_beta1": BETAS[0],
        "adam_beta2": BETAS[1],
        "max_grad_norm": 1.0,
        "weight_decay": 0.0,
        "seed": seed,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": checkpointing,
        "save_strategy": "no",
        "report_to": "none",
        "logging_steps": 1,
        "disable_tqdm": True,
        "temperature": 1.0,
        "disable_dropout": True,
    }


def offline(common: dict[str, Any], student: Student, teacher: Student, chosen: Sequence[Example]) -> GKDTrainer:
    """Forward KL on given texts, by the trainer for offline distillation."""
    rows = []
    for example in chosen:
        prompt, completion = materials.ids_of(student, example)
        mask = [0] * len(prompt) + [1] * len(completion)
        text = student.prompt_text(example.messages)
        rows.append({"prompt": text, "input_ids": [*prompt, *completion], "completion_mask": mask})
    return GKDTrainer(
        model=student.model,
        teacher_model=teacher.model,
        args=GKDConfig(**common, lmbda=0.0, beta=0.0, max_length=4096, train_sampling_strategy="sequential"),
        train_dataset=Dataset.from_list(rows),
        processing_class=student.tokenizer,
    )


def on_policy(
    common: dict[str, Any], student: Student, teacher: Student, chosen: Sequence[Example]
) -> DistillationTrainer:
    """Reverse KL on what the student writes, by the trainer for that."""
    rows = [{"prompt": [message.model_dump() for message in example.messages]} for example in chosen]
    return CountedDistillation(
        model=student.model,
        teacher_model=teacher.model,
        args=DistillationConfig(**common, beta=1.0, max_completion_length=materials.MAX_TOKENS, shuffle_dataset=False),
        train_dataset=Dataset.from_list(rows),
        processing_class=student.tokenizer,
    )


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))))
