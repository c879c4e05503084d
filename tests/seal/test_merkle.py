"""Proofs hold for what is in the tree, and for nothing else."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cornue.seal.merkle import MerkleTree, Proof, holds

SECRET = b"a secret of the institution"
FEW = settings(max_examples=30, deadline=None)
RECORDS = st.lists(st.binary(max_size=20), min_size=1, max_size=33)


def reference_root(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, word for word: split at the largest power of two below the size."""
    if len(leaves) == 1:
        return leaves[0]
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    return hashlib.sha256(b"\x01" + reference_root(leaves[:half]) + reference_root(leaves[half:])).digest()


@FEW
@given(RECORDS)
def test_the_root_is_that_of_the_standard(records: list[bytes]) -> None:
    tree = MerkleTree(records, SECRET)
    salts = [bytes.fromhex(tree.prove(index).salt) for index in range(len(records))]
    leaves = [hashlib.sha256(b"\x00" + salt + record).digest() for salt, record in zip(salts, records, strict=True)]
    assert tree.root == "sha256:" + reference_root(leaves).hex()


@FEW
@given(RECORDS)
def test_every_record_can_be_proved(records: list[bytes]) -> None:
    tree = MerkleTree(records, SECRET)
    assert all(holds(tree.root, record, tree.prove(index)) for index, record in enumerate(records))


@FEW
@given(RECORDS, st.binary(max_size=20), st.data())
def test_no_other_record_can_be_proved(records: list[bytes], other: bytes, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(records) - 1))
    tree = MerkleTree(records, SECRET)
    assert holds(tree.root, other, tree.prove(index)) == (other == records[index])


@FEW
@given(RECORDS, st.data())
def test_a_changed_proof_does_not_hold(records: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(records) - 1))
    tree = MerkleTree(records, SECRET)
    proof = tree.prove(index)
    change = data.draw(st.sampled_from(["index", "longer", "shorter", "salt"]))
    if change == "index":
        place = data.draw(st.integers(-1, len(records)).filter(lambda other: other != index))
        changed = proof.model_copy(update={"index": place})
    elif change == "longer":
        changed = proof.model_copy(update={"path": (*proof.path, "00" * 32)})
    elif change == "shorter" and proof.path:
        changed = proof.model_copy(update={"path": proof.path[:-1]})
    else:
        changed = proof.model_copy(update={"salt": "00" * 16})
    assert not holds(tree.root, records[index], changed)


def test_equal_records_look_different() -> None:
    tree = MerkleTree([b"yes", b"yes", b"no", b"no"], SECRET)
    siblings = {tree.prove(index).path[0] for index in range(4)}
    assert len(siblings) == 4


def test_another_secret_gives_another_root() -> None:
    assert MerkleTree([b"yes"], SECRET).root != MerkleTree([b"yes"], b"another secret of it").root


def test_an_empty_tree_has_the_standard_root() -> None:
    assert MerkleTree([], SECRET).root == "sha256:" + hashlib.sha256(b"").hexdigest()


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="16"):
        MerkleTree([b"x"], b"short")


@pytest.mark.parametrize("salt", ["zz", "", "00"])
def test_noise_is_no_proof(salt: str) -> None:
    assert not holds("sha256:00", b"x", Proof(index=0, size=1, salt=salt, path=()))
