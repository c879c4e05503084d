from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cornue.models.student import Student
from cornue.models.tiny import tiny_model, tiny_tokenizer
from cornue.records.progress import Silent
from cornue.records.recipe import TrainStage
from cornue.records.samples import Example, Message
from cornue.train.loop import Settings
from cornue.train.run import Trained, run_stages

from .conftest import sft

EXAMPLES = [
    Example(prompt_id=f"p{n}", messages=(Message(role="user", content="abc" + "d" * n),), completion="x" * (n + 1))
    for n in range(8)
]


def run(folder: Path, stages: Sequence[TrainStage], stop_after: int = 0) -> Trained:
    seen = []

    def on_step(figures: dict[str, float]) -> None:
        seen.append(figures)
        if len(seen) == stop_after:
            raise KeyboardInterrupt

    return run_stages(
        stages,
        Student(tiny_model(), tiny_tokenizer()),
        EXAMPLES,
        EXAMPLES[:2],
        folder,
        seed=5,
        settings=Settings(),
        progress=Silent(),
        on_step=on_step,
    )


def weights(trained: Trained) -> dict[str, torch.Tensor]:
    return load_file(trained.student / "model.safetensors")


def test_stages_follow_each_other_and_write_the_student(tmp_path: Path) -> None:
    trained = run(tmp_path, [sft(), sft(freeze=1)])
    assert [folder.name for folder in sorted((tmp_path / "stages").iterdir())] == ["01-sft", "02-sft"]
    assert trained.stages[1].first_loss < trained.stages[0].first_loss
    assert weights(trained).keys() == dict(tiny_model().named_parameters()).keys()


@pytest.mark.parametrize("stop", [3, 9])
def test_a_killed_run_of_two_stages_ends_with_the_same_student(tmp_path: Path, stop: int) -> None:
    stages = [sft(checkpoint_every=2), sft(checkpoint_every=2, validate_every=2)]
    whole = run(tmp_path / "whole", stages)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", stages, stop_after=stop)
    resumed = run(tmp_path / "killed", stages)
    assert all(torch.equal(value, weights(resumed)[name]) for name, value in weights(whole).items())
    assert [(r.steps, r.tokens, r.last_loss, r.chosen_step) for r in whole.stages] == [
        (r.steps, r.tokens, r.last_loss, r.chosen_step) for r in resumed.stages
    ]


def test_a_finished_run_trains_nothing_again(tmp_path: Path) -> None:
    run(tmp_path, [sft()])
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    run(tmp_path, [sft()], stop_after=1)
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
