"""``cornue serve``: from an offer and an engine to a running service.

What is offered was checked before (``offers``). It holds no rule about requests: that is the application's.
"""

from __future__ import annotations

import os
from pathlib import Path

import uvicorn

from cornue.models.engine import Engine
from cornue.records.errors import BadInput, Refused
from cornue.records.words import words
from cornue.serve.app import create_app
from cornue.serve.settings import Offer, Settings
from cornue.serve.upstream import Elsewhere, OwnEngine, Upstream

LOOPBACK = ("127.0.0.1", "::1", "localhost")
GRACE = 5


def serve(
    offer: Offer,
    settings: Settings,
    upstream: Upstream,
    host: str = "127.0.0.1",
    port: int = 8080,
    certificate: Path | None = None,
    key: Path | None = None,
) -> None:
    """Runs the service until it is told to stop.

    Raises:
        Refused: it would stand open to a network.
    """
    os.environ.setdefault("CORNUE_LANG", offer.language)
    if host not in LOOPBACK and settings.open_to_all:
        raise Refused(
            words(
                en=f"On {host} anybody could ask, without a key.", fr=f"Sur {host}, n'importe qui pourrait demander."
            ),
            words(
                en="Make keys with `cornue access create` and start with --keys-only, or stay on 127.0.0.1.",
                fr="Créez des clés avec `cornue access create` et lancez avec --keys-only, ou restez sur 127.0.0.1.",
            ),
        )
    uvicorn.run(
        create_app(offer, settings, upstream),
        host=host,
        port=port,
        ssl_certfile=certificate,
        ssl_keyfile=key,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        log_level="warning",
        timeout_graceful_shutdown=GRACE,
        timeout_keep_alive=30,
        ws="none",
    )


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
