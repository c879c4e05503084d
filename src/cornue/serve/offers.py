"""What a pack or a GGUF file offers, once its seal has been checked.

The seal is checked before the engine sees a byte (``seen`` says which files need not be read again for that); what does
not hold is refused by name, or served under a banner where the administrator insists. It loads little, so that it can
check while the service loads the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from cornue.models.gguf_file import read_gguf
from cornue.pack.open import open_pack
from cornue.records.digests import digest_file
from cornue.records.errors import BadInput, CheckFailed, Refused
from cornue.records.words import words
from cornue.seal.keys import KeyRing, trusted_folder
from cornue.seal.manifest import Digest
from cornue.seal.sign import verify_folder
from cornue.serve.late import LateRegister
from cornue.serve.seen import Seen
from cornue.serve.settings import Offer
from cornue.sources.register import Register

T = TypeVar("T")


def offer_of(
    target: Path,
    sha256: str = "",
    unverified: bool = False,
    table: Path | None = None,
    trusted: Path | None = None,
    signatures: int = 0,
    seen: Seen | None = None,
) -> tuple[Offer, Path]:
    """What a pack or a GGUF file offers, and the file that the engine loads.

    Args:
        sha256: the digest that a GGUF file must have; without it the file is unverified.
        unverified: serve it all the same, under a banner that says so.
        table: a register in place of the pack's own.
        trusted: folder of the keys that the administrator trusts; by default this user's.
        signatures: how many of them must have signed the pack; 0 asks for an intact manifest only.
        seen: what was read before and need not be read again now.

    Raises:
        CheckFailed: a seal or a digest does not hold.
        Refused: nothing vouches for the file, and nobody insisted.
    """
    digest_of = seen.digest if seen else digest_file
    if target.is_dir():
        ring = KeyRing.read(trusted or trusted_folder())
        offer, file = _from_pack(target, unverified, ring, signatures, digest_of)
    else:
        offer, file = _from_file(target, sha256, unverified, digest_of)
    read_gguf(file)
    if seen and not offer.unverified:
        seen.keep()
    return (replace(offer, table=Register.open(table)) if table else offer), file


def while_loading(work: Callable[[], T]) -> T:
    """What some work gives that needs little; the service's modules are imported meanwhile, so that it is up sooner."""
    with ThreadPoolExecutor(max_workers=1) as aside:
        found = aside.submit(work)
        import cornue.serve.run  # noqa: F401

        return found.result()


def _from_pack(folder: Path, unverified: bool, ring: KeyRing, signatures: int, digest_of: Digest) -> tuple[Offer, Path]:
    finding = verify_folder(folder, ring, max(1, signatures), digest_of)
    fault = finding.reason if finding.value == "false" or (signatures and finding.value != "verified") else ""
    if fault and not unverified:
        raise CheckFailed(
            words(en=f"The seal of {folder} is {finding.value}: {fault}.", fr=f"Sceau de {folder} : {fault}."),
            words(en="Fetch the pack again, or ask its maker.", fr="Récupérez le paquet à nouveau, ou demandez."),
        )
    # Every file has just been compared with the manifest.
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


def _from_file(path: Path, sha256: str, unverified: bool, digest_of: Digest) -> tuple[Offer, Path]:
    if not path.is_file():
        raise BadInput(f"There is neither a pack nor a GGUF file at {path}.", "Check the path.")
    digest = digest_of(path)
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
