"""What is made from the code and from results is fresh in the documentation, and its links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)")


def test_made_parts_are_fresh() -> None:
    check = [sys.executable, "scripts/build_docs.py", "--check"]
    done = subprocess.run(check, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"run `make docs`: {done.stdout}{done.stderr}"


def test_every_link_to_a_file_leads_to_one() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages
        for target in LINK.findall(page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]
    assert len(pages) > 20
    assert broken == []


def test_every_target_of_make_that_the_texts_name_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    texts = [
        path.read_text(encoding="utf-8")
        for path in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / ".ci/run")
    ]
    named = {name for text in texts for name in re.findall(r"(?:`|^|step \w+ )make ([a-z-]+)", text, re.MULTILINE)}
    assert {"demo", "test"} <= named
    parts = {
        f"{path.parent.name}-{path.stem.replace('_', '-')}"
        for folder in ("prove", "bench")
        for path in (ROOT / folder).glob("*.py")
    }
    assert [name for name in named - parts if not re.search(rf"^{name}:", makefile, re.MULTILINE)] == []
