"""The shape of the package as a check: who may import whom, what must be light, what each file is for, how large it is.

    python scripts/architecture.py

prints the sizes and then every problem as `file:line: what, and what is allowed`. It reads source text only and imports
nothing of it, so what a dependency brings along escapes it; the wheel check sees that.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "cornue"
LARGE = ROOT / "tests" / "rules" / "large.txt"

# Data flows through the rooms in this order; a file may import from its own place and from any before it.
ROOMS = (
    *("records", "seal", "ledger"),
    *("privacy", "sources", "models"),
    *("capture", "verify", "curate", "train", "evaluate"),
    *("report", "pack", "audit", "serve"),
    *("job", "pipeline", "plan", "doctor", "screen", "cli"),
)
STEPS = ("capture", "verify", "curate", "train", "evaluate", "pack")
ROOF = ("job", "pipeline", "plan", "doctor", "screen", "cli")

HEAVY = ("torch", "transformers")
# Import names that differ from the name of their package.
PACKAGES = {"markdown_it": "markdown-it-py", "multipart": "python-multipart"}
MAY_BE_HEAVY = ("models/", "train/", "evaluate/", "capture/sparse.py", "doctor/")

FILE_LINES, FUNCTION_LINES, PARAMETERS, PACKAGE_LINES = 400, 60, 7, 20_000


@dataclass(frozen=True)
class Import:
    """One import: the file and line where it stands, and the whole name of what it names."""

    file: str
    line: int
    name: str


@dataclass(frozen=True)
class Size:
    """Something that was measured: a file, or `file:function`, by its lines or parameters."""

    what: str
    unit: str
    value: int
    limit: int

    @property
    def large(self) -> bool:
        """Whether it is above the size at which one should look."""
        return self.value > self.limit

    def __str__(self) -> str:
        return f"{self.what} {self.unit} {self.value}"


def problems(package: Path = PACKAGE) -> list[str]:
    """Every break of direction, weight and purpose in a package, in the order of its files."""
    found: list[str] = []
    named: dict[str, list[Import]] = {}
    for path in sorted(package.rglob("*.py")):
        file = path.relative_to(package).as_posix()
        tree = parse(path.read_text(encoding="utf-8"))
        if not ast.get_docstring(tree):
            found.append(f"{file}:1: no docstring; it says what the file does and what it does not do")
        if room_of(file) not in ("", *ROOMS):
            found.append(f"{file}:1: {room_of(file)} is no room; the rooms are {', '.join(ROOMS)}")
            continue
        items = list(imports(tree, file, package.name))
        named[module_of(path, package)] = [item for item in items if item.line not in for_types_only(tree)]
        for item in items:
            found += direction(item, package.name) + weight(item)
    return found + cycles(named)


@cache
def parse(text: str) -> ast.Module:
    """The tree of a file's text; each text is parsed once."""
    return ast.parse(text)


def room_of(file: str) -> str:
    """The room of a file by its path inside the package; empty for the package's own `__init__.py`."""
    first = file.split("/")[0].removesuffix(".py")
    return {"__init__": "", "__main__": "cli"}.get(first, first)


def imports(tree: ast.AST, file: str, package: str) -> Iterator[Import]:
    """All imports of a file: at the top, inside functions, relative, and by `import_module` with a plain string."""
    inside = [package, *file.split("/")[:-1]]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Import(file, node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = inside[: len(inside) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            yield from (Import(file, node.lineno, f"{stem}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and called(node) in ("import_module", "__import__"):
            name = node.args[0]
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                yield Import(file, node.lineno, name.value)


def undeclared(package: Path = PACKAGE, project: Path = ROOT / "pyproject.toml") -> list[str]:
    """Imports of libraries that the project does not name for the place: dependencies, and `train`'s for heavy files.

    Libraries of the other extras may be imported inside functions, where their absence can be told.
    """
    declared = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    light = names_of(declared["dependencies"])
    extras = {name: names_of(needed) for name, needed in declared["optional-dependencies"].items()}
    optional = set().union(*(names for name, names in extras.items() if name not in ("train", "dev", "prove")))
    found = []
    for path in sorted(package.rglob("*.py")):
        file = path.relative_to(package).as_posix()
        tree = parse(path.read_text(encoding="utf-8"))
        for item in imports(tree, file, package.name):
            library = item.name.split(".")[0]
            name = PACKAGES.get(library, library).lower().replace("_", "-")
            allowed = light | (extras["train"] if file.startswith(MAY_BE_HEAVY) else set())
            allowed |= set() if item.line in top(tree) else optional
            if library not in sys.stdlib_module_names and library != package.name and name not in allowed:
                found.append(
                    f"{file}:{item.line}: imports {library}; allowed: what pyproject.toml names for this place"
                )
    return sorted(set(found))


def for_types_only(tree: ast.Module) -> set[int]:
    """The lines under `if TYPE_CHECKING:`, which never run."""
    blocks = [node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)]
    return {line for block in blocks for line in range(block.lineno, (block.end_lineno or block.lineno) + 1)}


def top(tree: ast.Module) -> set[int]:
    """The lines of imports that run when a file is imported."""
    return {node.lineno for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)}


def names_of(requirements: list[str]) -> set[str]:
    """The names of packages, as an index spells them."""
    return {re.split(r"[<>=!~;\[ ]", item)[0].lower().replace("_", "-") for item in requirements}


def called(node: ast.Call) -> str:
    """The last word of the name of what is called."""
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def direction(item: Import, package: str) -> list[str]:
    """A problem when an import points to the right."""
    parts = item.name.split(".")
    if parts[0] != package or len(parts) < 2 or parts[1] not in ROOMS:
        return []
    own, other = room_of(item.file), parts[1]
    place = ROOMS.index(own) if own else -1
    if ROOMS.index(other) <= place:
        return []
    allowed = ", ".join(ROOMS[: place + 1]) or "no room"
    return [f"{item.file}:{item.line}: imports {other} from {own or 'the package itself'}; allowed: {allowed}"]


def weight(item: Import) -> list[str]:
    """A problem when a heavy library is imported outside the places named for it."""
    library = item.name.split(".")[0]
    if library not in HEAVY or item.file.startswith(MAY_BE_HEAVY):
        return []
    return [f"{item.file}:{item.line}: imports {library}; allowed in {', '.join(MAY_BE_HEAVY)}"]


def cycles(named: dict[str, list[Import]]) -> list[str]:
    """Modules that import each other in a circle, each circle named once; given the imports of every module."""
    arrows = {}
    for module, items in named.items():
        near = {item.name if item.name in named else item.name.rpartition(".")[0] for item in items}
        arrows[module] = sorted(near & named.keys() - {module})
    found, done = [], set[str]()

    def walk(module: str, trail: tuple[str, ...]) -> None:
        if module in trail:
            circle = trail[trail.index(module) :]
            found.append(f"{' → '.join((*circle, module))}: a circle of imports; allowed: none")
        elif module not in done:
            for other in arrows[module]:
                walk(other, (*trail, module))
            done.add(module)

    for module in sorted(arrows):
        walk(module, ())
    return found


def module_of(path: Path, package: Path) -> str:
    """The dotted name of a file of the package."""
    return ".".join(path.relative_to(package.parent).with_suffix("").parts).removesuffix(".__init__")


def sizes(package: Path = PACKAGE) -> list[Size]:
    """Lines of the whole and of every file; lines (without docstring) and parameters of every function."""
    found = [Size("all", "lines", count_lines(package)[1], PACKAGE_LINES)]
    for path in sorted(package.rglob("*.py")):
        file, text = path.relative_to(package).as_posix(), path.read_text(encoding="utf-8")
        found.append(Size(file, "lines", len(text.splitlines()), FILE_LINES))
        for node in ast.walk(parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found.append(Size(f"{file}:{node.name}", "lines", code_lines(node), FUNCTION_LINES))
                names = [given.arg for given in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
                count = len([name for name in names if name not in ("self", "cls")])
                found.append(Size(f"{file}:{node.name}", "parameters", count, PARAMETERS))
    return found


def code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function less those of its docstring."""
    first = node.body[0]
    documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    spoken = (first.end_lineno or first.lineno) - first.lineno + 1 if documented else 0
    return (node.end_lineno or node.lineno) - node.lineno + 1 - spoken


def too_large(measured: list[Size], allowed: list[str]) -> list[str]:
    """What is large and not on the list of exceptions, has outgrown it, or need no longer be on it."""
    granted = {tuple(line.split()[:2]): int(line.split()[2]) for line in allowed}
    found = []
    for size in measured:
        limit = granted.pop((size.what, size.unit), None)
        if size.large and (limit is None or size.value > limit):
            found.append(f"{size}; allowed: {limit or size.limit}")
        elif limit is not None and not size.large:
            found.append(f"{size}: no longer large; take the line out of large.txt")
    return found + [f"{what} {unit}: no longer there; take the line out of large.txt" for what, unit in granted]


def exceptions() -> list[str]:
    """The lines of the list of what may be large."""
    lines = LARGE.read_text(encoding="utf-8").splitlines() if LARGE.exists() else []
    return [line for line in lines if line and not line.startswith("#")]


def count_lines(folder: Path) -> tuple[int, int]:
    """Files and lines of Python under a folder."""
    texts = [path.read_text(encoding="utf-8") for path in folder.rglob("*.py")]
    return len(texts), sum(len(text.splitlines()) for text in texts)


def main() -> int:
    """Print sizes per room and all problems; 1 when there are any."""
    print(f"{'':12}{'files':>7}{'lines':>8}{'of tests':>10}")
    for room in ROOMS:
        files, lines = count_lines(PACKAGE / room)
        single = PACKAGE / f"{room}.py"
        if single.exists():
            files, lines = 1, len(single.read_text(encoding="utf-8").splitlines())
        print(f"{room:12}{files:7}{lines:8}{count_lines(ROOT / 'tests' / room)[1]:10}")
    files, lines = count_lines(PACKAGE)
    print(f"{'all':12}{files:7}{lines:8}{count_lines(ROOT / 'tests')[1]:10}\n")
    found = problems() + undeclared() + too_large(sizes(), exceptions())
    for problem in found:
        print(problem)
    print(f"{len(found)} problems, {len(exceptions())} granted exceptions of size")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
