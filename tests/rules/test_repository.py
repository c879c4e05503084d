"""What no file of the repository may hold: paths of one machine, hosts of registries, notes to oneself."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
THIS = "tests/rules/test_repository.py"
# The only registry that is named: where a CPU build of torch can be had when the default index has none.
ALLOWED = ("https://download.pytorch.org/whl/cpu",)
FORBIDDEN = {
    "a path of one machine": r"(?<![\w.])/(?:work|root|opt/pypi\S*|opt/wheels|home/\w+|Users/\w+)(?:/|\b)",
    "a folder that need not be there": r"(?<![\w.-])/tmp/\w",
    "the host of a registry": r"(?i)\b(?:pypi\.org|pythonhosted\.org|npmjs\.(?:org|com)|(?:deb|security)\.debian\.org"
    r"|crates\.io|proxy\.golang\.org|download\.pytorch\.org|anaconda\.(?:org|com)|docker\.io|ghcr\.io)\b",
    "a note to oneself": r"\b(?:TODO|FIXME|XXX|HACK)\b",
    "how it was made": r"(?i)\b(?:co-authored-by|generated (?:with|by) (?:an? )?(?:ai|llm|claude|chatgpt|copilot)"
    r"|shared/(?:reference|design)|issues show)\b",
}
VAGUE = re.compile(r"(?:^|/|_)(?:utils?|common|helpers?|misc|stuff)(?:\.py$|/)")


def repository() -> list[str]:
    """The files that are in the repository or about to be."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    return sorted({name for name in names if name and (ROOT / name).is_file()})


def text_of(name: str) -> str:
    """The text of a file; empty for binary ones."""
    raw = (ROOT / name).read_bytes()
    return "" if b"\0" in raw[:8192] else raw.decode("utf-8", errors="replace")


def findings(name: str, text: str) -> list[str]:
    """What a text holds that it may not, as `file:line: what`."""
    for allowed in ALLOWED:
        text = text.replace(allowed, "")
    return [
        f"{name}:{text.count(chr(10), 0, match.start()) + 1}: {what}: {match.group()}"
        for what, pattern in FORBIDDEN.items()
        for match in re.finditer(pattern, text)
    ]


def test_no_file_holds_what_none_may_hold() -> None:
    files = [name for name in repository() if name != THIS]
    assert len(files) > 20
    assert [finding for name in files for finding in findings(name, text_of(name))] == []


@pytest.mark.parametrize(
    "text",
    [
        "see /work/main/src",
        "open('/tmp/x')",
        "/home/marie/models",
        "https://pypi.org/simple",
        "FILES.pythonhosted.org",
        "registry.npmjs.org",
        "https://download.pytorch.org/whl/cu130",
        "# TODO: later",
        "Co-authored-by: somebody",
        "shared/reference/style.md",
    ],
)
def test_a_planted_word_is_found(text: str) -> None:
    assert findings("a.md", f"first line\n{text}\n")[0].startswith("a.md:2: ")


@pytest.mark.parametrize(
    "text", ["https://download.pytorch.org/whl/cpu", "homework/root", "a workplace", "tmp_path / 'x'"]
)
def test_an_innocent_word_is_left_alone(text: str) -> None:
    assert findings("a.md", text) == []


def test_no_file_has_a_vague_name() -> None:
    assert [name for name in repository() if VAGUE.search(name)] == []


def test_every_script_says_what_it_is_for() -> None:
    scripts = [
        name for name in repository() if name.endswith(".py") and name.split("/")[0] in ("scripts", "bench", "prove")
    ]
    assert scripts
    assert [name for name in scripts if not ast.get_docstring(ast.parse(text_of(name)))] == []


def test_the_repository_stays_small() -> None:
    sizes = {name: (ROOT / name).stat().st_size for name in repository()}
    assert sum(sizes.values()) < 12_000_000
    assert [name for name in sizes if name.endswith((".gguf", ".safetensors", ".whl", ".pt", ".bin", ".pkl"))] == []
