"""A salted Merkle tree: one digest for many records, and short proofs that a record is among them.

Nodes are hashed as in RFC 6962. Each leaf carries a salt, so that a digest or a proof tells nothing of the records that
are not shown, however short they are. All salts come from one secret: keep it, and any record can be opened later.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from cornue.records.samples import Record

SALT = 16


class Proof(Record):
    """That a record stands at a place of a tree of a given size; digests and salt in hex."""

    index: int
    size: int
    salt: str
    path: tuple[str, ...]


class MerkleTree:
    """A tree over records in their order.

    Args:
        records: the bytes of each record.
        secret: at least 16 random bytes, from which the salts are derived.
    """

    def __init__(self, records: Sequence[bytes], secret: bytes) -> None:
        if len(secret) < SALT:
            raise ValueError(f"a secret of at least {SALT} bytes is needed, not of {len(secret)}")
        self._secret = secret
        leaves = [_leaf(self._salt(index), record) for index, record in enumerate(records)]
        self._levels = [leaves]
        while len(self._levels[-1]) > 1:
            self._levels.append(_parents(self._levels[-1]))

    @property
    def root(self) -> str:
        """The digest of the tree; that of an empty tree is the digest of nothing."""
        top = self._levels[-1]
        return "sha256:" + (top[0] if top else hashlib.sha256().digest()).hex()

    def prove(self, index: int) -> Proof:
        """The proof for the record at a place.

        Raises:
            IndexError: there is no such place.
        """
        size = len(self._levels[0])
        if not 0 <= index < size:
            raise IndexError(f"there is no record {index} among {size}")
        path = []
        place = index
        for level in self._levels[:-1]:
            sibling = place ^ 1
            if sibling < len(level):
                path.append(level[sibling].hex())
            place //= 2
        return Proof(index=index, size=size, salt=self._salt(index).hex(), path=tuple(path))

    def _salt(self, index: int) -> bytes:
        return hmac.digest(self._secret, index.to_bytes(8, "big"), "sha256")[:SALT]


def holds(root: str, record: bytes, proof: Proof) -> bool:
    """Whether a proof shows that the record is in the tree with that root, at its place (RFC 9162, 2.1.3.2)."""
    if not 0 <= proof.index < proof.size:
        return False
    try:
        salt, path = bytes.fromhex(proof.salt), [bytes.fromhex(digest) for digest in proof.path]
    except ValueError:
        return False
    if len(salt) != SALT or any(len(digest) != 32 for digest in path):
        return False
    node, place, last = _leaf(salt, record), proof.index, proof.size - 1
    for sibling in path:
        if last == 0:
            return False
        if place % 2 or place == last:
            node = _node(sibling, node)
            while place % 2 == 0 and place:
                place, last = place // 2, last // 2
        else:
            node = _node(node, sibling)
        place, last = place // 2, last // 2
    return last == 0 and hmac.compare_digest(root, "sha256:" + node.hex())


def _parents(level: list[bytes]) -> list[bytes]:
    pairs = [_node(level[place], level[place + 1]) for place in range(0, len(level) - 1, 2)]
    return pairs + level[-1:] if len(level) % 2 else pairs


def _leaf(salt: bytes, record: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + salt + record).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()
