"""The package has the shape that `scripts/architecture.py` describes, and that check finds what it is for."""

from __future__ import annotations

from pathlib import Path

import pytest

import architecture

WRONG = {
    "wrong way": ("seal/a.py", "from cornue.train import loop", "imports train from seal"),
    "wrong way, whole": ("seal/a.py", "import cornue.train.loop", "imports train from seal"),
    "wrong way, in a function": ("seal/a.py", "def f():\n    import cornue.train.loop", "imports train from seal"),
    "wrong way, relative": ("seal/a.py", "from ..train import loop", "imports train from seal"),
    "wrong way, relative without a name": ("seal/a.py", "from .. import train", "imports train from seal"),
    "wrong way, by name": ("seal/a.py", "f = importlib.import_module('cornue.train.loop')", "imports train from seal"),
    "the roof": ("serve/a.py", "from cornue.pipeline import run", "imports pipeline from serve"),
    "the package itself": ("__init__.py", "from cornue.records import recipe", "imports records from the package"),
    "torch": ("verify/a.py", "def f():\n    from torch import nn", "imports torch"),
    "transformers": ("capture/teachers.py", "import transformers", "imports transformers"),
    "torch beside the one file": ("capture/dense.py", "import torch", "imports torch"),
    "no such room": ("helpers/a.py", "", "helpers is no room"),
}
RIGHT = {
    "leftwards": ("train/a.py", "from cornue.seal import write"),
    "own room": ("seal/a.py", "from . import write"),
    "top": ("cli.py", "from cornue.serve import gateway"),
    "torch": ("train/a.py", "import torch"),
    "the one file": ("capture/sparse.py", "import torch"),
    "another library": ("seal/a.py", "import torchless"),
}


def plant(folder: Path, file: str, text: str) -> list[str]:
    """The problems of a package with one file."""
    path = folder / "cornue" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'"""What it is for."""\n{text}\n')
    return architecture.problems(folder / "cornue")


def test_the_package_has_no_problem() -> None:
    assert architecture.problems() == []


def test_what_is_large_is_granted_and_has_not_grown() -> None:
    assert architecture.too_large(architecture.sizes(), architecture.exceptions()) == []


@pytest.mark.parametrize("file, text, expected", WRONG.values(), ids=WRONG.keys())
def test_a_planted_fault_is_found(tmp_path: Path, file: str, text: str, expected: str) -> None:
    found = plant(tmp_path, file, text)
    assert len(found) == 1
    assert found[0].startswith(f"{file}:")
    assert expected in found[0]


@pytest.mark.parametrize("file, text", RIGHT.values(), ids=RIGHT.keys())
def test_what_is_allowed_is_not_reported(tmp_path: Path, file: str, text: str) -> None:
    assert plant(tmp_path, file, text) == []


def test_a_file_without_docstring_is_found(tmp_path: Path) -> None:
    (tmp_path / "cornue" / "seal").mkdir(parents=True)
    (tmp_path / "cornue" / "seal" / "a.py").write_text("x = 1\n")
    assert "seal/a.py:1: no docstring" in architecture.problems(tmp_path / "cornue")[0]


def test_a_circle_inside_a_room_is_found(tmp_path: Path) -> None:
    plant(tmp_path, "seal/a.py", "from cornue.seal.b import x")
    (found,) = plant(tmp_path, "seal/b.py", "def f():\n    from cornue.seal import a")
    assert found.startswith("cornue.seal.a → cornue.seal.b → cornue.seal.a")


PROJECT = """
[project]
dependencies = ["pydantic>=2", "markdown-it-py"]
[project.optional-dependencies]
train = ["torch>=2.6"]
privacy = ["euredact[fr]>=0.7"]
dev = ["pytest"]
"""


@pytest.mark.parametrize(
    "file, text, expected",
    [
        ("seal/a.py", "import pydantic, json, cornue.seal", 0),
        ("seal/a.py", "from markdown_it import MarkdownIt", 0),
        ("seal/a.py", "def f():\n    import euredact", 0),
        ("seal/a.py", "import euredact", 1),
        ("seal/a.py", "import torch", 1),
        ("seal/a.py", "import pytest", 1),
        ("seal/a.py", "def f():\n    import requests", 1),
        ("train/a.py", "import torch", 0),
    ],
)
def test_a_library_that_is_not_declared_is_found(tmp_path: Path, file: str, text: str, expected: int) -> None:
    plant(tmp_path, file, text)
    project = tmp_path / "pyproject.toml"
    project.write_text(PROJECT)
    assert len(architecture.undeclared(tmp_path / "cornue", project)) == expected


def test_the_package_imports_what_it_declares() -> None:
    assert architecture.undeclared() == []


def test_sizes_count_code_and_not_docstrings(tmp_path: Path) -> None:
    plant(tmp_path, "seal/a.py", 'def f(self, a, *, b):\n    """One.\n\n    Two.\n    """\n    return a')
    sizes = {(size.what, size.unit): size.value for size in architecture.sizes(tmp_path / "cornue")}
    assert sizes[("seal/a.py:f", "lines")] == 2
    assert sizes[("seal/a.py:f", "parameters")] == 2


@pytest.mark.parametrize(
    "value, allowed, expected",
    [
        (400, [], 0),
        (401, [], 1),
        (401, ["a.py lines 401"], 0),
        (402, ["a.py lines 401"], 1),
        (401, ["a.py lines 500"], 0),
        (10, ["a.py lines 401"], 1),
        (10, ["b.py lines 401"], 1),
    ],
)
def test_the_list_of_exceptions_only_shrinks(value: int, allowed: list[str], expected: int) -> None:
    sizes = [architecture.Size("a.py", "lines", value, 400)]
    assert len(architecture.too_large(sizes, allowed)) == expected
