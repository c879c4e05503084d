"""``cornue access``: keys for people and programs, and the offline check of receipts.

Works on the data folder of a service, also while it runs. A key's secret is printed once, on standard output.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from cornue.records.errors import BadInput, CheckFailed
from cornue.records.words import words
from cornue.seal.keys import read_public_key
from cornue.serve.keys import Keys, Role
from cornue.serve.receipts import Problem, check_export, check_receipt
from cornue.serve.settings import DATA
from cornue.serve.store import open_store

app = typer.Typer(
    no_args_is_help=True, help=words(en="Who may use a served model.", fr="Qui peut utiliser un modèle servi.")
)
Data = Annotated[Path, typer.Option("--data", help="Folder of the service's records.", envvar="CORNUE_DATA")]
Database = Annotated[str, typer.Option("--database", help="postgresql://…, if not SQLite.", envvar="CORNUE_DATABASE")]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What the key is for; not a person's name.")],
    role: Annotated[Role, typer.Option(help="user, auditor or admin.")] = "user",
    days: Annotated[float | None, typer.Option(help="Days until it expires.")] = None,
    requests_per_minute: Annotated[int, typer.Option(help="0: the service's limit.")] = 0,
    tokens_per_day: Annotated[int, typer.Option(help="0: the service's quota.")] = 0,
    data: Data = DATA,
    database: Database = "",
) -> None:
    """Make a key and print it, this once."""
    _, text = _keys(data, database).create(name, role, days, requests_per_minute, tokens_per_day)
    print(text)


@app.command("list")
def list_keys(data: Data = DATA, database: Database = "") -> None:
    """Show all keys, without their secrets."""
    now = time.time()
    for key in _keys(data, database).all():
        until = time.strftime("%Y-%m-%d", time.gmtime(key.expires)) if key.expires else "-"
        print(f"{key.id}  {key.state(now):8} {key.role:8} {until:10}  {key.name}")


@app.command()
def revoke(
    identity: Annotated[str, typer.Argument(help="The key or its id.")], data: Data = DATA, database: Database = ""
) -> None:
    """End a key at once."""
    _keys(data, database).revoke(identity)


@app.command()
def check(
    path: Annotated[Path, typer.Argument(help="A receipt with its proof (JSON), or an export (JSON lines).")],
    key: Annotated[Path, typer.Option(help="The service's public key, from its record page.")],
) -> None:
    """Check receipts offline."""
    problems = check_file(path, key)
    if problems:
        first = problems[0]
        raise CheckFailed(f"{path}: {first.sentence} (receipt {first.place}; {len(problems)} findings in all)")
    print(words(en="All receipts hold.", fr="Tous les reçus sont en ordre."))


def check_file(path: Path, key: Path) -> list[Problem]:
    """What does not hold in a receipt or an export.

    Raises:
        BadInput: a file is missing or is something else.
    """
    try:
        public = read_public_key(key)
        text = path.read_text(encoding="utf-8")
        whole: Any = json.loads(text) if text.lstrip().startswith("{") and text.count("\n{") == 0 else None
        if isinstance(whole, dict) and "proof" in whole:
            return check_receipt(whole, public)
        return check_export(text.splitlines(), public)
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise BadInput(f"{path} holds no receipts that can be read: {error!r}.") from error


def _keys(data: Path, database: str) -> Keys:
    return Keys(open_store(data, database))
