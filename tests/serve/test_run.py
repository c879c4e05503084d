"""What is refused before the engine sees a byte."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from cornue.records.digests import digest_bytes
from cornue.records.errors import BadInput, CheckFailed, CornueError, Refused
from cornue.seal.manifest import write_manifest
from cornue.serve.late import LateRegister
from cornue.serve.lookup import TIMES, look_up
from cornue.serve.offers import offer_of
from cornue.serve.run import serve
from cornue.serve.settings import Launch, Offer, Settings
from cornue.sources.register import Register
from cornue.sources.tables import Column, Table
from pretend.engine import FakeEngine

from .conftest import upstream_of

FACTS = {"name": "s", "title": "S", "language": "fr", "purpose": "p", "limits": "l", "contact": "c", "licence": "x"}
FACTS |= {"attribution": "", "model_digest": "sha256:0", "serve": "student-Q8_0.gguf", "verify": "sql", "version": "0"}


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    folder = tmp_path / "pack"
    folder.mkdir()
    (folder / "pack.json").write_text(json.dumps(FACTS | {"parts": {}}))
    (folder / "student-Q8_0.gguf").write_bytes(random.Random(0).randbytes(3000))
    write_manifest(folder, "pack", {})
    return folder


@pytest.mark.parametrize("name", ["pack.json", "student-Q8_0.gguf", "manifest.json"])
def test_a_pack_with_one_altered_byte_is_refused(pack: Path, name: str) -> None:
    data = bytearray((pack / name).read_bytes())
    data[len(data) // 2] ^= 1
    (pack / name).write_bytes(data)
    with pytest.raises(CheckFailed):
        offer_of(pack)


def test_a_pack_with_a_file_too_many_or_too_few_is_refused(pack: Path) -> None:
    (pack / "extra").write_text("x")
    with pytest.raises(CheckFailed, match="extra"):
        offer_of(pack)
    (pack / "extra").unlink()
    (pack / "student-Q8_0.gguf").unlink()
    with pytest.raises(CheckFailed, match="student"):
        offer_of(pack)


def test_a_pack_that_nobody_signed_is_refused_where_signatures_are_asked_for(pack: Path) -> None:
    with pytest.raises(CheckFailed):
        offer_of(pack, trusted=pack, signatures=1)


def test_a_register_that_the_pack_does_not_name_answers_nothing(tmp_path: Path) -> None:
    path = tmp_path / "communes.csv"
    path.write_text("nom\nVannes\n")
    query = "```sql\nSELECT nom FROM communes\n```"
    for digest, problem in ((Register.open(path).digest, False), ("sha256:0", True)):
        found = look_up(LateRegister(path, digest), query, "")
        assert found is not None and (bool(found.problem), bool(found.rows)) == (problem, not problem)


def test_an_intact_pack_with_a_file_that_is_no_model_is_refused(pack: Path) -> None:
    with pytest.raises(BadInput, match="GGUF"):
        offer_of(pack)


def test_a_file_that_nothing_vouches_for_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF")
    with pytest.raises(Refused):
        offer_of(path)
    with pytest.raises(CheckFailed):
        offer_of(path, sha256="0" * 64)
    with pytest.raises(BadInput, match="GGUF"):
        offer_of(path, sha256=digest_bytes(b"GGUF"))
    with pytest.raises(BadInput):
        offer_of(tmp_path / "nothing")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4"])
def test_it_does_not_stand_open_to_a_network(tmp_path: Path, host: str) -> None:
    with pytest.raises(Refused, match="key"):
        serve(Offer("s"), Settings(data=tmp_path), upstream_of(FakeEngine()), Launch(host))
    assert issubclass(Refused, CornueError)


def test_a_row_that_comes_again_is_shown_once_with_its_number() -> None:
    rows = (("Vannes", "Morbihan"), ("Lorient", "Morbihan"), ("Brest", "Finistère"))
    table = Register("r", [Table("communes", (Column("nom", "TEXT"), Column("departement", "TEXT")), rows)])
    found = look_up(table, "SELECT departement FROM communes", "")
    assert found is not None
    assert (found.columns, found.rows) == (("departement", TIMES), (("Morbihan", 2), ("Finistère", 1)))
    plain = look_up(table, "SELECT nom FROM communes", "")
    assert plain is not None
    assert (plain.columns, len(plain.rows)) == (("nom",), 3)
