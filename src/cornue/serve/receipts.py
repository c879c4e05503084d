"""A receipt for every admitted request, chained so that none can go missing, and signed in batches.

A row is written before a request may wait (the intent); it becomes a receipt when the request ends, or when the service
starts again after it was killed. So there is exactly one, whatever happens. Receipts hold counts, digests and money,
never a word of what was asked or answered. ``check_export`` needs nothing but the exported lines and a public key.

::

    entry(i) = SHA-256("cornue-receipt" + entry(i-1) + digest of the canonical JSON of receipt i)
    batch    = first and last place, entry(first - 1), entry(last), the meter's totals; signed with the serving key
"""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from cornue.records.digests import canonical_json, digest_bytes, digest_json
from cornue.seal.keys import PublicKey, SigningKey
from cornue.serve.store import Store

FORMAT = "cornue-receipt/1"
START = "sha256:" + "0" * 64
BATCH = 64
State = Literal["completed", "interrupted", "failed"]


@dataclass(frozen=True)
class Problem:
    """Something in an export that does not hold."""

    place: int
    sentence: str


class Receipts:
    """The receipts of a service.

    Args:
        key: the serving key, which signs batches and nothing else; it is not the institution's.
        node: the machine, where several share a database: each closes only what it left open itself.
    """

    def __init__(self, store: Store, key: SigningKey, node: str = "", clock: Callable[[], float] = time.time) -> None:
        self.store, self.key, self.node, self.clock = store, key, node, clock
        self.process = f"{node} {secrets.token_hex(8)}"
        self.meter: dict[str, float] = {}

    def intend(self, owner: str, facts: dict[str, Any]) -> str:
        """Notes that a request is admitted; returns the name under which its receipt will be found."""
        identity = "r_" + secrets.token_urlsafe(18)
        self.store.do(
            "INSERT INTO answers (id, owner, created, process, intent) VALUES (?, ?, ?, ?, ?)",
            *(identity, owner, self.clock(), self.process, json.dumps(facts, ensure_ascii=False)),
        )
        return identity

    def complete(self, identity: str, state: State, facts: dict[str, Any]) -> dict[str, Any]:
        """Turns an intent into a receipt and chains it. A second call changes nothing and returns the first receipt."""
        with self.store.together():
            rows = self.store.rows("SELECT created, intent, receipt FROM answers WHERE id = ?", identity)
            created, intent, receipt = rows[0]
            if receipt is not None:
                return dict(json.loads(receipt))
            last = self.store.rows(
                "SELECT place, chain FROM answers WHERE place IS NOT NULL ORDER BY place DESC LIMIT 1"
            )
            place, chain = last[0] if last else (0, START)
            body = {"format": FORMAT, "id": identity, "state": state, "created": _iso(created)}
            body |= {"ended": _iso(self.clock()), "place": place + 1} | json.loads(intent) | facts
            digest = digest_json(body)
            self.store.do(
                "UPDATE answers SET place = ?, receipt = ?, digest = ?, chain = ? WHERE id = ?",
                *(place + 1, json.dumps(body, ensure_ascii=False), digest, _link(chain, digest), identity),
            )
        if (place + 1) % BATCH == 0:
            self.seal()
        return body

    def close_the_open(self) -> int:
        """After a restart: every intent of a process that is gone becomes an interrupted receipt; returns how many."""
        rows = self.store.rows("SELECT id, process FROM answers WHERE place IS NULL AND process <> ?", self.process)
        mine = [identity for identity, process in rows if process.rpartition(" ")[0] == self.node]
        for identity in mine:
            self.complete(identity, "interrupted", {"reason": "the service was stopped"})
        return len(mine)

    def seal(self) -> None:
        """Signs what has been chained since the last batch; nothing new, no batch."""
        with self.store.together():
            before = self.store.rows("SELECT last FROM batches ORDER BY last DESC LIMIT 1")
            first = (before[0][0] if before else 0) + 1
            rows = self.store.rows(
                "SELECT place, chain FROM answers WHERE place >= ? ORDER BY place DESC LIMIT 1", max(1, first - 1)
            )
            if not rows or rows[0][0] < first:
                return
            last, head = rows[0]
            statement = {"format": FORMAT, "first": first, "last": last, "before": self._chain_at(first - 1)}
            statement |= {"head": head, "signed": _iso(self.clock()), "meter": self.meter}
            statement |= {"key": self.key.public.fingerprint}
            text = canonical_json(statement)
            self.store.do(
                "INSERT INTO batches (last, first, statement, signature) VALUES (?, ?, ?, ?)",
                *(last, first, text.decode(), base64.b64encode(self.key.sign(text)).decode()),
            )

    def find(self, identity: str, owner: str | None) -> dict[str, Any] | None:
        """A receipt with its proof; None where there is none, or it belongs to somebody else.

        Args:
            owner: whose it must be; None for those who may see all.
        """
        rows = self.store.rows("SELECT owner, receipt, place FROM answers WHERE id = ?", identity)
        if not rows or (owner is not None and rows[0][0] != owner):
            return None
        if rows[0][1] is None:
            return {"receipt": None, "state": "in progress"}
        return {"receipt": json.loads(rows[0][1]), "proof": self._proof(rows[0][2])}

    def export(self, first: int = 1) -> Iterator[str]:
        """Receipts and signed batches in order, one JSON object a line, for an auditor."""
        batches = {row[0]: row[1:] for row in self.store.rows("SELECT last, statement, signature FROM batches")}
        while rows := self.store.rows(
            "SELECT place, receipt, digest FROM answers WHERE place >= ? ORDER BY place LIMIT 500", first
        ):
            for place, receipt, digest in rows:
                yield json.dumps({"receipt": json.loads(receipt)} if receipt else {"erased": digest, "place": place})
                if place in batches:
                    yield json.dumps({"statement": batches[place][0], "signature": batches[place][1]})
            first = rows[-1][0] + 1

    def erase_before(self, moment: float) -> int:
        """Erases the contents of old receipts; their digests stay in the chain. Returns how many."""
        return self.store.do(
            "UPDATE answers SET receipt = NULL, intent = '{}', owner = '' WHERE created < ? AND place IS NOT NULL"
            " AND receipt IS NOT NULL",
            moment,
        )

    def _chain_at(self, place: int) -> str:
        rows = self.store.rows("SELECT chain FROM answers WHERE place = ?", place)
        return str(rows[0][0]) if rows else START

    def _proof(self, place: int) -> dict[str, Any] | None:
        rows = self.store.rows(
            "SELECT first, last, statement, signature FROM batches WHERE last >= ? ORDER BY last LIMIT 1", place
        )
        if not rows:
            return None
        first, last, statement, signature = rows[0]
        digests = self.store.rows("SELECT digest FROM answers WHERE place BETWEEN ? AND ? ORDER BY place", first, last)
        return {"statement": statement, "signature": signature, "digests": [digest for (digest,) in digests]}


def check_receipt(found: dict[str, Any], key: PublicKey) -> list[Problem]:
    """What does not hold in a receipt with its proof, as ``find`` and ``GET /v1/receipts/ID`` give them."""
    receipt, proof = found["receipt"], found["proof"]
    place = int(receipt["place"])
    if proof is None:
        return [Problem(place, "this receipt is not signed yet")]
    statement = json.loads(proof["statement"])
    problems = []
    inside = place - statement["first"]
    if not (0 <= inside < len(proof["digests"])) or proof["digests"][inside] != digest_json(receipt):
        problems.append(Problem(place, "the receipt is not the one that was chained"))
    head = statement["before"]
    for digest in proof["digests"]:
        head = _link(head, digest)
    if head != statement["head"]:
        problems.append(Problem(place, "the chain does not lead to the signed head"))
    if not _accepts(key, proof["statement"], proof["signature"]):
        problems.append(Problem(place, "the signature does not fit"))
    return problems


def check_export(lines: Iterable[str], key: PublicKey) -> list[Problem]:
    """What does not hold in an export: gaps, changes, doubles, signatures; an empty list means that all holds."""
    problems: list[Problem] = []
    chains = {0: START}
    place = 0
    seen: set[str] = set()
    signed = 0
    for line in lines:
        entry = json.loads(line)
        if "statement" in entry:
            statement = json.loads(entry["statement"])
            if not _accepts(key, entry["statement"], entry["signature"]):
                problems.append(Problem(statement["last"], "the signature does not fit"))
            if statement["first"] != signed + 1 or statement["last"] != place:
                problems.append(Problem(place, "the batch does not follow the one before"))
            if (chains.get(statement["first"] - 1), chains.get(place)) != (statement["before"], statement["head"]):
                problems.append(Problem(place, "the chain does not lead to the signed head"))
            signed = place
            continue
        receipt = entry.get("receipt")
        here = int(receipt["place"] if receipt else entry["place"])
        if here != place + 1:
            problems.append(Problem(here, f"the receipt after {place} is missing"))
        if receipt and receipt["id"] in seen:
            problems.append(Problem(here, "a second receipt for one request"))
        seen |= {receipt["id"]} if receipt else set()
        chains[here] = _link(chains.get(place, START), digest_json(receipt) if receipt else entry["erased"])
        place = here
    if signed != place:
        problems.append(Problem(place, f"{place - signed} receipts are not signed yet"))
    return problems


def _accepts(key: PublicKey, statement: str, signature: str) -> bool:
    try:
        return key.accepts(base64.b64decode(signature, validate=True), statement.encode())
    except ValueError:
        return False


def _link(before: str, digest: str) -> str:
    return digest_bytes(b"cornue-receipt" + before.encode() + digest.encode())


def _iso(moment: float) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment))
    return f"{whole}.{int(moment % 1 * 1000):03d}Z"
