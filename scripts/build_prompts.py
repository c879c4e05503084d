"""Builds the prompts of the main job from its question forms, its free questions and its register.

    python scripts/build_prompts.py [--show 30]

It writes ``recipes/communes/prompts.jsonl.xz``; the same inputs give the same prompts. Held-out questions come from
places and numbers that training never names. It asks no model.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections import Counter
from pathlib import Path

from cornue.records.digests import digest_json
from cornue.records.samples import Message, Prompt, Split
from cornue.sources.expand import Expander, is_sound
from cornue.sources.forms import read_forms
from cornue.sources.of_forms import once, spread
from cornue.sources.prompts import write_prompts
from cornue.sources.register import Register
from cornue.sources.tables import read_tables

FOLDER = Path(__file__).resolve().parent.parent / "recipes" / "communes"
REGISTER = FOLDER / "register.sqlite.xz"
SEED = 20260309
TRAIN_PER_FORM, DECLINES_PER_FORM = 15, 18
# Forms that say what people ask most in many more ways. They ask for nothing new, so the teacher is not asked: its
# answers to the others are carried over to them.
SAID = "said-"
VALIDATION_PROMPTS, KNOWN_PROMPTS, UNSEEN_PER_FORM, CHOICE_PER_FORM = 180, 150, 8, 4


def read_free(path: Path, split: Split, register: Register) -> list[Prompt]:
    """Questions written by hand: one JSON object a line with ``ask`` and ``sql``, or ``decline``."""
    prompts = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        row = json.loads(line)
        sql = row.get("sql")
        ordered = bool(row.get("ordered", False))
        if sql and not is_sound(register, sql, ordered, zero=True):
            sys.exit(f"{path.name}, line {number}: no sound answer to {sql}")
        truth = {"sql": sql, "ordered": ordered} if sql else {"decline": True}
        message = Message(role="user", content=row["ask"])
        prompts.append(Prompt.make((message,), truth, split=split, stratum="free", form="free", source="register"))
    return prompts


def build(register: Register) -> list[Prompt]:
    """All prompts, in the order train, validation, held-out; no question comes twice."""
    forms = read_forms(FOLDER / "forms.toml")
    expander = Expander.make(forms, register, read_tables(REGISTER)[0])
    said = [form for form in forms.forms if form.id.startswith(SAID)]
    known, chosen_by, unseen = (
        [form for form in forms.forms if form.split == split and form not in said]
        for split in ("train", "validation", "heldout")
    )
    prompts = read_free(FOLDER / "free.jsonl", "heldout", register)
    prompts += [p for form in unseen for p in expander.expand(form, UNSEEN_PER_FORM, "heldout", "unseen", SEED)]
    prompts += spread(expander, known, KNOWN_PROMPTS, "heldout", "known", SEED)
    prompts += read_free(FOLDER / "free-dev.jsonl", "validation", register)
    prompts += [p for form in chosen_by for p in expander.expand(form, CHOICE_PER_FORM, "validation", "unseen", SEED)]
    prompts += spread(expander, known, VALIDATION_PROMPTS, "validation", "known", SEED)
    for form in known:
        count = DECLINES_PER_FORM if form.declines else TRAIN_PER_FORM
        prompts += expander.expand(form, count, "train", "", SEED)
    prompts += [p for form in said for p in expander.expand(form, TRAIN_PER_FORM, "train", "said", SEED)]
    return once(prompts)


def show(prompts: list[Prompt], examples: int) -> None:
    """Counts per stratum and some examples, for a person to read."""
    counts = Counter((prompt.split, prompt.stratum) for prompt in prompts)
    declines = Counter((p.split, p.stratum) for p in prompts if (p.truth or {}).get("decline"))
    for key, count in counts.items():
        print(f"{key[0]:<11}{key[1]:<8}{count:>6} prompts, {declines[key]:>4} to decline")
    for prompt in random.Random().sample(prompts, examples):
        truth = prompt.truth or {}
        print(f"[{prompt.split[:5]} {prompt.form}] {prompt.messages[0].content}\n    {truth.get('sql', 'DECLINE')}")


def main() -> None:
    """Builds the prompts and says what they are."""
    parser = argparse.ArgumentParser(description="Build the prompts of the communes job.")
    parser.add_argument("--show", type=int, default=0, help="print this many random examples")
    parser.add_argument("--to", type=Path, default=FOLDER / "prompts.jsonl.xz", help="where to write")
    arguments = parser.parse_args()
    prompts = build(Register.open(REGISTER))
    write_prompts(arguments.to, prompts)
    show(prompts, arguments.show)
    print(f"{len(prompts)} prompts, {arguments.to.stat().st_size} bytes, {digest_json([p.id for p in prompts])}")


if __name__ == "__main__":
    main()
