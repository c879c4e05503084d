"""Signs a pack with the institution's key. Which key that is, a recipe says, or there is only one."""

from __future__ import annotations

import os
from pathlib import Path

from cornue.records.errors import BadInput
from cornue.records.words import words
from cornue.seal.keys import PASSPHRASE, key_folder, read_key
from cornue.seal.sign import sign_folder


def sign_pack(pack: Path, wanted: str = "") -> str:
    """Sign a pack; returns a sentence for people where there is no key to sign with, and nothing otherwise.

    Args:
        wanted: name of the key; empty takes the only one there is.

    Raises:
        BadInput: the key is not there, or there are several and none is named.
    """
    found = sorted(path for path in key_folder().glob("*.pem") if not path.name.endswith(".pub.pem"))
    if not wanted and not found:
        return words(
            en="not signed: `cornue keys new NAME` makes a key",
            fr="non signé : `cornue keys new NOM` crée une clé",
        )
    if not wanted and len(found) > 1:
        raise BadInput(
            words(
                en=f"There are {len(found)} keys, and the recipe does not say which one signs.",
                fr=f"Il y a {len(found)} clés, et la recette ne dit pas laquelle signe.",
            ),
            words(en='Write key = "NAME" in [pack].', fr='Écrivez key = "NOM" dans [pack].'),
        )
    path = key_folder() / f"{wanted}.pem" if wanted else found[0]
    sign_folder(pack, read_key(path, os.environ.get(PASSPHRASE, "")))
    return ""
