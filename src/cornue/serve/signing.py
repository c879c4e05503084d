"""The serving key: made at the first start, it signs batches of receipts and nothing else.

ECDSA over P-256 with SHA-256, the signature in base64. The key file can be read by the service alone; the public half
is shown on the record page. It is not the institution's sealing key.
"""

from __future__ import annotations

import base64
import binascii
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from cornue.records.errors import BadInput
from cornue.seal.write import write_bytes
from cornue.serve.receipts import Check, Sign


def serving_key(folder: Path) -> tuple[Sign, str]:
    """How to sign with the key in a folder, and its public half as PEM; a missing key is made.

    Raises:
        BadInput: the file holds something else.
    """
    path = folder / "serving.key"
    if not path.exists():
        new = ec.generate_private_key(ec.SECP256R1())
        write_bytes(path, new.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (ValueError, TypeError) as error:
        raise BadInput(f"{path} holds no key.", "Move it away; a new one is made at the next start.") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise BadInput(f"{path} holds a key of another kind.", "Move it away; a new one is made at the next start.")
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    return lambda data: base64.b64encode(key.sign(data, ec.ECDSA(hashes.SHA256()))).decode(), public


def checker(public_pem: str) -> Check:
    """How to check signatures with a public key; raises ``BadInput`` if it is none."""
    try:
        key = load_pem_public_key(public_pem.encode())
    except (ValueError, TypeError) as error:
        raise BadInput("This is no public key in PEM form.") from error
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise BadInput("This public key is of another kind than ECDSA.")

    def check(data: bytes, signature: str) -> bool:
        try:
            key.verify(base64.b64decode(signature, validate=True), data, ec.ECDSA(hashes.SHA256()))
        except (InvalidSignature, binascii.Error, ValueError):
            return False
        return True

    return check
