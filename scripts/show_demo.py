"""After a demo: say where things lie, put five questions to the model that came out, and tell what was recorded before.

    python scripts/show_demo.py recipes/communes.toml
    python scripts/show_demo.py --recorded

It reads the newest finished run of the recipe and asks through `cornue chat`. It judges nothing; the figures of the run
are in its report, and those that take longer than a demo in `docs/results/`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CORNUE = Path(sys.executable).with_name("cornue")
QUESTIONS = (
    "Combien de communes du Morbihan ont plus de 10 000 habitants ?",
    "Quel est le code postal de Quimperlé ?",
    "Quelles sont les trois communes les plus peuplées de la Creuse ?",
    "lannion combien d'habitants",
    "Quel temps fera-t-il demain à Rennes ?",
)


# What a demo does not measure itself: the result, the figure of it, what it says.
RECORDED = (
    ("bench-communes", "ratio", "a right answer costs {:.2f} of the teacher's core-seconds"),
    ("bench-worth", "sentence", "{}"),
)


def recorded() -> None:
    """Tell what was measured before, elsewhere or in another run, and what was not."""
    for name, figure, told in RECORDED:
        path = ROOT / "docs" / "results" / f"{name}.json"
        if path.exists():
            result = json.loads(path.read_text(encoding="utf-8"))
            print(f"Recorded on {result['date'][:10]} (make {name}): {told.format(result['figures'][figure])}")
        else:
            print(f"Not run: make {name}")


def main(recipe: str) -> int:
    """Show the newest run of a recipe; 1 when there is none or an answer cannot be had."""
    name = tomllib.loads(Path(recipe).read_text(encoding="utf-8"))["recipe"]["name"]
    packs = sorted((ROOT / "runs").glob(f"{name}-*/6-pack/manifest.json"), key=lambda path: path.stat().st_mtime)
    # Another recipe's name may begin with this one's; a digest holds no hyphen.
    packs = [path for path in packs if "-" not in path.parent.parent.name.removeprefix(f"{name}-")]
    if not packs:
        print(f"There is no finished run of {recipe}. Run `cornue run {recipe}` first.", file=sys.stderr)
        return 1
    pack = packs[-1].parent
    run = pack.parent
    shown = pack.relative_to(ROOT)
    print(f"\nThe model     {shown}\nThe report    {run.relative_to(ROOT) / 'report.html'}")
    print(f"What it cost  {run.relative_to(ROOT) / 'ledger.jsonl'}\n")
    for question in QUESTIONS:
        print(f"› {question}", flush=True)
        if subprocess.run([str(CORNUE), "chat", str(pack), "--ask", question], check=False).returncode:
            return 1
        print()
    recorded()
    print(f"\nAsk your own:             .venv/bin/cornue chat {shown}")
    print(f"With a register of yours: .venv/bin/cornue chat {shown} --table FILE.csv")
    return 0


if __name__ == "__main__":
    if sys.argv[1] == "--recorded":
        recorded()
    else:
        sys.exit(main(sys.argv[1]))
