"""Keys: made once, readable by their owner only, deterministic in what they sign."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils

from cornue.records.errors import BadInput
from cornue.seal.keys import KeyRing, SigningKey, new_key, read_key, read_public_key


def test_a_key_comes_back_from_its_file(tmp_path: Path) -> None:
    made = new_key(tmp_path / "school.pem")
    assert read_key(tmp_path / "school.pem").public.fingerprint == made.public.fingerprint
    assert read_public_key(tmp_path / "school.pub.pem").fingerprint == made.public.fingerprint
    assert made.public.name == read_public_key(tmp_path / "school.pub.pem").name == "school"


def test_only_its_owner_may_read_a_private_key(tmp_path: Path) -> None:
    new_key(tmp_path / "school.pem")
    assert (tmp_path / "school.pem").stat().st_mode & 0o777 == 0o600
    (tmp_path / "school.pem").chmod(0o644)
    with pytest.raises(BadInput) as caught:
        read_key(tmp_path / "school.pem")
    assert "chmod 600" in caught.value.remedy


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    new_key(tmp_path / "school.pem")
    before = (tmp_path / "school.pem").read_bytes()
    with pytest.raises(BadInput):
        new_key(tmp_path / "school.pem")
    assert (tmp_path / "school.pem").read_bytes() == before


def test_the_fingerprint_is_the_digest_of_the_public_key(tmp_path: Path) -> None:
    key = new_key(tmp_path / "school.pem").public
    loaded = serialization.load_pem_public_key(key.pem)
    der = loaded.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert key.fingerprint == "sha256:" + hashlib.sha256(der).hexdigest()


def test_signatures_are_those_of_rfc_6979() -> None:
    # RFC 6979, A.2.5: P-256, SHA-256, message "sample".
    private = ec.derive_private_key(0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721, ec.SECP256R1())
    r, s = utils.decode_dss_signature(SigningKey("rfc", private).sign(b"sample"))
    assert r == 0xEFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716
    assert s == 0xF7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8


def test_a_passphrase_protects_the_file(tmp_path: Path) -> None:
    made = new_key(tmp_path / "school.pem", "poires au vin")
    assert b"ENCRYPTED" in (tmp_path / "school.pem").read_bytes()
    assert read_key(tmp_path / "school.pem", "poires au vin").public.fingerprint == made.public.fingerprint
    for wrong in ("", "poires"):
        with pytest.raises(BadInput) as caught:
            read_key(tmp_path / "school.pem", wrong)
        assert "CORNUE_KEY_PASSPHRASE" in caught.value.remedy


def test_a_needless_passphrase_is_said(tmp_path: Path) -> None:
    new_key(tmp_path / "school.pem")
    with pytest.raises(BadInput, match="no passphrase|pas de phrase"):
        read_key(tmp_path / "school.pem", "poires")


def test_a_missing_key_names_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        read_key(tmp_path / "school.pem")
    assert "cornue keys new" in caught.value.remedy


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    for number, key in enumerate([ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP384R1())]):
        path = tmp_path / f"{number}.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        path.chmod(0o600)
        with pytest.raises(BadInput, match="P-256"):
            read_key(path)


def test_a_ring_is_read_from_a_folder_and_finds_by_hint(tmp_path: Path) -> None:
    city = new_key(tmp_path / "away" / "city.pem").public
    (tmp_path / "ring").mkdir()
    (tmp_path / "ring" / "city.pem").write_bytes(city.pem)
    (tmp_path / "ring" / "revoked.txt").write_text(f"{city.fingerprint} lost in a train\n")
    ring = KeyRing.read(tmp_path / "ring")
    found = ring.find(city.hint)
    assert found is not None and found.name == "city"
    assert ring.revoked == {city.fingerprint}
    assert ring.find("0" * 64) is None


def test_a_ring_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert KeyRing.read(tmp_path / "nowhere").keys == ()


def test_noise_in_a_ring_is_named(tmp_path: Path) -> None:
    (tmp_path / "noise.pem").write_text("noise")
    with pytest.raises(BadInput, match=r"noise\.pem"):
        KeyRing.read(tmp_path)
