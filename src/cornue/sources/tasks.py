"""Makes questions with known answers by the generators of ``reasoning_gym``, from a list of tasks in TOML.

The same list gives the same questions with the same version of the generators. The package (Apache-2.0) is installed by
whoever wants it: one of its dependencies is compiled on the spot. It judges no answer.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cornue.records.errors import BadInput
from cornue.records.samples import Split
from cornue.records.words import words

PARTS: tuple[Split, ...] = ("train", "validation", "heldout")
# Generators draw from small ranges, so the same question may come again.
SPARE = 3

Make = Callable[..., Iterable[dict[str, Any]]]


class Task(BaseModel):
    """One kind of question and how many of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="Name of the generator, such as leg_counting.")
    train: Annotated[int, Field(ge=0)] = 0
    validation: Annotated[int, Field(ge=0)] = 0
    heldout: Annotated[int, Field(ge=0)] = 0
    seed: int = 1
    settings: dict[str, Any] = Field(default={}, description="What the generator is told beside size and seed.")


class Tasks(BaseModel):
    """A list of tasks."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: Annotated[tuple[Task, ...], Field(min_length=1)]


def read_tasks(path: Path, make: Make | None = None) -> Iterator[tuple[str, None, dict[str, Any]]]:
    """The questions of a list of tasks, with the place of each.

    Args:
        make: what makes questions of a kind; ``reasoning_gym.create_dataset`` where None is given.

    Raises:
        BadInput: the list cannot be read, a generator is unknown, refuses its settings or has too few questions, or the
            package is not installed.
    """
    try:
        tasks = Tasks.model_validate(tomllib.loads(path.read_text(encoding="utf-8"))).task
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, ValidationError) as error:
        reason = " ".join(str(error).split())[:300]
        raise BadInput(
            words(f"{path} is no list of tasks: {reason}", f"{path} n'est pas une liste de tâches : {reason}"),
            words('write [[task]], name = "…", train = 100', 'écrivez [[task]], name = "…", train = 100'),
        ) from None
    make = make or _generators()
    for task in tasks:
        yield from _questions(path, task, make)


def _questions(path: Path, task: Task, make: Make) -> Iterator[tuple[str, None, dict[str, Any]]]:
    """Different questions of one kind; no part has one of another."""
    wanted = [part for part in PARTS for _ in range(getattr(task, part))]
    where = f"{path}, {task.name}"
    seen: set[str] = set()
    try:
        for entry in make(task.name, size=SPARE * len(wanted), seed=task.seed, **task.settings):
            if len(seen) == len(wanted):
                return
            question, answer = str(entry["question"]), entry["answer"]
            if answer is not None and question not in seen:
                facts = {"split": wanted[len(seen)], "form": task.name, "stratum": task.name}
                yield f"{where} {len(seen) + 1}", None, {"question": question, "answer": answer, **facts}
                seen.add(question)
    except (ValueError, TypeError, AssertionError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadInput(
            words(f"{where}: {reason}", f"{where} : {reason}"),
            words("correct its name and settings", "corrigez son nom et ses réglages"),
        ) from None
    if len(seen) < len(wanted):
        raise BadInput(
            words(
                f"{where}: it makes only {len(seen)} different questions, {len(wanted)} are wanted",
                f"{where} : elle ne fait que {len(seen)} questions différentes, il en faut {len(wanted)}",
            ),
            words("ask for fewer, or widen its settings", "demandez-en moins, ou élargissez ses réglages"),
        )


def _generators() -> Make:
    try:
        from reasoning_gym import create_dataset
    except ImportError:
        raise BadInput(
            words("reasoning_gym is not installed", "reasoning_gym n'est pas installé"),
            words(
                'pip install "cornue[tasks]" (one of its dependencies is compiled, so a C compiler is needed)',
                'pip install "cornue[tasks]" (une de ses dépendances se compile : il faut un compilateur C)',
            ),
        ) from None
    made: Make = create_dataset
    return made
