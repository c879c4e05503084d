"""Reads a data set folder in the layout of the Hugging Face hub: files whose names say to which part they belong.

Both layouts are known: what lies in a repository (``train-00000-of-00001.parquet``, ``test.jsonl``, ``data/dev.csv``)
and what ``save_to_disk`` writes (a folder of Arrow files for each part). The licence is read from the card. Scripts in
the folder are not run and configurations in the card are not followed: of several subsets, name one by its folder.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cornue.records.errors import BadInput
from cornue.records.samples import Split
from cornue.records.words import words
from cornue.sources.files import KINDS, damaged, kind_of, read_rows
from cornue.sources.rows import PARTS

ABOUT = ("dataset_info.json", "dataset_dict.json", "dataset_infos.json", "state.json")
CARD = "README.md"
LICENCE = re.compile(r"^license:[ \t]*(?:\r?\n[ \t]*-[ \t]*)?([^\s#\[{][^\s#]*)", re.MULTILINE)
FRONT = re.compile(r"\A---\r?\n(.*?)\r?\n---", re.DOTALL)


def read_folder(folder: Path) -> Iterator[tuple[str, Split | None, dict[str, Any]]]:
    """The rows of all parts, with their places and the part that the name of their file says.

    Raises:
        BadInput: there is no file with rows, or there are several subsets.
    """
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and kind_of(path) in KINDS and path.name not in ABOUT
        # Hidden folders and files are none of the data.
        if not any(part.startswith((".", "_")) for part in path.relative_to(folder).parts)
    ]
    if not files:
        raise BadInput(
            words(f"{folder} holds no file with questions", f"{folder} ne contient aucun fichier de questions"),
            words(f"it should hold files of these kinds: {', '.join(KINDS)}", f"il y faut des {', '.join(KINDS)}"),
        )
    _refuse_subsets(folder, files)
    for path in files:
        part = part_of(path.relative_to(folder))
        for place, row in read_rows(path):
            yield place, part, row


def part_of(path: Path) -> Split | None:
    """The part that a file's name, or that of a folder around it, says; None if neither does."""
    for name in reversed(path.parts):
        for word in re.split(r"[^a-z]+", name.lower()):
            if word in PARTS:
                return PARTS[word]
    return None


def licence_of(folder: Path) -> str:
    """The licence that the card of a data set names, here or in the folder above; empty if it names none."""
    for place in (folder, folder.parent):
        card, about = place / CARD, place / "dataset_info.json"
        if card.is_file():
            front = FRONT.match(card.read_text(encoding="utf-8", errors="replace"))
            found = LICENCE.search(front[1]) if front else None
            return found[1].strip("\"'") if found else ""
        if about.is_file():
            try:
                return str(json.loads(about.read_text(encoding="utf-8")).get("license") or "")
            except (ValueError, AttributeError) as error:
                raise damaged(about, str(error)) from error
    return ""


def require_licence(folder: Path, named: str) -> None:
    """The recipe must name the licence that the data set names itself, so that it travels along.

    Raises:
        BadInput: it names none, or another.
    """
    found = licence_of(folder)
    if found and found.lower() != named.lower():
        raise BadInput(
            words(
                f"{folder} says that it is under {found!r}, the recipe says {named!r}",
                f"{folder} dit être sous {found!r}, la recette dit {named!r}",
            ),
            words(
                f'write licence = "{found}" in [sources], and the attribution that it asks for',
                f'écrivez licence = "{found}" dans [sources], et l\'attribution demandée',
            ),
        )


def _refuse_subsets(folder: Path, files: list[Path]) -> None:
    """Several folders that each hold a training part are several subsets, which nobody wants mixed unknowingly."""
    training = {path.parent for path in files if part_of(path.relative_to(folder)) == "train"}
    subsets = {re.sub(r"\W?train\w*", "", str(place.relative_to(folder))) for place in training}
    if len(subsets) > 1:
        listed = ", ".join(sorted(subsets))
        raise BadInput(
            words(
                f"{folder} holds several subsets: {listed}", f"{folder} contient plusieurs sous-ensembles : {listed}"
            ),
            words("name one of these folders in sources.prompts", "nommez l'un de ces dossiers dans sources.prompts"),
        )
