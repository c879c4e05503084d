"""Who may ask: API keys with a role, an expiry and limits, and sessions of people who signed in.

A key is shown once, when it is made; only its hash is kept. The secret part is 256 random bits, so a plain SHA-256 is
as good as a slow hash here. A session is the same thing in a cookie. People are known by a salted name, never by their
own. It does not speak HTTP.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from cornue.records.errors import BadInput
from cornue.serve.errors import Refusal
from cornue.serve.store import Store

Role = Literal["user", "auditor", "admin"]
KEY = re.compile(r"ck_([a-z0-9]{10})_([A-Za-z0-9_-]{43})")
COLUMNS = "id, name, role, requests_per_minute, tokens_per_day, created, expires, revoked"
DAY = 86400.0
SESSION_SECONDS = 12 * 3600.0


@dataclass(frozen=True)
class Caller:
    """Somebody who asks."""

    owner: str
    """Under this name requests queue, caches are kept apart and receipts are owned."""
    role: Role = "user"
    key_id: str = ""
    """Under this name usage is counted; empty for people without a key."""
    requests_per_minute: int = 0
    tokens_per_day: int = 0
    shares_cache: bool = False
    """Several people may stand behind this name, so the cache is never used for it."""


@dataclass(frozen=True)
class Key:
    """An API key as an administrator sees it."""

    id: str
    name: str
    role: Role
    requests_per_minute: int
    tokens_per_day: int
    created: float
    expires: float | None
    revoked: float | None

    def state(self, now: float) -> str:
        """``valid``, ``expired`` or ``revoked``."""
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and self.expires <= now else "valid"


class Keys:
    """The keys and sessions of a service."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.time) -> None:
        self.store, self.clock = store, clock

    def create(
        self,
        name: str,
        role: Role = "user",
        days: float | None = None,
        requests_per_minute: int = 0,
        tokens_per_day: int = 0,
    ) -> tuple[Key, str]:
        """A new key and its secret text, which is not kept and cannot be shown again.

        Raises:
            BadInput: no such role, a negative limit, or a name that is empty or longer than 80 characters.
        """
        if role not in get_args(Role):
            raise BadInput(f"There is no role “{role}”.", "Use user, auditor or admin.")
        if not name.strip() or len(name) > 80 or not name.isprintable():
            raise BadInput(f"A key's name has 1 to 80 printable characters; {name[:90]!r} has not.", "Name its use.")
        if min(requests_per_minute, tokens_per_day) < 0 or (days is not None and days <= 0):
            raise BadInput("A limit of a key is negative.", "Use 0 for the service's own limit.")
        now = self.clock()
        identity = "".join(secrets.choice("abcdefghjkmnpqrstuvwxyz23456789") for _ in range(10))
        secret = secrets.token_urlsafe(32)
        expires = None if days is None else now + days * DAY
        key = Key(identity, name.strip(), role, requests_per_minute, tokens_per_day, now, expires, None)
        self.store.do(
            "INSERT INTO keys VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL)",
            *(key.id, key.name, _hash(secret), key.role, requests_per_minute, tokens_per_day, now, expires),
        )
        return key, f"ck_{identity}_{secret}"

    def all(self) -> list[Key]:
        """Every key, oldest first."""
        return [Key(*row) for row in self.store.rows(f"SELECT {COLUMNS} FROM keys ORDER BY created, id")]

    def revoke(self, identity: str) -> None:
        """Ends a key at once, and the sessions that were opened with it.

        Raises:
            BadInput: there is no such key.
        """
        identity = match[1] if (match := KEY.fullmatch(identity)) else identity
        if not self.store.do("UPDATE keys SET revoked = ? WHERE id = ? AND revoked IS NULL", self.clock(), identity):
            raise BadInput(f"There is no valid key “{identity[:40]}”.", "`cornue access list` shows them.")
        self.store.do("DELETE FROM sessions WHERE key_id = ?", identity)

    def caller(self, text: str) -> Caller:
        """Whose key this is.

        Raises:
            Refusal: 401, the same for a key that never was and for a wrong secret; expired and revoked keys are named.
        """
        match = KEY.fullmatch(text)
        rows = self.store.rows("SELECT hash FROM keys WHERE id = ?", match[1]) if match else []
        known = rows[0][0] if rows else _hash("")
        right = hmac.compare_digest(known, _hash(match[2] if match else "-"))
        if not (match and rows and right):
            raise Refusal(401, "This API key is not known here.", "invalid_api_key")
        return self.by_id(match[1])

    def by_id(self, identity: str) -> Caller:
        """The holder of a key that is still valid; raises ``Refusal`` 401 if it is not."""
        rows = self.store.rows(f"SELECT {COLUMNS} FROM keys WHERE id = ?", identity)
        key = Key(*rows[0]) if rows else None
        state = key.state(self.clock()) if key else "unknown"
        if key is None or state != "valid":
            raise Refusal(401, f"This API key is {state}.", f"{state}_api_key")
        return Caller(f"key:{key.id}", key.role, key.id, key.requests_per_minute, key.tokens_per_day)

    def open_session(self, caller: Caller) -> str:
        """A secret for a cookie; half a day long it stands for this caller."""
        secret = secrets.token_urlsafe(32)
        now = self.clock()
        self.store.do("DELETE FROM sessions WHERE expires < ?", now)
        self.store.do(
            "INSERT INTO sessions VALUES (?, ?, ?, ?, ?)",
            *(_hash(secret), caller.owner, caller.role, caller.key_id, now + SESSION_SECONDS),
        )
        return secret

    def session(self, secret: str) -> Caller | None:
        """Who holds this cookie; None when it is unknown or too old."""
        rows = self.store.rows(
            "SELECT owner, role, key_id FROM sessions WHERE hash = ? AND expires > ?", _hash(secret), self.clock()
        )
        if not rows:
            return None
        owner, role, key_id = rows[0]
        return self.by_id(key_id) if key_id else Caller(owner, role)

    def close_session(self, secret: str) -> None:
        """Forgets a cookie."""
        self.store.do("DELETE FROM sessions WHERE hash = ?", _hash(secret))


def service_secret(store: Store) -> bytes:
    """The secret with which this service salts names; made at the first start."""
    store.do(
        "INSERT INTO secrets VALUES ('salt', ?) ON CONFLICT (name) DO NOTHING",
        secrets.token_hex(32),
    )
    return bytes.fromhex(store.rows("SELECT value FROM secrets WHERE name = 'salt'")[0][0])


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
