from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import distributed
from torch.multiprocessing import start_processes

from cornue.models.student import Student
from cornue.models.tiny import tiny_model, tiny_tokenizer
from cornue.records.progress import Silent
from cornue.records.samples import Example, Message
from cornue.train.loop import Settings
from cornue.train.run import run_stages

from .conftest import sft

EXAMPLES = [
    Example(prompt_id=f"p{n}", messages=(Message(role="user", content="abc" + "d" * n),), completion="x" * (n + 1))
    for n in range(12)
]


def run(rank: int, processes: int, port: int, folder: Path, dtype: str, stop_after: int) -> None:
    """One process's part of a training run; with ``stop_after``, all processes die after so many steps."""
    torch.set_num_threads(1)
    if processes > 1:
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(processes)}

    def on_step(figures: dict[str, float]) -> None:
        if figures["step"] == stop_after:
            os._exit(0)

    tokenizer = tiny_tokenizer()
    run_stages(
        [sft(learning_rate=1e-3, batch_tokens=400, checkpoint_every=2, validate_every=2, epochs=3)],
        Student(tiny_model(tokenizer), tokenizer),
        EXAMPLES,
        EXAMPLES[:3],
        folder,
        seed=5,
        settings=Settings(dtype=dtype),  # type: ignore[arg-type]
        progress=Silent(),
        on_step=on_step,
    )
    if processes > 1:
        distributed.destroy_process_group()


def together(folder: Path, dtype: str = "float32", stop_after: int = 0) -> None:
    """The same run in two processes."""
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        port = door.getsockname()[1]
    start_processes(run, (2, port, folder, dtype, stop_after), nprocs=2, start_method="fork")


def losses(folder: Path) -> list[float]:
    lines = (folder / "stages" / "01-sft" / "curve.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


@pytest.mark.parametrize(("dtype", "rounding"), [("float32", 1e-4), ("bfloat16", 0.02)])
def test_two_processes_learn_what_one_learns(dtype: str, rounding: float, tmp_path: Path) -> None:
    together(tmp_path / "two", dtype)
    run(0, 1, 0, tmp_path / "one", dtype, 0)
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=rounding)
    one, two = (load_file(tmp_path / name / "student" / "model.safetensors") for name in ("one", "two"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=rounding * 10, atol=rounding)


def test_processes_that_died_go_on_from_the_checkpoint(tmp_path: Path) -> None:
    together(tmp_path / "died", stop_after=3)
    together(tmp_path / "died")
    run(0, 1, 0, tmp_path / "one", "float32", 0)
    assert losses(tmp_path / "died") == pytest.approx(losses(tmp_path / "one"), rel=1e-4)
