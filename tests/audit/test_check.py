"""Findings are shown as they are; whole packs are audited in tests/roof. Run: pytest tests/audit"""

from __future__ import annotations

from pathlib import Path

import pytest

from cornue.audit.check import check_pack, show_findings
from cornue.audit.finding import Finding
from cornue.records.errors import BadInput


def test_no_finding_is_hidden_behind_a_better_one() -> None:
    shown = show_findings(
        [Finding(claim="seal", value="verified", reason="r1"), Finding(claim="ledger", value="false", reason="r2")]
    )
    assert [line.split()[:2] for line in shown.splitlines()] == [["verified", "seal"], ["false", "ledger"]]


def test_a_folder_without_a_pack_cannot_be_audited(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="pack"):
        check_pack(tmp_path)
