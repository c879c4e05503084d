"""What the audit says of the pack that is served."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest

from cornue.seal.manifest import write_manifest
from cornue.serve.settings import Offer
from pretend.engine import FakeEngine

from .conftest import Open

pytestmark = pytest.mark.anyio
FACTS = {"name": "s", "title": "S", "language": "fr", "purpose": "p", "limits": "l", "contact": "c", "licence": "x"}
FACTS |= {"attribution": "", "model_digest": "sha256:0", "serve": "s.gguf", "verify": "sql", "version": "0"}


async def test_the_record_shows_what_the_audit_found(service: Open, tmp_path: Path) -> None:
    folder = tmp_path / "pack"
    folder.mkdir()
    (folder / "pack.json").write_text(json.dumps(FACTS | {"parts": {}}))
    (folder / "s.gguf").write_bytes(b"weights")
    write_manifest(folder, "pack", {})
    async with service(FakeEngine(), Offer("s", folder=folder)) as client:
        page = (await client.get("/record?lang=en")).text
        assert "under way" in page
        limit = time.monotonic() + 60
        while "under way" in page and time.monotonic() < limit:
            await asyncio.sleep(0.1)
            page = (await client.get("/record?lang=en")).text
    assert ">model digest<" in page and ">false<" in page


async def test_what_is_no_pack_has_no_findings(service: Open) -> None:
    async with service(FakeEngine()) as client:
        assert "What the audit says" not in (await client.get("/record?lang=en")).text
