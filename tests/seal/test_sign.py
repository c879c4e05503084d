"""A folder is verified only if a trusted key signed exactly what lies there."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cornue.records.errors import CheckFailed
from cornue.seal.envelope import make_statement, sign_statement
from cornue.seal.keys import KeyRing, SigningKey, new_key, read_public_key
from cornue.seal.manifest import folder_digest, write_manifest
from cornue.seal.sign import PREDICATE, sign_folder, verify_folder

Bundle = dict[str, Any]


@pytest.fixture
def school(tmp_path: Path) -> SigningKey:
    return new_key(tmp_path / "keys" / "school.pem")


@pytest.fixture
def ring(school: SigningKey) -> KeyRing:
    return KeyRing([school.public])


@pytest.fixture
def pack(tmp_path: Path, school: SigningKey) -> Path:
    root = tmp_path / "pack"
    (root / "a").mkdir(parents=True)
    (root / "a" / "b.txt").write_text("b")
    (root / "a.txt").write_text("a")
    (root / "empty").touch()
    write_manifest(root, "pack", {"model": "sha256:1"})
    sign_folder(root, school)
    return root


def the_signature(pack: Path) -> Path:
    (path,) = (pack / "signatures").iterdir()
    return path


def test_a_signed_folder_is_verified(pack: Path, ring: KeyRing) -> None:
    finding = verify_folder(pack, ring)
    assert (finding.value, finding.signers, finding.digest) == ("verified", ("school",), folder_digest(pack))


def test_signing_again_gives_the_same_bytes(pack: Path, school: SigningKey) -> None:
    before = the_signature(pack).read_bytes()
    sign_folder(pack, school)
    assert the_signature(pack).read_bytes() == before


def test_an_unsigned_folder_is_only_declared(pack: Path, ring: KeyRing) -> None:
    the_signature(pack).unlink()
    assert verify_folder(pack, ring).value == "declared"


def test_a_signature_by_an_unknown_key_is_not_checkable(pack: Path) -> None:
    assert verify_folder(pack, KeyRing()).value == "not checkable"


def test_a_folder_that_differs_from_its_manifest_cannot_be_signed(pack: Path, school: SigningKey) -> None:
    (pack / "a.txt").write_text("b")
    with pytest.raises(CheckFailed):
        sign_folder(pack, school)


@pytest.mark.parametrize("file", ["a.txt", "empty", "a/new", ".git/hook", "manifest.json"])
def test_an_outsider_who_touches_a_file_is_found(pack: Path, ring: KeyRing, file: str) -> None:
    (pack / file).parent.mkdir(exist_ok=True)
    (pack / file).write_text("changed")
    assert verify_folder(pack, ring).value == "false"


def test_an_outsider_who_writes_the_manifest_again_is_found(pack: Path, ring: KeyRing) -> None:
    (pack / "a.txt").write_text("changed")
    write_manifest(pack, "pack", {"model": "sha256:1"})
    assert verify_folder(pack, ring).value == "false"


def test_an_outsider_who_changes_a_fact_is_found(pack: Path, ring: KeyRing) -> None:
    write_manifest(pack, "pack", {"model": "sha256:2"})
    assert verify_folder(pack, ring).value == "false"


def test_an_outsider_who_signs_again_is_never_verified(pack: Path, ring: KeyRing, tmp_path: Path) -> None:
    the_signature(pack).unlink()
    (pack / "a.txt").write_text("changed")
    write_manifest(pack, "pack", {"model": "sha256:1"})
    sign_folder(pack, new_key(tmp_path / "keys" / "thief.pem"))
    assert verify_folder(pack, ring).value == "not checkable"


def test_a_hint_that_names_a_trusted_key_does_not_help_a_thief(pack: Path, ring: KeyRing, tmp_path: Path) -> None:
    thief = sign_folder(pack, new_key(tmp_path / "keys" / "thief.pem"))
    bundle = json.loads(thief.read_text())
    bundle["verificationMaterial"]["publicKey"]["hint"] = ring.keys[0].hint
    thief.write_text(json.dumps(bundle))
    assert verify_folder(pack, ring).value == "false"


def test_a_signature_of_another_folder_is_found(pack: Path, ring: KeyRing, school: SigningKey, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    write_manifest(other, "pack", {})
    the_signature(pack).write_bytes(sign_folder(other, school).read_bytes())
    assert verify_folder(pack, ring).value == "false"


def test_a_signature_of_another_statement_is_found(pack: Path, ring: KeyRing, school: SigningKey) -> None:
    envelope = json.loads(the_signature(pack).read_text())["dsseEnvelope"]
    statement = json.loads(base64.b64decode(envelope["payload"]))
    subject = statement["subject"][0]["digest"]["sha256"]
    other = make_statement("https://example.org/other", "pack", subject, statement["predicate"])
    the_signature(pack).write_text(json.dumps(sign_statement(other, school)))
    assert verify_folder(pack, ring).value == "false"


def test_a_revoked_key_verifies_nothing(pack: Path, school: SigningKey) -> None:
    ring = KeyRing([school.public], revoked=[school.public.fingerprint])
    assert verify_folder(pack, ring).value == "false"


def test_several_institutions_can_be_needed(pack: Path, ring: KeyRing, tmp_path: Path) -> None:
    city = new_key(tmp_path / "keys" / "city.pem")
    both = KeyRing([*ring.keys, city.public])
    assert verify_folder(pack, both, needed=2).value == "not checkable"
    sign_folder(pack, city)
    assert verify_folder(pack, both, needed=2).value == "verified"


def test_one_key_does_not_count_twice(pack: Path, ring: KeyRing, tmp_path: Path) -> None:
    (pack / "signatures" / "copy.sig").write_bytes(the_signature(pack).read_bytes())
    (tmp_path / "again.pem").write_bytes(ring.keys[0].pem)
    again = read_public_key(tmp_path / "again.pem")
    assert verify_folder(pack, KeyRing([*ring.keys, again]), needed=2).value == "not checkable"


def second_signature(bundle: Bundle) -> None:
    bundle["dsseEnvelope"]["signatures"] *= 2


def no_hint(bundle: Bundle) -> None:
    del bundle["verificationMaterial"]["publicKey"]["hint"]


def other_type(bundle: Bundle) -> None:
    bundle["dsseEnvelope"]["payloadType"] = "text/plain"


def other_media_type(bundle: Bundle) -> None:
    bundle["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.1"


def broken_base64(bundle: Bundle) -> None:
    bundle["dsseEnvelope"]["signatures"][0]["sig"] += "!"


@pytest.mark.parametrize("change", [second_signature, no_hint, other_type, other_media_type, broken_base64])
def test_a_file_that_is_no_proper_signature_is_found(
    pack: Path, ring: KeyRing, change: Callable[[Bundle], None]
) -> None:
    bundle = json.loads(the_signature(pack).read_text())
    change(bundle)
    the_signature(pack).write_text(json.dumps(bundle))
    assert verify_folder(pack, ring).value == "false"


def test_a_link_as_signature_is_found(pack: Path, ring: KeyRing, tmp_path: Path) -> None:
    the_signature(pack).rename(tmp_path / "away.sig")
    (pack / "signatures" / "x.sig").symlink_to(tmp_path / "away.sig")
    assert verify_folder(pack, ring).value == "false"


def test_the_format_is_that_of_openssf_model_signing(pack: Path, school: SigningKey) -> None:
    bundle = json.loads(the_signature(pack).read_text())
    statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    assert bundle["verificationMaterial"] == {"publicKey": {"hint": school.public.hint}, "tlogEntries": []}
    assert statement["predicateType"] == PREDICATE
    names = [resource["name"] for resource in statement["predicate"]["resources"]]
    assert names == ["a/b.txt", "a.txt", "empty", "manifest.json"]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(place=st.integers(min_value=0), byte=st.integers(min_value=0, max_value=255))
def test_no_changed_byte_of_a_signature_crashes_or_verifies_other_content(
    pack: Path, ring: KeyRing, place: int, byte: int
) -> None:
    path = pack / "signatures" / f"{ring.keys[0].hint[:16]}.sig"
    whole = path.read_bytes()
    place %= len(whole)
    path.write_bytes(whole[:place] + bytes([byte]) + whole[place + 1 :])
    finding = verify_folder(pack, ring)
    path.write_bytes(whole)
    assert finding.value in ("verified", "not checkable", "false")
    assert finding.digest == folder_digest(pack)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(noise=st.binary(max_size=80))
def test_noise_as_signature_is_false(pack: Path, ring: KeyRing, noise: bytes) -> None:
    (pack / "signatures" / "noise.sig").write_bytes(noise)
    assert verify_folder(pack, ring).value == "false"
