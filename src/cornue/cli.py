"""The command line: words and exit codes; everything else lies in the rooms.

Results go to standard output (``--json`` for programs), progress and hints to standard error, in French or English by
the user's locale. Every command imports what it needs when it is called, so that ``--help`` is quick.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cornue.records.errors import BadInput, CornueError
from cornue.records.words import words

if TYPE_CHECKING:
    from cornue.job import Asking

app = typer.Typer(
    name="cornue",
    help="Distil a large language model into a small one that you own, can check and can serve.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
keys = typer.Typer(help="The institution's signing keys.", no_args_is_help=True)
app.add_typer(keys, name="keys")

RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="The recipe, a TOML file.")]
PackPath = Annotated[Path, typer.Argument(metavar="PACK", help="The folder of a sealed model.")]
Runs = Annotated[Path, typer.Option("--runs", help="Where the folders of runs lie.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Ask the teacher again instead of using a finished capture.")]
Missing = Annotated[bool, typer.Option("--missing", help="Ask the teacher only what a finished capture lacks.")]
TableFile = Annotated[Path | None, typer.Option("--table", metavar="FILE", help="A register in place of the pack's.")]


def main() -> None:
    """Run the command line; errors become a sentence and an exit code."""
    debug = "--debug" in sys.argv
    sys.argv = [word for word in sys.argv if word != "--debug"]
    load_rooms(sys.argv[1:2])
    try:
        app(standalone_mode=True)
    except CornueError as error:
        if debug:
            traceback.print_exc()
        print(words(en=f"Error: {error}", fr=f"Erreur : {error}"), file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        hint = words(
            en="Stopped. Run the same command to go on.", fr="Arrêté. Relancez la même commande pour continuer."
        )
        print(f"\n{hint}", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        # The reader went away (``| head``); closing quietly is what it expects.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _asking(fresh: bool, missing: bool) -> Asking:
    return "all" if fresh else "missing" if missing else "never"


def _journey(recipe: Path, until: str, runs: Path, ask: Asking, as_json: bool) -> Path:
    from cornue.pipeline import run
    from cornue.screen import Screen

    with Screen() as screen:
        folder = run(recipe, until=until, runs=runs, ask=ask, progress=screen)
    if as_json:
        print(json.dumps({"run": str(folder)}))
    return folder


@app.command()
def plan(recipe: RecipePath, as_json: Json = False, fresh: Fresh = False) -> None:
    """Spend nothing: check files, vocabularies, licences, and say what to expect."""
    from cornue.plan import make_plan, show_plan

    found = make_plan(recipe, _asking(fresh, False))
    print(json.dumps(found, ensure_ascii=False, indent=2) if as_json else show_plan(found))


@app.command()
def doctor(recipe: RecipePath, as_json: Json = False) -> None:
    """Prove in about a minute that objectives, masks, templates and verifiers are right."""
    from cornue.doctor import examine, show

    findings = examine(recipe)
    print(json.dumps(findings, ensure_ascii=False, indent=2) if as_json else show(findings))
    if any(finding["value"] == "failed" for finding in findings):
        raise typer.Exit(1)


@app.command()
def questions(
    recipe: RecipePath,
    documents: Annotated[Path, typer.Argument(metavar="DOCUMENTS", help="Text, Markdown or HTML, or a folder of it.")],
    out: Annotated[Path, typer.Argument(metavar="FILE", help="The prompts to be written (.jsonl).")],
    per_passage: Annotated[int, typer.Option("--per-passage", min=1, max=20, help="Questions for each passage.")] = 3,
    as_json: Json = False,
) -> None:
    """Let the recipe's teacher write the questions that people would ask about documents."""
    from cornue.capture.questions import questions_for
    from cornue.records.recipe import read_recipe
    from cornue.screen import Screen

    with Screen() as screen:
        found = questions_for(read_recipe(recipe), recipe.parent, documents, out, per_passage, screen)
    told = {"prompts": len(found.prompts), "left_out": dict(found.left_out), "capture": found.capture.digest}
    print(json.dumps(told, ensure_ascii=False) if as_json else f"{out}: {told['prompts']} ({told['left_out']})")


def _step(name: str, until: str, help_text: str) -> None:
    """A command that goes on the journey up to a step, with the steps before it."""

    def command(
        recipe: RecipePath,
        runs: Runs = Path("runs"),
        fresh: Fresh = False,
        missing: Missing = False,
        as_json: Json = False,
    ) -> None:
        folder = _journey(recipe, until, runs, _asking(fresh, missing), as_json)
        if as_json:
            return
        from cornue.screen import conclude

        print(conclude(folder) if name == "run" else folder)

    command.__doc__ = help_text
    app.command(name)(command)


_step("run", "pack", "Run the whole journey; stop it at any time, run it again, it goes on.")
_step("capture", "capture", "Ask the teacher, once.")
_step("verify", "verify", "Judge the teacher's answers.")
_step("curate", "curate", "Choose what the student learns from.")
_step("train", "train", "Train the student.")
_step("evaluate", "evaluate", "Measure teacher, start and student side by side.")
_step("pack", "pack", "Gather what is published.")


@app.command()
def audit(pack: PackPath, as_json: Json = False) -> None:
    """Check the claims of a sealed model, offline, trusting only your own keys."""
    from cornue.audit.check import check_pack, show_findings

    findings = check_pack(pack)
    if as_json:
        print(json.dumps([finding.model_dump() for finding in findings], ensure_ascii=False, indent=2))
    else:
        print(show_findings(findings))
    if any(finding.value == "false" for finding in findings):
        raise typer.Exit(1)


@app.command()
def chat(
    pack: PackPath,
    ask: Annotated[str, typer.Option(help="One question; without it, a conversation.")] = "",
    table: TableFile = None,
    as_json: Json = False,
) -> None:
    """Ask a sealed model in the terminal; the query is run and its rows are shown."""
    from cornue.serve.terminal import Terminal

    if as_json and not ask:
        raise BadInput(words(en="--json needs a question: --ask “…”.", fr="--json demande une question : --ask « … »."))
    with Terminal(pack, table) as terminal:
        if ask:
            terminal.answer(ask, as_json)
            return
        terminal.converse()


@app.command()
def publish(
    folder: Annotated[Path, typer.Argument(help="A finished capture or pack.")],
    shared: Annotated[Path, typer.Argument(help="The shared folder.")],
    name: Annotated[str, typer.Option(help="A name under which others find it.")] = "",
    key: Annotated[str, typer.Option(help="Name of the key that signs; the only one there is, if not given.")] = "",
    personal_data: Annotated[bool, typer.Option("--personal-data", help="Publish personal data all the same.")] = False,
) -> None:
    """Sign a capture or a pack and put it into a shared folder."""
    from cornue.capture.run import require_no_identifiers
    from cornue.pack.sign import sign_pack
    from cornue.seal.manifest import require_manifest
    from cornue.seal.share import publish as publish_folder

    if require_manifest(folder).kind == "capture" and not personal_data:
        require_no_identifiers(folder)
    if unsigned := sign_pack(folder, key):
        print(unsigned, file=sys.stderr)
    print(publish_folder(folder, shared, name))


@app.command()
def pull(
    wanted: Annotated[str, typer.Argument(help="A digest or a name.")],
    shared: Annotated[Path, typer.Argument(help="The shared folder.")],
    into: Annotated[Path, typer.Argument(help="Where to put it.")] = Path(),
) -> None:
    """Fetch a capture or a pack from a shared folder, and check it."""
    from cornue.seal.share import pull as pull_folder

    print(pull_folder(wanted, shared, into))


@app.command()
def uses(
    capture: Annotated[Path, typer.Argument(help="A finished capture.")],
    folder: Annotated[Path, typer.Argument(help="Where packs lie, at any depth.")] = Path("runs"),
    as_json: Json = False,
) -> None:
    """Count the packs at hand that learnt from a capture."""
    from cornue.capture.reader import open_capture
    from cornue.pack.reuse import cost_of_answers, packs_from

    found = open_capture(capture)
    packs = [str(pack) for pack in packs_from(found.digest, folder)]
    told = {"capture": found.digest, "packs": packs, "kwh": cost_of_answers(found.about)}
    if as_json:
        print(json.dumps(told))
        return
    for pack in packs:
        print(pack)
    print(words(en=f"{len(packs)} packs name {found.digest}", fr=f"{len(packs)} packs nomment {found.digest}"))


@keys.command("new")
def new(name: Annotated[str, typer.Argument(help="Name of the institution.")]) -> None:
    """Make a signing key; its passphrase, if any, is read from CORNUE_KEY_PASSPHRASE."""
    from cornue.seal.keys import PASSPHRASE, key_folder, new_key

    key = new_key(key_folder() / f"{name}.pem", os.environ.get(PASSPHRASE, ""))
    print(key.public.fingerprint)


@keys.command("show")
def show() -> None:
    """Show your own keys and those that you trust."""
    from cornue.seal.keys import key_folder, read_public_key, trusted_folder

    for folder in (key_folder(), trusted_folder()):
        for path in sorted(folder.glob("*.pub.pem")):
            print(f"{read_public_key(path).fingerprint}  {path}")


def load_rooms(wanted: Collection[str]) -> None:
    """Commands that live in a room: the wanted ones are loaded, the others only named, since imports take time."""
    if "serve" in wanted:
        from cornue.serve.command import serve_command

        app.command("serve")(serve_command)
    else:
        app.add_typer(
            typer.Typer(), name="serve", help="Offer a sealed model: an OpenAI-compatible API and a chat page."
        )
    if "access" in wanted:
        from cornue.serve.access_cli import app as access

        app.add_typer(access, name="access")
    else:
        app.add_typer(typer.Typer(), name="access", help="Who may use a served model: keys, roles, quotas.")


if __name__ == "__main__":
    main()
