"""One name everywhere: a step's folder, command, recipe section, run folder, tests and page are called the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer.main

from architecture import PACKAGE, ROOF, ROOMS, STEPS
from cornue import cli
from cornue.records.recipe import Recipe
from cornue.seal import runs

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = [room for room in ROOMS if room not in ROOF]


@pytest.mark.parametrize("room", FOLDERS)
def test_a_room_has_a_folder_tests_and_a_page(room: str) -> None:
    assert (PACKAGE / room / "__init__.py").exists()
    assert list((ROOT / "tests" / room).glob("test_*.py"))
    assert (ROOT / "docs" / "rooms" / f"{room}.md").read_text(encoding="utf-8").startswith(f"# {room}\n")
    assert f"- {room}: rooms/{room}.md\n" in (ROOT / "properdocs.yml").read_text(encoding="utf-8")


def test_there_are_no_other_rooms() -> None:
    assert {path.parent.name for path in PACKAGE.glob("*/__init__.py")} - set(ROOF) == set(FOLDERS)
    assert {path.stem for path in (ROOT / "docs" / "rooms").glob("*.md")} == set(FOLDERS)


@pytest.mark.parametrize("step", STEPS)
def test_a_step_has_a_command_and_a_section(step: str) -> None:
    assert step in typer.main.get_command(cli.app).commands
    assert step in Recipe.model_fields


def test_run_folders_are_called_after_the_steps_in_their_order() -> None:
    assert runs.STEPS == STEPS


def test_the_order_of_the_rooms_is_told_as_it_is_checked() -> None:
    told = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("```text\n")[1].split("\n```")[0]
    assert tuple(told.replace("·", " ").split()) == ROOMS
