"""Checkpoints: everything that a step depends on, written whole or not at all, in safetensors.

A checkpoint holds the weights that move (fp32), the optimiser's moments, the state of torch's generator, the number of
finished steps and what a method remembers. What does not move is not in it: it is in the model that the stage began
from. It keeps the newest two, and those that somebody asks for.

::

    checkpoints/step-000120/  weights.safetensors  moments.safetensors  state.json
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from cornue.records.errors import CheckFailed
from cornue.records.words import words
from cornue.seal.write import new_folder, remove_folder, write_json

FORMAT = "cornue-checkpoint/1"
KEEP = 2


@dataclass(frozen=True)
class Checkpoint:
    """What a stage needs to go on after ``step`` finished steps.

    Args:
        weights: fp32 weights that move, by name.
        moments: the optimiser's state, by name.
        memory: what the method and the loop remember, as JSON.
    """

    step: int
    weights: dict[str, Tensor]
    moments: dict[str, Tensor]
    memory: dict[str, Any]


def save(folder: Path, checkpoint: Checkpoint, keep: Iterable[int] = ()) -> Path:
    """Write a checkpoint and remove older ones, except the newest two and the steps to keep; returns its folder.

    Raises:
        OutsideFailure: the disk is full; the checkpoint before stays.
    """
    place = folder / f"step-{checkpoint.step:06d}"
    if place.exists():
        remove_folder(place)
    with new_folder(place) as new:
        save_file(checkpoint.weights, new / "weights.safetensors")
        save_file({**checkpoint.moments, "generator": torch.get_rng_state()}, new / "moments.safetensors")
        write_json(new / "state.json", {"format": FORMAT, "step": checkpoint.step, "memory": checkpoint.memory})
    wanted = {f"step-{step:06d}" for step in keep}
    for old in _all(folder)[:-KEEP]:
        if old.name not in wanted:
            remove_folder(old)
    return place


def load_latest(folder: Path) -> Checkpoint | None:
    """The newest checkpoint, with torch's generator set to its state; None if there is none.

    Raises:
        CheckFailed: it cannot be read.
    """
    every = _all(folder)
    return load(every[-1]) if every else None


def load(place: Path) -> Checkpoint:
    """A checkpoint from its folder; see ``load_latest``."""
    try:
        state = json.loads((place / "state.json").read_text(encoding="utf-8"))
        weights, moments = load_file(place / "weights.safetensors"), load_file(place / "moments.safetensors")
        torch.set_rng_state(moments.pop("generator"))
        return Checkpoint(step=int(state["step"]), weights=weights, moments=moments, memory=state["memory"])
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise CheckFailed(
            words(en=f"{place} is no readable checkpoint: {error}", fr=f"{place} n'est pas lisible : {error}"),
            words(
                en="remove this folder and run again: training goes on from the checkpoint before it",
                fr="supprimez ce dossier et relancez : l'apprentissage reprend au point précédent",
            ),
        ) from error


def _all(folder: Path) -> list[Path]:
    """Finished checkpoints, oldest first."""
    return sorted(folder.glob("step-*"))
