"""What is offered and under which limits: frozen values that the rest of the room reads.

They hold no behaviour. ``Offer`` says what is served and to what purpose (it comes from a pack, a GGUF file or an
address), ``Settings`` says where, to whom and within which limits, ``Launch`` what matters at the start only.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from cornue.serve.late import LateRegister
from cornue.sources.register import Register

DATA = Path("cornue-serve")


@dataclass(frozen=True)
class Offer:
    """What is served, and what a deployer must tell the people who use it."""

    name: str
    """The model's name in the API."""
    title: str = ""
    """The assistant's name on its page."""
    language: str = "fr"
    """The language in which the assistant is spoken to."""
    purpose: str = ""
    """What it is for."""
    limits: str = ""
    """What it must not be used for, and what it cannot do."""
    contact: str = ""
    """A human who answers: an e-mail address, a telephone number or a web address."""
    licence: str = "unknown"
    attribution: str = ""
    """The words that the register's licence asks to be shown."""
    model_digest: str = ""
    table: Register | LateRegister | None = None
    examples: tuple[str, ...] = ()
    """Questions that the page offers to someone who does not know what to ask."""
    folder: Path | None = None
    """The pack; None for a GGUF file or an address."""
    seal: str = ""
    """What the check of manifest and signatures found, in a sentence; empty for what has no seal."""
    unverified: str = ""
    """Why the seal does not hold; shown on every page and in every response header. Empty when it holds."""


@dataclass(frozen=True)
class SignIn:
    """How people sign in, besides with a key."""

    proxy_header: str = ""
    """Header in which a trusted proxy names the person, such as ``X-Remote-User``."""
    proxies: frozenset[str] = frozenset()
    """Addresses from which that header is believed."""
    issuer: str = ""
    """OpenID Connect issuer, such as ``https://login.example.org``."""
    client_id: str = ""
    client_secret: str = ""


@dataclass(frozen=True)
class Settings:
    """Where the assistant stands, who may come in, and how much each may ask."""

    data: Path
    """Folder for keys, receipts, contests and the serving key. Nothing else is written."""
    database: str = ""
    """``postgresql://…`` for several machines; empty for a SQLite file in ``data``."""
    runs: Path | None = None
    """Folder of runs that ``/runs`` shows."""
    hosts: tuple[str, ...] = ("localhost", "127.0.0.1", "[::1]")
    """Names under which it may be called; any other Host header is refused."""
    origins: tuple[str, ...] = ()
    """Other web pages that may call the API."""
    open_to_all: bool = True
    """Whether people without a key may ask; right on one's own machine only."""
    https: bool = False
    """Whether people reach it over TLS: cookies then travel over TLS only."""
    sign_in: SignIn = field(default_factory=SignIn)
    slots: int = 2
    """Answers written at once."""
    context: int = 2048
    """Tokens that one answer and its question may take together."""
    max_tokens: int = 512
    """Longest answer, and the length where none is asked for."""
    body_bytes: int = 256 * 1024
    """Largest request."""
    waiting: int = 64
    """Most requests that wait."""
    waiting_per_key: int = 8
    """Most requests that wait for one key."""
    patience: float = 120.0
    """Longest wait for a turn, in seconds."""
    deadline: float = 300.0
    """Longest time for one answer once its turn has come, in seconds."""
    requests_per_minute: int = 600
    """For keys that name no other limit; 0 sets none."""
    tokens_per_day: int = 0
    """For keys that name no other quota; 0 sets none."""
    keep_days: int = 365
    """After so many days receipts, usage and contests are erased; the chain keeps their digests."""
    euros_per_kwh: float = 0.25
    kg_co2_per_kwh: float = 0.05
    watts: str = ""
    """What one busy core draws, for the estimate where no meter can be read; empty for the table's value."""
    node: str = ""
    """This machine's name, where several share a database."""


def default_title(offer: Offer) -> str:
    """The name that people read."""
    return offer.title or offer.name


def salted(secret: bytes, *parts: str) -> str:
    """A name that says nothing about what it was made from, to those who do not hold the secret."""
    state = hashlib.blake2b(key=secret, digest_size=16)
    for part in parts:
        state.update(len(part).to_bytes(4, "big") + part.encode())
    return state.hexdigest()


@dataclass(frozen=True)
class Launch:
    """What matters at the start only."""

    host: str = "127.0.0.1"
    port: int = 8080
    certificate: Path | None = None
    """TLS certificate with its chain, in PEM."""
    key: Path | None = None
    """Its private key."""
    table: Path | None = None
    """A register in place of the pack's own."""
    contact: str = ""
    """Who answers people, in place of the pack's words: an e-mail address, a telephone number or a web address."""
    examples: tuple[str, ...] = ()
    """Questions that the page offers to someone who does not know what to ask."""
    sha256: str = ""
    """The digest that a GGUF file must have."""
    trusted: Path | None = None
    """Folder of the public keys that are trusted; by default this user's."""
    signatures: int = 0
    """How many of them must have signed the pack."""
    threads: int | None = None
    """Threads of the engine; by default every core."""
    upstream: str = ""
    """Address of a server elsewhere that writes the answers."""
    upstream_key_env: str = ""
    """Name of the environment variable that holds its key."""
    upstream_model: str = ""
    """The model to ask there; by default its first."""
    upstream_salts: bool = False
    """Whether it takes ``cache_salt``, as vLLM does."""
