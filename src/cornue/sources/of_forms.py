"""A job's questions from its question forms and its table: so many of each form, none twice.

Forms of the validation and held-out parts are asked about the places kept for that part (stratum ``unseen``); those of
the training part also, once each (stratum ``known``). It writes no file and judges no question.
"""

from __future__ import annotations

import random
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from cornue.records.samples import Prompt, Split
from cornue.sources.expand import Expander
from cornue.sources.folding import fold
from cornue.sources.forms import Form, read_forms
from cornue.sources.register import Register
from cornue.sources.tables import read_tables

SEED = 1
ORDER: dict[Split, int] = {"train": 0, "validation": 1, "heldout": 2}


def holds_forms(path: Path) -> bool:
    """Whether a file of prompts is one of question forms."""
    return "form" in _content(path)


def articles_of(path: Path) -> Path | None:
    """The file of small words that a forms file names."""
    name = _content(path).get("articles")
    return path.parent / str(name) if name else None


def _content(path: Path) -> dict[str, Any]:
    """What stands in a TOML file; nothing in any other, or in one that cannot be read, which its reader will tell."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8")) if path.suffix == ".toml" else {}
    except ValueError:
        return {}


def prompts_of_forms(path: Path, table: Path, register: Register, per_form: int) -> list[Prompt]:
    """The questions of a forms file about the first table of a register.

    Args:
        table: the register's file.
        per_form: questions of each training form; half as many of the others.

    Raises:
        BadInput: the forms cannot be read, or one of them cannot be filled so that its answer is beyond doubt.
    """
    forms = read_forms(path)
    expander = Expander.make(forms, register, read_tables(table)[0])
    few = max(1, per_form // 2)
    known = [form for form in forms.forms if form.split == "train"]
    found: list[Prompt] = []
    for split in ("heldout", "validation"):
        unseen = [form for form in forms.forms if form.split == split]
        found += [prompt for form in unseen for prompt in expander.expand(form, few, split, "unseen", SEED)]
        found += spread(expander, known, len(known), split, "known", SEED)
    found += [prompt for form in known for prompt in expander.expand(form, per_form, "train", "", SEED)]
    return once(found)


def spread(
    expander: Expander, forms: Sequence[Form], total: int, split: Split, stratum: str, seed: int
) -> list[Prompt]:
    """About ``total`` prompts, one or two of each form that names a place or a number, declining ones in proportion."""
    chosen = [form for form in forms if "{" in "".join(form.ask)]
    draw = random.Random(f"{seed} {split} {stratum}")
    draw.shuffle(chosen)
    pairs = [expander.expand(form, 2, split, stratum, seed) for form in chosen]
    return ([pair[0] for pair in pairs] + [prompt for pair in pairs for prompt in pair[1:]])[:total]


def once(prompts: Iterable[Prompt]) -> list[Prompt]:
    """The prompts in the order train, validation, held-out; of those that ask the same only the first."""
    kept: dict[str, Prompt] = {}
    for prompt in prompts:
        kept.setdefault(fold(prompt.messages[0].content).rstrip(" ?.!"), prompt)
    return sorted(kept.values(), key=lambda prompt: ORDER[prompt.split])
