"""Turns rows of other people's tables into prompts: which column is the question, which the answer, which the part.

Columns are found by the names that are in use, or named by the recipe. A part that a source lacks is drawn from those
rows that do not name theirs, by the digest of each question, which has nothing to do with what is asked. It reads no
file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

from pydantic import ValidationError

from cornue.records.errors import BadInput
from cornue.records.samples import Message, Prompt, Role, Split
from cornue.records.words import words

Row = Mapping[str, Any]

# The first name that a table has is taken.
USUAL: dict[str, tuple[str, ...]] = {
    "question": ("messages", "conversations", "prompt", "question", "problem", "instruction", "query"),
    "answer": ("answer", "solution", "output", "response", "completion", "label"),
    "split": ("split",),
    "stratum": ("stratum",),
    "form": ("form",),
}
PARTS: dict[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "heldout", "held_out", "held-out", "eval"), "heldout"),
}
SPEAKERS = {"human": "user", "gpt": "assistant", "bot": "assistant"}
# Of twenty prompts of a source that names no parts, so many go to each.
DRAWN: dict[Split, int] = {"validation": 1, "heldout": 3}
MARKED = re.compile(r"^####\s*(.+?)\s*$", re.MULTILINE)


def prompts_of_rows(
    rows: Iterable[tuple[str, Split | None, Row]], columns: Mapping[str, str], source: str
) -> list[Prompt]:
    """Prompts out of rows, in their order.

    Args:
        rows: for each row where it stands, the part that its file belongs to (None if it names none), and its cells.
        columns: the name of the column for ``question``, ``answer``, ``split``, ``stratum`` or ``form``; what is not
            named is looked for under the usual names.
        source: name of the source.

    Raises:
        BadInput: a row has no question, a column is not there, a part has an unknown name, or a prompt stands twice.
    """
    prompts: list[Prompt] = []
    places: dict[str, str] = {}
    divisible: set[str] = set()
    found: dict[str, str] = {}
    for place, part, row in rows:
        found = found if prompts else _columns(place, row, columns)
        messages, answer = _asked(place, row, found)
        own = _split(place, row, found)
        truth = None if answer is None else {"answer": answer}
        rest = {name: _text(row.get(found[name])) for name in ("stratum", "form") if name in found}
        prompt = Prompt.make(messages, truth, split=own or part or "train", source=source, **rest)
        if prompt.id in places:
            raise _refuse(
                place,
                words(f"it asks what {places[prompt.id]} asks", f"pose la même question que {places[prompt.id]}"),
                words("keep one of the two", "gardez l'une des deux"),
            )
        places[prompt.id] = place
        prompts.append(prompt)
        if own is None and prompt.split == "train":
            divisible.add(prompt.id)
    return _draw_parts(prompts, divisible)


def _columns(place: str, row: Row, columns: Mapping[str, str]) -> dict[str, str]:
    """The column of each field that the table has."""
    found = {}
    for field, usual in USUAL.items():
        wanted = [columns[field]] if field in columns else usual
        name = next((name for name in wanted if name in row), None)
        if name is None and (field in columns or field == "question"):
            held = ", ".join(map(str, row))[:200]
            raise _refuse(
                place,
                words(
                    f"no column {columns.get(field, field)!r}; there are: {held}",
                    f"pas de colonne {columns.get(field, field)!r} ; il y a : {held}",
                ),
                words(
                    f'name it in the recipe: [sources] columns = {{ {field} = "…" }}',
                    f'nommez-la dans la recette : [sources] columns = {{ {field} = "…" }}',
                ),
            )
        if name is not None:
            found[field] = name
    return found


def _asked(place: str, row: Row, found: Mapping[str, str]) -> tuple[tuple[Message, ...], str | None]:
    """The conversation up to where an answer is wanted, and the answer where there is one."""
    asked = row[found["question"]]
    if isinstance(asked, (list, tuple)):
        messages = _conversation(place, asked)
    else:
        messages = [Message(role="user", content=_text(asked))]
    answer = _text(row.get(found["answer"])) if "answer" in found else ""
    if messages and messages[-1].role == "assistant":
        *messages, last = messages
        answer = answer or last.content
    if not messages or not messages[-1].content.strip():
        raise _refuse(place, words("its question is empty", "sa question est vide"))
    marked = MARKED.findall(answer)
    return tuple(messages), (marked[-1] if marked else answer) or None


def _conversation(place: str, turns: Sequence[Any]) -> list[Message]:
    """Turns with role and content, or from and value."""
    try:
        named = [(turn.get("role", turn.get("from")), turn.get("content", turn.get("value"))) for turn in turns]
        return [Message(role=SPEAKERS.get(role, role), content=content) for role, content in named]
    except (AttributeError, TypeError, ValidationError):
        roles = ", ".join(get_args(Role))
        raise _refuse(
            place,
            words(
                f"a turn of its conversation has not role and content; roles are {roles}",
                f"un tour de sa conversation n'a pas role et content ; les rôles sont {roles}",
            ),
        ) from None


def _text(cell: Any) -> str:
    return "" if cell is None else str(cell).strip()


def _split(place: str, row: Row, found: Mapping[str, str]) -> Split | None:
    """The part that a row names itself."""
    name = _text(row.get(found["split"])).lower() if "split" in found else ""
    if name and name not in PARTS:
        raise _refuse(
            place,
            words(
                f"a part called {name!r}; parts are {', '.join(PARTS)}",
                f"une partie nommée {name!r} ; les parties sont {', '.join(PARTS)}",
            ),
        )
    return PARTS.get(name)


def _draw_parts(prompts: Sequence[Prompt], divisible: set[str]) -> list[Prompt]:
    """Held-out and validation prompts where the source has none, drawn from what may be divided."""
    named = {prompt.split for prompt in prompts}
    bounds: dict[Split, range] = {}
    first = 0
    for part, share in DRAWN.items():
        bounds[part] = range(0) if part in named else range(first, first + share)
        first += share

    def part_of(prompt: Prompt) -> Split:
        if prompt.id not in divisible:
            return prompt.split
        lot = int(prompt.id[:8], 16) % 20
        return next((part for part, lots in bounds.items() if lot in lots), "train")

    return [prompt.model_copy(update={"split": part_of(prompt)}) for prompt in prompts]


def _refuse(place: str, why: str, remedy: str = "") -> BadInput:
    return BadInput(
        words(f"{place}: {why}", f"{place} : {why}"),
        remedy or words("correct or remove that row", "corrigez ou retirez cette ligne"),
    )
