"""The rules at the door of an endpoint: where prompts may go, and how a key may travel.

It looks at the address and at the environment; it sends nothing and keeps nothing.
"""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from cornue.records.errors import BadInput, Refused
from cornue.records.words import words

LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})


def check_door(url: str, key_env: str, remote_allowed: bool) -> bool:
    """Whether the URL leads out of this machine.

    Raises:
        BadInput: the URL or the key's variable cannot be used.
        Refused: it leads out, and that is not allowed.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password or parts.query:
        raise BadInput(
            words(
                en="teacher.url is no plain http(s) address without user, password and question mark.",
                fr="teacher.url n'est pas une adresse http(s) simple, sans utilisateur, mot de passe ni interrogation.",
            ),
            words(en="Write it as https://host/v1.", fr="Écrivez-la comme https://hote/v1."),
        )
    remote = parts.hostname not in LOCAL
    if remote and not remote_allowed:
        raise Refused(
            words(
                en=f"The teacher at {parts.hostname} is not on this machine, and prompts may not leave it.",
                fr=f"L'enseignant sur {parts.hostname} n'est pas sur cette machine, et rien ne doit en sortir.",
            ),
            words(
                en="If they may, write teacher.remote_allowed = true.",
                fr="Si c'est permis, écrivez teacher.remote_allowed = true.",
            ),
        )
    if remote and key_env and parts.scheme == "http":
        raise Refused(
            words(en="A key would travel unencrypted.", fr="Une clé voyagerait en clair."),
            words(en="Use an https address.", fr="Utilisez une adresse https."),
        )
    read_key(key_env)
    return remote


def read_key(key_env: str) -> str:
    """The key in an environment variable; empty where no variable is named.

    Raises:
        BadInput: there is none, or it could not travel in a header; its value is not told.
    """
    if not key_env:
        return ""
    key = os.environ.get(key_env, "").strip()
    if not key:
        raise BadInput(
            words(en=f"The variable {key_env} is not set.", fr=f"La variable {key_env} n'est pas définie."),
            words(en=f"Set it to the key: export {key_env}=…", fr=f"Mettez-y la clé : export {key_env}=…"),
        )
    if not key.isascii() or not key.isprintable() or " " in key:
        raise BadInput(
            words(
                en=f"What {key_env} holds is no key: it has spaces, line breaks or accents in it.",
                fr=f"Ce que contient {key_env} n'est pas une clé : il s'y trouve espaces, retours ou accents.",
            ),
            words(en="Copy the key again.", fr="Copiez la clé à nouveau."),
        )
    return key


def without(text: str, key: str) -> str:
    """A text of the endpoint without the key, which some endpoints repeat."""
    return text.replace(key, "…") if key else text
