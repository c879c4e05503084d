"""May this teacher teach? An oracle over open data: one TOML file per licence or terms of use, beside this file.

It answers, with the clause, whether a model may be trained on what another wrote, or start from its weights, and what
that obliges to; parents are asked too, and the strictest answer holds. Texts are recognised by digest, names by a list;
what is not known is unknown, never allowed. It is a reading aid written with care and a date, and not legal advice. The
files are open data under the Licence Ouverte 2.0.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterable
from functools import cache
from importlib import resources
from typing import Literal

from pydantic import Field

from cornue.records.digests import digest_text
from cornue.records.errors import Refused
from cornue.records.samples import Record
from cornue.records.words import words

Answer = Literal["yes", "conditions", "no", "unknown"]
Use = Literal["outputs", "weights"]
DutyKind = Literal[
    "name", "show", "notice", "attribution", "share-alike", "pass-on", "use-policy", "users", "territory", "commercial"
]
STRICTNESS: tuple[Answer, ...] = ("yes", "conditions", "unknown", "no")
COPYRIGHT_LINE = re.compile(r"\W*copyright\s+(\(c\)|©|\W?(yyyy|year|\d{4}))", re.IGNORECASE)
SHORTEST_TEXT = 400
SHORTEST_REASON = 20


class Duty(Record):
    """Something that a licence asks of whoever gives the student away."""

    kind: DutyKind
    value: str = Field(default="", description="The prefix of a name, the words to show, a number of users.")
    of: tuple[Use, ...] = Field(default=("outputs", "weights"), description="Which use of the teacher brings it.")
    en: str
    fr: str

    @property
    def sentence(self) -> str:
        """The duty for people, in their language."""
        return words(en=self.en, fr=self.fr)


class Licence(Record):
    """One licence or set of terms."""

    key: str = Field(default="", description="Name of its file.")
    name: str
    names: tuple[str, ...] = Field(default=(), description="Other names under which it is met.")
    kind: Literal["weights", "service", "data"]
    outputs: Answer = Field(description="May a model be trained on what it covers, and be given away?")
    weights: Answer = Field(default="unknown", description="May a model start from these weights?")
    clause: str = Field(description="The words on which the answer rests; empty where the licence is silent.")
    where: str = Field(description="Where they stand.")
    en: str
    fr: str
    source: str = Field(description="Address at which the text is found.")
    version: str = Field(default="", description="Date or version of the text.")
    read: str = Field(description="When it was last looked at.")
    how: Literal["official", "reported"] = Field(description="Whether the text itself was read, or a quotation of it.")
    texts: tuple[str, ...] = Field(default=(), description="Digests of its normalised text.")
    duty: tuple[Duty, ...] = ()


class Permission(Record):
    """The oracle's answer."""

    answer: Answer
    use: Use
    licence: str = Field(description="Name of the licence that decides, or what was asked for if it is not known.")
    clause: str = ""
    where: str = ""
    source: str = ""
    read: str = ""
    how: str = ""
    reason: str = Field(description="One sentence, in the reader's language.")
    duties: tuple[Duty, ...] = ()
    inherited: tuple[str, ...] = Field(default=(), description="Names of the parents' licences that were asked too.")


def may_teach(licence: str, parents: Iterable[str] = ()) -> Permission:
    """Whether a model may be trained on what is under a licence (a model's answers, a service's, data).

    Args:
        licence: a name, or the whole text as it was shipped.
        parents: the licences of the models that the teacher was made from; the strictest answer holds.
    """
    return _decide(licence, tuple(parents), "outputs")


def may_start(licence: str, parents: Iterable[str] = ()) -> Permission:
    """Whether a student may start from weights under a licence, and be given away; arguments as for ``may_teach``."""
    return _decide(licence, tuple(parents), "weights")


def require_permission(permission: Permission, reason: str = "") -> str:
    """Stop where the answer is no; returns a warning where it is unknown, and nothing where it is clear.

    Args:
        reason: why someone takes it upon themselves to go on all the same; at least 20 characters, and on the record.

    Raises:
        Refused: the answer is no, and no reason is given.
    """
    if permission.answer == "no" and len(reason.strip()) < SHORTEST_REASON:
        raise Refused(
            f"{permission.licence}: {permission.reason}" + (f" « {permission.clause} »" if permission.clause else ""),
            words(
                en="Take another teacher; or, if a contract allows it, write the reason in teacher.licence_reason.",
                fr="Prenez un autre enseignant ; ou, si un contrat le permet, écrivez-le dans teacher.licence_reason.",
            ),
        )
    return permission.reason if permission.answer in ("no", "unknown") else ""


@cache
def known_licences() -> tuple[Licence, ...]:
    """Every licence that the oracle knows."""
    folder = resources.files("cornue.models") / "licences"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".toml")), key=lambda file: file.name)
    found = []
    for file in files:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
        found.append(Licence.model_validate({**data, "key": file.name.removesuffix(".toml")}))
    return tuple(found)


def find_licence(name_or_text: str) -> Licence | None:
    """The licence of a name, or of a whole text by its digest."""
    if len(name_or_text) >= SHORTEST_TEXT:
        digest = text_digest(name_or_text)
        return next((licence for licence in known_licences() if digest in licence.texts), None)
    wanted = _plain(name_or_text)
    for licence in known_licences():
        if wanted in {_plain(name) for name in (licence.key, licence.name, *licence.names)}:
            return licence
    return None


def text_digest(text: str) -> str:
    """Digest of a licence's text that spacing, quotation marks, capitals and copyright lines do not change."""
    lines = [line for line in text.splitlines() if not COPYRIGHT_LINE.match(line)]
    letters = unicodedata.normalize("NFKC", " ".join(lines)).casefold()
    return digest_text(" ".join(re.findall(r"\w+", letters)))


def _decide(licence: str, parents: tuple[str, ...], use: Use) -> Permission:
    permissions = [_alone(name, use) for name in (licence, *parents)]
    strictest = max(permissions, key=lambda permission: STRICTNESS.index(permission.answer))
    duties = {duty: None for permission in permissions for duty in permission.duties}
    inherited = tuple(permission.licence for permission in permissions[1:])
    return strictest.model_copy(update={"duties": tuple(duties), "inherited": inherited})


def _alone(name_or_text: str, use: Use) -> Permission:
    found = find_licence(name_or_text)
    if found is None:
        asked = name_or_text if len(name_or_text) < SHORTEST_TEXT else " ".join(name_or_text.split())[:60] + "…"
        return Permission(
            answer="unknown",
            use=use,
            licence=asked,
            reason=words(
                en=f"the licence “{asked}” is not known here: read it before you rely on it",
                fr=f"la licence « {asked} » n'est pas connue ici : lisez-la avant de vous y fier",
            ),
        )
    return Permission(
        answer=found.outputs if use == "outputs" else found.weights,
        use=use,
        licence=found.name,
        clause=found.clause,
        where=found.where,
        source=found.source,
        read=found.read,
        how=found.how,
        reason=words(en=found.en, fr=found.fr),
        duties=tuple(duty for duty in found.duty if use in duty.of),
    )


def _plain(name: str) -> str:
    """A name without the differences that nobody means."""
    words_of_it = re.findall(r"[a-z]+|\d+", name.casefold())
    return "".join(
        word for word in words_of_it if word not in ("license", "licence", "agreement", "the", "v", "version")
    )
