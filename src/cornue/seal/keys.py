"""An institution's signing key, and the ring of public keys that a reader trusts.

Keys are ECDSA on the curve P-256; signatures are deterministic (RFC 6979), so that the same key and bytes give the same
signature. A private key lies in a PEM file that only its owner may read, encrypted where a passphrase is given. Trust
comes from the reader's own ring, never from what is being read.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cornue.records.digests import digest_bytes
from cornue.records.errors import BadInput
from cornue.records.words import words
from cornue.seal.write import AnyPath, write_bytes, write_text

PASSPHRASE = "CORNUE_KEY_PASSPHRASE"
REVOKED = "revoked.txt"
ECDSA = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)


class PublicKey:
    """A public key with the name under which its reader knows it."""

    def __init__(self, name: str, key: ec.EllipticCurvePublicKey) -> None:
        self.name = name
        self._key = key

    @property
    def pem(self) -> bytes:
        """The key as SubjectPublicKeyInfo in PEM."""
        return self._key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    @property
    def fingerprint(self) -> str:
        """The digest of the key as SubjectPublicKeyInfo in DER: what people compare by telephone."""
        spki = self._key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        return digest_bytes(spki)

    @property
    def hint(self) -> str:
        """What signature files say of their key: hex SHA-256 of the PEM (OpenSSF Model Signing)."""
        return hashlib.sha256(self.pem).hexdigest()

    def accepts(self, signature: bytes, data: bytes) -> bool:
        """Whether a signature (DER) of this key belongs to the data."""
        try:
            self._key.verify(signature, data, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True


class SigningKey:
    """A private key in memory."""

    def __init__(self, name: str, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        self.public = PublicKey(name, key.public_key())

    def sign(self, data: bytes) -> bytes:
        """The signature of some bytes, in DER."""
        return self._key.sign(data, ECDSA)


class KeyRing:
    """The public keys that a reader trusts, and those that were revoked."""

    def __init__(self, keys: Iterable[PublicKey] = (), revoked: Iterable[str] = ()) -> None:
        self.keys = tuple(keys)
        self.revoked = frozenset(revoked)

    @staticmethod
    def read(folder: AnyPath) -> KeyRing:
        """The ring in a folder: one ``<name>.pem`` per key; ``revoked.txt`` lists fingerprints, one a line.

        A folder that does not exist is an empty ring.

        Raises:
            BadInput: a file is not a P-256 public key.
        """
        root = Path(folder)
        keys = [read_public_key(path) for path in sorted(root.glob("*.pem"))]
        listed = (root / REVOKED).read_text(encoding="utf-8") if (root / REVOKED).is_file() else ""
        return KeyRing(keys, re.findall(r"^sha256:[0-9a-f]{64}", listed, flags=re.MULTILINE))

    def find(self, hint: str) -> PublicKey | None:
        """The key that a signature file hints at."""
        return next((key for key in self.keys if key.hint == hint), None)


def key_folder() -> Path:
    """Where this user's keys lie: ``CORNUE_KEYS``, or ``cornue/keys`` in the user's configuration."""
    said = os.environ.get("CORNUE_KEYS")
    if said:
        return Path(said)
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "cornue" / "keys"


def trusted_folder() -> Path:
    """Where the keys that this user trusts lie."""
    return key_folder() / "trusted"


def new_key(path: AnyPath, passphrase: str = "") -> SigningKey:
    """Make a key and write it: the private one to ``path`` (0600), the public one beside it, ending in ``.pub.pem``.

    Raises:
        BadInput: there is a key already; an institution's key is never overwritten.
    """
    target = Path(path)
    if target.exists():
        raise BadInput(
            words(en=f"there is a key already at {target}", fr=f"il y a déjà une clé à {target}"),
            words(
                en="keep it: what was signed with it needs it; or give the new key another name",
                fr="gardez-la : ce qu'elle a signé en dépend ; ou donnez un autre nom à la nouvelle",
            ),
        )
    private = ec.generate_private_key(ec.SECP256R1())
    secret = serialization.BestAvailableEncryption(passphrase.encode()) if passphrase else serialization.NoEncryption()
    pem = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, secret)
    write_bytes(target, pem, mode=0o600)
    key = SigningKey(target.stem, private)
    write_text(target.with_suffix(".pub.pem"), key.public.pem.decode())
    return key


def read_key(path: AnyPath, passphrase: str = "") -> SigningKey:
    """A private key from its PEM file.

    Raises:
        BadInput: it is missing, open to others, no P-256 key, or needs another passphrase. No message holds any of it.
    """
    source = Path(path)
    if not source.is_file():
        raise BadInput(
            words(en=f"there is no key at {source}", fr=f"il n'y a pas de clé à {source}"),
            words(en="make one: cornue keys new", fr="créez-en une : cornue keys new"),
        )
    if source.stat().st_mode & 0o077:
        raise BadInput(
            words(en=f"the key {source} can be read by others", fr=f"la clé {source} est lisible par d'autres"),
            f"chmod 600 {source}",
        )
    try:
        secret = passphrase.encode() if passphrase else None
        key = serialization.load_pem_private_key(source.read_bytes(), secret)
    except TypeError:
        raise _passphrase_error(source, bool(passphrase)) from None
    except ValueError:
        raise _passphrase_error(source, False) if passphrase else _no_key(source) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise _no_key(source)
    return SigningKey(source.stem, key)


def read_public_key(path: AnyPath) -> PublicKey:
    """A public key from its PEM file; its name is the file's.

    Raises:
        BadInput: it is missing or no P-256 key.
    """
    source = Path(path)
    try:
        key = serialization.load_pem_public_key(source.read_bytes())
    except (OSError, ValueError):
        raise _no_key(source) from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise _no_key(source)
    return PublicKey(source.name.removesuffix(".pem").removesuffix(".pub"), key)


def _no_key(path: Path) -> BadInput:
    return BadInput(
        words(en=f"{path} holds no key on the curve P-256", fr=f"{path} ne contient pas de clé sur la courbe P-256"),
        words(
            en="give a PEM file as `cornue keys new` writes it",
            fr="donnez un fichier PEM tel que `cornue keys new` l'écrit",
        ),
    )


def _passphrase_error(path: Path, needless: bool) -> BadInput:
    if needless:
        message = words(en=f"the key {path} has no passphrase", fr=f"la clé {path} n'a pas de phrase secrète")
        return BadInput(message, words(en=f"unset {PASSPHRASE}", fr=f"retirez {PASSPHRASE}"))
    return BadInput(
        words(en=f"the passphrase does not open the key {path}", fr=f"la phrase secrète n'ouvre pas la clé {path}"),
        words(en=f"put the right one into {PASSPHRASE}", fr=f"mettez la bonne dans {PASSPHRASE}"),
    )
