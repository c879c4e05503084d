"""``cornue serve`` on the command line: what is asked for often is an option, all else stands in one TOML file.

It reads words and values; what they mean is written at ``Settings``, ``SignIn`` and ``Launch``.
"""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic import TypeAdapter, ValidationError

from cornue.records.errors import BadInput
from cornue.records.words import words
from cornue.serve.seen import Seen
from cornue.serve.settings import DATA, Launch, Offer, Settings, SignIn

T = TypeVar("T")


def serve_command(
    target: Annotated[Path | None, typer.Argument(help="A pack, or a GGUF file.")] = None,
    upstream: Annotated[str, typer.Option(help="Address of an OpenAI-compatible server that writes the answers.")] = "",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 0,
    data: Annotated[Path, typer.Option(help="Folder of keys, receipts and contests.", envvar="CORNUE_DATA")] = DATA,
    settings: Annotated[Path | None, typer.Option(help="TOML file with all other settings.")] = None,
    keys_only: Annotated[bool, typer.Option("--keys-only", help="Nobody asks without a key.")] = False,
    unverified: Annotated[bool, typer.Option("--unverified", help="Serve what fails its check, and say so.")] = False,
) -> None:
    """Offer a model to people and programs: a page, an API, a receipt for every answer."""
    chosen, launch = read_settings(settings, data)
    chosen = replace(chosen, open_to_all=chosen.open_to_all and not keys_only)
    launch = replace(launch, host=host or launch.host, port=port or launch.port, upstream=upstream or launch.upstream)
    chosen = replace(chosen, https=chosen.https or launch.certificate is not None)
    seen = Seen(chosen.data)
    offer, file = Offer(launch.upstream_model or "model"), Path()
    if target:
        from cornue.serve.offers import offer_of, while_loading

        seal = (launch.sha256, unverified, launch.table, launch.trusted, launch.signatures, seen)
        offer, file = while_loading(partial(offer_of, target, *seal))
    elif not launch.upstream:
        raise BadInput("There is nothing to serve.", "Name a pack or a GGUF file, or an address with --upstream.")
    from cornue.serve.run import elsewhere, own_engine, serve

    if launch.upstream:
        engine = elsewhere(launch.upstream, launch.upstream_key_env, launch.upstream_model, launch.upstream_salts)
        fault = words(en="the model runs elsewhere.", fr="le modèle tourne ailleurs.")
        offer = replace(offer, unverified=fault)
    else:
        engine = own_engine(file, chosen, launch.threads)
    shown = f"{'https' if chosen.https else 'http'}://{launch.host}:{launch.port}/"
    typer.echo(words(en=f"{offer.title or offer.name}: {shown}", fr=f"{offer.title or offer.name} : {shown}"), err=True)
    offer = replace(offer, contact=launch.contact or offer.contact, examples=launch.examples)
    serve(offer, chosen, engine, launch, seen)


def read_settings(path: Path | None, data: Path) -> tuple[Settings, Launch]:
    """Settings from a TOML file, or the defaults.

    Raises:
        BadInput: the file cannot be read, or says something that is not known.
    """
    try:
        said: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8")) if path else {}
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} cannot be read as TOML: {error}.") from None
    sign_in = _make(SignIn, said.pop("sign_in", {}), "sign_in.")
    of_launch = {field.name for field in fields(Launch)}
    launch = _make(Launch, {name: said.pop(name) for name in list(said) if name in of_launch}, "")
    settings = _make(Settings, {"data": data, **said}, "", of_launch | {"sign_in"})
    return replace(settings, sign_in=sign_in), launch


def _make(kind: type[T], said: dict[str, Any], where: str, also: set[str] | None = None) -> T:
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    for name in said:
        if name not in known:
            near = difflib.get_close_matches(name, known | (also or set()), n=1)
            raise BadInput(f"Unknown setting “{where}{name}”.", f"Did you mean “{near[0]}”?" if near else "")
    try:
        return TypeAdapter(kind).validate_python(said)
    except ValidationError as error:
        first = error.errors()[0]
        raise BadInput(f"“{where}{first['loc'][0]}” is {first['input']!r}: {first['msg']}.") from None
