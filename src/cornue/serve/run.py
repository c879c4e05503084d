"""``cornue serve``: from a pack, a GGUF file or an address to a running service.

The seal is checked before the engine sees a byte; what does not hold is refused by name, or served under a banner where
the administrator insists. It holds no rule about requests: that is the application's.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import uvicorn

from cornue.models.engine import Engine
from cornue.models.gguf_file import read_gguf
from cornue.pack.open import open_pack
from cornue.records.digests import digest_file
from cornue.records.errors import BadInput, CheckFailed, Refused
from cornue.records.words import words
from cornue.seal.keys import KeyRing, trusted_folder
from cornue.seal.sign import verify_folder
from cornue.serve.app import create_app
from cornue.serve.late import LateRegister
from cornue.serve.settings import Offer, Settings
from cornue.serve.upstream import Elsewhere, OwnEngine, Upstream
from cornue.sources.register import Register

LOOPBACK = ("127.0.0.1", "::1", "localhost")
GRACE = 5


def offer_of(
    target: Path,
    sha256: str = "",
    unverified: bool = False,
    table: Path | None = None,
    trusted: Path | None = None,
    signatures: int = 0,
) -> tuple[Offer, Path]:
    """What a pack or a GGUF file offers, and the file that the engine loads.

    Args:
        sha256: the digest that a GGUF file must have; without it the file is unverified.
        unverified: serve it all the same, under a banner that says so.
        table: a register in place of the pack's own.
        trusted: folder of the keys that the administrator trusts; by default this user's.
        signatures: how many of them must have signed the pack; 0 asks for an intact manifest only.

    Raises:
        CheckFailed: a seal or a digest does not hold.
        Refused: nothing vouches for the file, and nobody insisted.
    """
    if target.is_dir():
        offer, file = _from_pack(target, unverified, KeyRing.read(trusted or trusted_folder()), signatures)
    else:
        offer, file = _from_file(target, sha256, unverified)
    read_gguf(file)
    return (replace(offer, table=Register.open(table)) if table else offer), file


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


def _from_pack(folder: Path, unverified: bool, ring: KeyRing, signatures: int) -> tuple[Offer, Path]:
    finding = verify_folder(folder, ring, max(1, signatures))
    fault = finding.reason if finding.value == "false" or (signatures and finding.value != "verified") else ""
    if fault and not unverified:
        raise CheckFailed(
            words(en=f"The seal of {folder} is {finding.value}: {fault}.", fr=f"Sceau de {folder} : {fault}."),
            words(en="Fetch the pack again, or ask its maker.", fr="Récupérez le paquet à nouveau, ou demandez."),
        )
    # The manifest has just been compared with every byte.
    pack = open_pack(folder, check=False)
    facts = pack.facts
    offer = Offer(
        name=facts.name,
        title=facts.title,
        language=facts.language,
        purpose=facts.purpose,
        limits=facts.limits,
        contact=facts.contact,
        licence=facts.licence,
        attribution=facts.attribution,
        model_digest=facts.model_digest,
        table=LateRegister(folder / facts.table, facts.table_digest) if facts.table else None,
        folder=folder,
        seal=f"{finding.value}: {finding.reason}",
        unverified=fault,
    )
    return offer, pack.served_file


def _from_file(path: Path, sha256: str, unverified: bool) -> tuple[Offer, Path]:
    if not path.is_file():
        raise BadInput(f"There is neither a pack nor a GGUF file at {path}.", "Check the path.")
    digest = digest_file(path)
    wanted = sha256 if not sha256 or sha256.startswith("sha256:") else "sha256:" + sha256
    fault = ""
    if wanted and digest != wanted.lower():
        fault = words(en=f"{path.name} has the digest {digest}.", fr=f"{path.name} a l'empreinte {digest}.")
        if not unverified:
            raise CheckFailed(fault, words(en="Fetch the file again.", fr="Récupérez le fichier à nouveau."))
    if not wanted:
        fault = words(en=f"nothing vouches for {path.name}.", fr=f"rien ne garantit {path.name}.")
        if not unverified:
            remedy = words(
                en="Name its digest with --sha256, or insist with --unverified.", fr="Donnez --sha256, ou --unverified."
            )
            raise Refused(fault, remedy)
    return Offer(name=path.stem, title=path.stem, language="en", model_digest=digest, unverified=fault), path
