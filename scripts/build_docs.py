"""Writes the parts of the documentation that are made from the code and from results.

    python scripts/build_docs.py [--check]

With `--check` nothing is written, and the exit code says whether all pages are fresh. A page holds
`<!-- made: WHAT -->` … `<!-- end -->`; what stands between is replaced. WHAT is one of:

    tree               the repository, a caption on every line; rooms are captioned by their own docstrings
    sections           the sections of a recipe and the page of each
    settings SECTION   the keys of one section of a recipe, from its fields and their docstrings
    commands           every command with its arguments and options, from the command line itself
    bars               the bars that matter first and all that do not hold, with the file that holds the figure
    results            every result file in short

The prose around them is written by hand. A test fails when a page differs from what this would write.
"""

from __future__ import annotations

import ast
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

# Help and messages follow the reader's language; the pages are in English.
os.environ["CORNUE_LANG"] = "en"

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from architecture import PACKAGE, ROOMS
from cornue.records import recipe

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
RESULTS = DOCS / "results"
PART = re.compile(r"(<!-- made: ([^>]+?) -->\n).*?(<!-- end -->)", re.DOTALL)

# The page on which each section of a recipe is explained; a step's page has the step's name.
PAGES = {"recipe": "records", "teacher": "capture", "student": "models", "budget": "ledger"}

CAPTIONS = {
    "Makefile": "every command of this page",
    "constraints.txt": "the exact versions that are installed",
    "recipes/": "what to distil: one file per job, with its prompts, register and capture",
    "src/cornue/": "the package; data flows through its rooms from top to bottom",
    "tests/": "the same tree as the rooms, and `rules/` for the shape of the whole",
    "prove/": "long proofs: kills, frauds, load",
    "bench/": "comparisons, side by side in one run",
    "scripts/": "install, fetch models, build registers and prompts, build these pages",
    "deploy/": "files to run the service for others",
    "docs/": "the site; `docs/results/` holds every figure that is claimed",
}

# What a reader of the first page wants to know, in words that need nothing around them.
FIRST = {
    ("bench-communes", "unseen forms: student's accuracy / teacher's"): (
        "student's accuracy / teacher's, on forms of question and places that it never met"
    ),
    ("bench-communes", "free questions: answerable ones right"): "free questions by hand: answerable ones right",
    ("bench-communes", "free questions: unanswerable ones declined"): "free questions by hand: others declined",
    ("bench-communes", "core-seconds per right answer, student / teacher"): "cost of a right answer / teacher's",
    ("bench-communes", "parameters, student / teacher"): "parameters / teacher's",
    ("bench-communes", "equal greedy answers, F16 / weights"): "exported file and weights: equal answers",
    ("prove-resume", "runs that end with the same model digest"): "killed 20 times, the run ends with the same digest",
    ("prove-resume", "answers asked for twice"): "answers paid for twice in those 20 kills",
    ("bench-capture", "qwen2.5-coder-0.5b-instruct-q4_k_m: bytes a token"): (
        "bytes a token of a captured distribution, 151,936 words"
    ),
    ("prove-capture", "most answers lost by one kill"): "answers lost by one kill of a capture, at most",
    ("prove-capture", "identifiers that left"): "identifiers of people that left for a remote teacher",
    ("prove-doctor", "seeded bugs caught by name"): "seeded bugs of distillation that the doctor names",
    ("bench-serve", "share of the engine's tokens/s, 4 at a time"): "tokens/s behind the service / the engine alone",
    ("prove-serve", "altered files and packs that were let in"): "altered models that were served, of 1,000",
    ("prove-serve", "gateway back after kill -9, slowest, s"): "seconds until the service is back after a kill",
    ("prove-serve", "Jain fairness over keys"): "fairness between 200 clients at ten times the load",
    ("prove-serve", "violations found by axe"): "violations of accessibility found on the pages",
}


def pages() -> list[Path]:
    """The files that may hold made parts."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md")), *sorted(DOCS.glob("rooms/*.md"))]


def renewed(path: Path) -> str:
    """The text that a page ought to have."""

    def part(match: re.Match[str]) -> str:
        return match[1] + make(match[2], path).strip("\n") + "\n" + match[3]

    return PART.sub(part, path.read_text(encoding="utf-8"))


def make(what: str, page: Path) -> str:
    """One made part for a page.

    Raises:
        ValueError: there is no such part.
    """
    name, _, argument = what.partition(" ")
    match name:
        case "tree":
            return tree()
        case "sections":
            return sections()
        case "settings":
            return settings(argument)
        case "commands":
            return "\n".join(commands())
        case "bars":
            return bars(page)
        case "results":
            return "\n".join(results(page))
    raise ValueError(f"{page.name}: there is no made part called {what!r}")


def tree() -> str:
    """The repository with a caption on every line."""
    lines = []
    for name, caption in CAPTIONS.items():
        if not holds_anything(ROOT / name):
            continue
        lines.append(f"{name:<20}{caption}")
        if name == "src/cornue/":
            for room in ROOMS:
                if (PACKAGE / room / "__init__.py").exists():
                    lines.append(f"  {room + '/':<18}{purpose(PACKAGE / room / '__init__.py')}")
                elif (PACKAGE / f"{room}.py").exists():
                    lines.append(f"  {room + '.py':<18}{purpose(PACKAGE / f'{room}.py')}")
    return "\n".join(["```text", *lines, "```"])


def holds_anything(path: Path) -> bool:
    """Whether a path is a file, or a folder with a file that belongs to the repository."""
    return path.is_file() or any(file.is_file() and "__pycache__" not in file.parts for file in path.rglob("*"))


def purpose(path: Path) -> str:
    """The first line of a file's docstring, without its full stop."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.splitlines()[0].rstrip(".")


def sections() -> str:
    """The sections of a recipe in their order."""
    rows = []
    for name, field in recipe.Recipe.model_fields.items():
        title = f"`[[{name}]]`" if name == "train" else f"`[{name}]`"
        page = PAGES.get(name, name)
        needed = "yes" if field.is_required() else "no"
        rows.append((title, needed, about(types_of(field)[0], name), f"[{page}](rooms/{page}.md)"))
    return table(("section", "required", "what it says", "explained in"), rows)


def about(section: type[BaseModel], name: str) -> str:
    """What a section is for, from the docstring of its type."""
    if name == "train":
        return "one stage of training; several follow each other"
    text = " ".join((section.__doc__ or "").split())
    return text.partition(": ")[2].rstrip(".") or text.rstrip(".")


def types_of(field: FieldInfo) -> list[type[BaseModel]]:
    """The section types that a field of the recipe may hold."""
    found: list[type[BaseModel]] = []
    waiting: list[Any] = [field.annotation]
    while waiting:
        item = waiting.pop(0)
        if isinstance(item, type) and issubclass(item, BaseModel):
            found.append(item)
        else:
            waiting += [part for part in get_args(item) if part is not Ellipsis]
    return found


def settings(name: str) -> str:
    """The keys of a section; for `train` those of all methods, then those of each."""
    kinds = types_of(recipe.Recipe.model_fields[name])
    if len(kinds) == 1:
        return keys(kinds[0], ())
    shared = tuple(recipe.Stage.model_fields)
    parts = ["Every stage has:", "", keys(recipe.Stage, ())]
    for kind in kinds:
        (method,) = get_args(kind.model_fields["method"].annotation)
        parts += ["", f'### `method = "{method}"`', "", kind.__doc__ or ""]
        rows = keys(kind, (*shared, "method"))
        parts += ["", rows] if rows else []
    return "\n".join(parts)


def keys(section: type[BaseModel], without: tuple[str, ...]) -> str:
    """A table of a section's keys; empty when it has none of its own."""
    rows = []
    for name, field in section.model_fields.items():
        if name not in without:
            default = (
                "required" if field.is_required() else f"`{as_toml(field.get_default(call_default_factory=True))}`"
            )
            meaning = " ".join((field.description or "").split())
            rows.append((f"`{name}`", spoken(field.annotation, field), default, meaning))
    return table(("key", "value", "default", "meaning"), rows) if rows else ""


def spoken(kind: Any, field: FieldInfo | None = None) -> str:
    """A type in words, with its bounds."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return spoken(arguments[0])
    if origin is Literal:
        return ", ".join(f"`{as_toml(value)}`" for value in arguments)
    if origin is tuple:
        return f"list of {spoken(arguments[0])}"
    if origin in (Union, UnionType):
        return " or ".join(spoken(part) for part in arguments if part is not type(None))
    plain = {str: "text", int: "whole number", float: "number", bool: "true or false"}.get(kind, "table")
    return f"{plain} {', '.join(bounds(field))}".strip()


def bounds(field: FieldInfo | None) -> Iterator[str]:
    """The bounds of a number in signs."""
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    for item in field.metadata if field else ():
        for word, sign in signs.items():
            if getattr(item, word, None) is not None:
                yield f"{sign} {getattr(item, word):g}"


def as_toml(value: Any) -> str:
    """A value as it stands in a recipe."""
    if isinstance(value, tuple):
        return "[" + ", ".join(as_toml(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def commands() -> Iterator[str]:
    """Every command that `cornue --help` lists."""
    import typer.main

    from cornue import cli

    cli.load_rooms(("serve", "access"))

    yield from described(typer.main.get_command(cli.app), "cornue")


def described(command: Any, path: str) -> Iterator[str]:
    """A command and those below it, each with usage, help and options."""
    children = getattr(command, "commands", {})
    visible = {name: child for name, child in children.items() if not child.hidden}
    shown = [item for item in command.params if not getattr(item, "hidden", False) and item.name != "help"]
    arguments = [item for item in shown if item.param_type_name == "argument"]
    usage = " ".join([path, *(metavar(item) for item in arguments)])
    yield f"## `{usage}{' COMMAND' if visible else ''}`\n"
    yield paragraphs(command.help)
    rows = [(f"`{metavar(item)}`", "", one_line(getattr(item, "help", ""))) for item in arguments]
    for item in shown:
        if item.param_type_name == "option":
            names = ", ".join(f"`{name}`" for name in (*item.opts, *item.secondary_opts))
            rows.append((names, preset(item), one_line(item.help)))
    rows = [row for row in rows if row[2] or row[1]]
    if rows:
        yield table(("argument or option", "default", "meaning"), rows) + "\n"
    for name, child in visible.items():
        yield from described(child, f"{path} {name}")


def metavar(argument: Any) -> str:
    """How an argument stands in the usage line."""
    name = (argument.metavar or argument.name).upper().strip("[]")
    name = f"{name}…" if argument.nargs == -1 else name
    return name if argument.required else f"[{name}]"


def preset(option: Any) -> str:
    """An option's default; empty where it is off or unset."""
    value = option.default
    if isinstance(value, bool | int | float | str | Path) and value not in (False, None, ""):
        return f"`{str(value).lower() if isinstance(value, bool) else value}`"
    return ""


def paragraphs(text: str | None) -> str:
    """Help text with its paragraphs kept and its lines joined."""
    parts = re.split(r"\n\s*\n", (text or "").replace("\f", "").strip())
    return "\n\n".join(" ".join(part.split()) for part in parts) + "\n"


def one_line(text: str | None) -> str:
    """Help text on one line."""
    return " ".join((text or "").split())


def read_results() -> dict[str, dict[str, Any]]:
    """All results by name."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))}


def link(name: str, page: Path) -> str:
    """A link from a page to the readable form of a result."""
    readable = RESULTS / f"{name}.md"
    target = readable if readable.exists() else RESULTS / f"{name}.json"
    return f"[{name}]({os.path.relpath(target, page.parent)})"


def bars(page: Path) -> str:
    """The bars of ``FIRST`` in its words, and all that do not hold in their own."""
    found = {(name, bar["name"]): bar for name, result in read_results().items() for bar in result["bars"]}
    told = FIRST | {key: ": ".join(key) for key, bar in found.items() if not bar["holds"] and key not in FIRST}
    rows = [
        (what, number(bar["value"]), f"{bar['bar']}", "yes" if bar["holds"] else "**no**", link(key[0], page))
        for key, what in told.items()
        for bar in [found[key]]
    ]
    many = f"These are {len(FIRST)} of {len(found)} bars, of which {sum(b['holds'] for b in found.values())} hold."
    every = os.path.relpath(DOCS / "results.md", page.parent)
    return table(("what", "measured", "bar", "holds", "result"), rows) + f"\n\n{many} [All of them]({every})."


def results(page: Path) -> Iterator[str]:
    """Every result: where and when, its bars, what was not run."""
    for name, result in read_results().items():
        machine = result["machine"]
        if isinstance(machine, dict):
            machine = ", ".join(f"{key} {value}" for key, value in machine.items())
        yield f"## {name}\n"
        yield f"`{result['command']}` on {result['date'][:10]} at commit `{result['commit'][:12]}`; {machine}.\n"
        rows = [
            (bar["name"], number(bar["value"]), bar["bar"], "yes" if bar["holds"] else "**no**")
            for bar in result["bars"]
        ]
        if rows:
            yield table(("what", "measured", "bar", "holds"), rows) + "\n"
        for item in result.get("not_run", []):
            yield f"- not run: {item['name']}: {item['reason']}"
        yield f"\nAll figures: {link(name, page)}.\n"


def number(value: Any) -> str:
    """A figure with as many digits as help."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    return "\n".join(lines + ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows])


def stale() -> list[Path]:
    """The pages that differ from what they ought to be."""
    return [path for path in pages() if renewed(path) != path.read_text(encoding="utf-8")]


def main(arguments: list[str]) -> int:
    """Write every stale page and name it; with `--check` only name them, and end with 1 when there are any."""
    old = stale()
    for path in old:
        if "--check" not in arguments:
            path.write_text(renewed(path), encoding="utf-8")
        print(f"{'stale' if '--check' in arguments else 'wrote'} {path.relative_to(ROOT)}")
    return 1 if old and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
