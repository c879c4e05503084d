"""Signed statements: an in-toto statement in a DSSE envelope in a Sigstore bundle, with a plain key.

The bytes are those of OpenSSF Model Signing 1.0 in key mode, so that its reference verifier takes them. It knows
nothing of what a statement says, and uses no log, no certificate and no network.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, NamedTuple

from cornue.records.digests import canonical_json, parse_json
from cornue.records.words import words
from cornue.seal.keys import KeyRing, PublicKey, SigningKey

BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"


class Unreadable(ValueError):
    """A signature file that does not have the form of one; the text says why."""


class Opened(NamedTuple):
    """What a signature file says, and whose it is.

    ``signer`` is the trusted key that it names; None if the ring does not hold it. ``genuine`` says whether that key
    accepts the signature; always False without a signer.
    """

    statement: dict[str, Any]
    hint: str
    signer: PublicKey | None
    genuine: bool


def make_statement(predicate_type: str, name: str, sha256: str, predicate: dict[str, Any]) -> dict[str, Any]:
    """An in-toto statement about one subject.

    Args:
        sha256: the subject's digest in hex, without prefix.
    """
    return {
        "_type": STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": sha256}}],
        "predicateType": predicate_type,
        "predicate": predicate,
    }


def sign_statement(statement: dict[str, Any], key: SigningKey) -> dict[str, Any]:
    """The Sigstore bundle of a statement; equal statements and keys give equal bundles."""
    payload = canonical_json(statement)
    signature = key.sign(_signed_bytes(payload))
    return {
        "mediaType": BUNDLE,
        "verificationMaterial": {"publicKey": {"hint": key.public.hint}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": PAYLOAD,
            "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
        },
    }


def open_bundle(data: bytes, ring: KeyRing) -> Opened:
    """Read a bundle and check its signature against a ring of trusted keys.

    Raises:
        Unreadable: it is no bundle with one key signature over one in-toto statement.
    """
    bundle = _json(data)
    if bundle.get("mediaType") != BUNDLE:
        raise Unreadable(words(en="it is no Sigstore bundle v0.3", fr="ce n'est pas un bundle Sigstore v0.3"))
    envelope = _dictionary(bundle, "dsseEnvelope")
    hint = _dictionary(_dictionary(bundle, "verificationMaterial"), "publicKey").get("hint")
    signatures = envelope.get("signatures")
    if envelope.get("payloadType") != PAYLOAD or not isinstance(hint, str) or not hint:
        raise Unreadable(
            words(en="payload type or key hint are missing", fr="type de contenu ou indice de clé absents")
        )
    if not isinstance(signatures, list) or len(signatures) != 1 or not isinstance(signatures[0], dict):
        raise Unreadable(words(en="it must hold exactly one signature", fr="il faut exactement une signature"))
    payload, signature = _base64(envelope.get("payload")), _base64(signatures[0].get("sig"))
    statement = _json(payload)
    if statement.get("_type") != STATEMENT:
        raise Unreadable(words(en="it signs no in-toto statement", fr="elle ne signe pas d'énoncé in-toto"))
    signer = ring.find(hint)
    genuine = signer is not None and signer.accepts(signature, _signed_bytes(payload))
    return Opened(statement, hint, signer, genuine)


def _signed_bytes(payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: type and payload with their lengths."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD), PAYLOAD.encode(), len(payload), payload)


def _json(data: bytes) -> dict[str, Any]:
    try:
        value = parse_json(data)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise Unreadable(words(en="it is no JSON object", fr="ce n'est pas un objet JSON"))
    return value


def _dictionary(parent: dict[str, Any], key: str) -> dict[str, Any]:
    value = parent.get(key)
    if not isinstance(value, dict):
        raise Unreadable(words(en=f"{key} is missing", fr=f"{key} est absent"))
    return value


def _base64(value: Any) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise Unreadable(words(en="it holds broken base64", fr="son base64 est abîmé")) from None
