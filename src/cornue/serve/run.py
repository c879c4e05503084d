"""``cornue serve``: from an offer and an engine to a running service.

What is offered was checked before (``offers``). It holds no rule about requests: that is the application's.
"""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

import uvicorn

from cornue.models.engine import Engine
from cornue.records.errors import BadInput, CheckFailed, Refused
from cornue.records.words import words
from cornue.serve.app import create_app
from cornue.serve.seen import Seen
from cornue.serve.settings import Launch, Offer, Settings
from cornue.serve.upstream import Elsewhere, OwnEngine, Upstream

LOOPBACK = ("127.0.0.1", "::1", "localhost")
GRACE = 5
STARTUP_FAILED = 3


def serve(
    offer: Offer,
    settings: Settings,
    upstream: Upstream,
    launch: Launch,
    seen: Seen | None = None,
) -> None:
    """Runs the service until it is told to stop.

    Args:
        seen: what was not read at the start is read while the service runs.

    Raises:
        Refused: it would stand open to a network.
        CheckFailed: a file is not what it was when it was checked.
    """
    os.environ.setdefault("CORNUE_LANG", offer.language)
    if launch.host not in LOOPBACK and settings.open_to_all:
        raise Refused(
            words(
                en=f"On {launch.host} anybody could ask, without a key.",
                fr=f"Sur {launch.host}, n'importe qui pourrait demander.",
            ),
            words(
                en="Make keys with `cornue access create` and start with --keys-only, or stay on 127.0.0.1.",
                fr="Créez des clés avec `cornue access create` et lancez avec --keys-only, ou restez sur 127.0.0.1.",
            ),
        )
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(offer, settings, upstream),
            host=launch.host,
            port=launch.port,
            ssl_certfile=launch.certificate,
            ssl_keyfile=launch.key,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            log_level="warning",
            timeout_graceful_shutdown=GRACE,
            timeout_keep_alive=30,
            ws="none",
        )
    )
    if altered := _run(server, seen):
        raise CheckFailed(
            words(en=f"{altered} is no longer what was checked.", fr=f"{altered} n'est plus ce qui a été vérifié."),
            words(en="Fetch the pack again, or ask its maker.", fr="Récupérez le paquet à nouveau, ou demandez."),
        )
    if not server.started:
        raise SystemExit(STARTUP_FAILED)


def _run(server: uvicorn.Server, seen: Seen | None) -> Path | None:
    """Runs a server to its end; returns the file that differs, if it ended for that."""
    altered: list[Path] = []

    def read_again(before: Seen) -> None:
        if file := before.read_again():
            altered.append(file)
            server.should_exit = True

    if seen and seen.trusted:
        threading.Thread(target=read_again, args=(seen,), daemon=True).start()
    # uvicorn raises it once more when all is closed.
    with contextlib.suppress(KeyboardInterrupt):
        server.run()
    return altered[0] if altered else None


def own_engine(file: Path, settings: Settings, threads: int | None = None) -> Upstream:
    """The engine for a GGUF file."""
    return OwnEngine(Engine(file, slots=settings.slots, context=settings.context, threads=threads))


def elsewhere(url: str, key_env: str = "", model: str = "", salts: bool = False) -> Upstream:
    """The engine at an address; its key comes from the environment.

    Raises:
        BadInput: the variable is not set.
    """
    if key_env and key_env not in os.environ:
        raise BadInput(f"The variable {key_env} is not set.", f"export {key_env}=…")
    return Elsewhere(url, os.environ.get(key_env, "") if key_env else "", model, salts)
