"""Settings from a file."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from cornue.records.errors import BadInput
from cornue.serve.access_cli import app
from cornue.serve.command import read_settings

SETTINGS = """
port = 8443
hosts = ["assistant.example.org"]
slots = 4
certificate = "chain.pem"
contact = "a@b.example"
examples = ["How many?"]
[sign_in]
issuer = "https://login.example.org"
proxies = ["10.0.0.1"]
"""


def test_settings_are_read(tmp_path: Path) -> None:
    path = tmp_path / "serve.toml"
    path.write_text(SETTINGS)
    settings, launch = read_settings(path, tmp_path)
    assert (settings.slots, settings.hosts, settings.data) == (4, ("assistant.example.org",), tmp_path)
    assert (launch.port, launch.certificate) == (8443, Path("chain.pem"))
    assert (launch.contact, launch.examples) == ("a@b.example", ("How many?",))
    assert settings.sign_in.proxies == {"10.0.0.1"}


@pytest.mark.parametrize(
    ("text", "named"),
    [("slotz = 3", "slots"), ("[sign_in]\nissue = 'x'", "issuer"), ("slots = 'many'", "slots"), ("slots =", "TOML")],
)
def test_what_is_not_known_is_named(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "serve.toml"
    path.write_text(text)
    with pytest.raises(BadInput) as caught:
        read_settings(path, tmp_path)
    assert named in str(caught.value)


def test_keys_are_made_listed_and_revoked_at_the_terminal(tmp_path: Path) -> None:
    data = ["--data", str(tmp_path)]
    run = CliRunner()
    key = run.invoke(app, ["create", "library", *data]).stdout.strip()
    assert key.startswith("ck_")
    listed = run.invoke(app, ["list", *data]).stdout
    assert "library" in listed and key.split("_", 2)[2] not in listed
    assert run.invoke(app, ["revoke", key, *data]).exit_code == 0
    assert "revoked" in run.invoke(app, ["list", *data]).stdout
