"""Verifiers of plain answers: ``exact``, ``choice`` and ``json_schema``.

They read the final answer in the forms in which models give one (a boxed value, a line after ``####``, the last line)
and never guess: where no answer can be read, the verdict is wrong with that reason. The truth of a prompt is
``{"answer": …}``.
"""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any

import jsonschema

from cornue.records.errors import BadInput
from cornue.records.samples import Prompt
from cornue.records.words import words
from cornue.verify.base import Value, Verifier

FINAL = (
    re.compile(r"\\boxed\{([^{}]*)\}"),
    re.compile(r"^####\s*(.+?)\s*$", re.MULTILINE),
    re.compile(r"(?:answer|réponse)\s*(?:is|est)?\s*[:=]\s*(.+?)\s*$", re.IGNORECASE | re.MULTILINE),
)
NUMBER = re.compile(r"[-+]?\d[\d\s\u00a0\u202f',.]*")
BLOCK = re.compile(r"```(?:json)?\s*\n(.*?)```", re.DOTALL)


def final_answer(text: str) -> str:
    """What an answer ends in: the last boxed value, marked line, "answer: …", or else its last line."""
    for form in FINAL:
        if found := form.findall(text):
            return str(found[-1]).strip()
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    return lines[-1] if lines else ""


def plain(text: str) -> str:
    """Text for comparing: one case, no accents of composition, single spaces, no closing full stop."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split()).strip(" .*`\"'")


def number(text: str) -> float | None:
    """The number that a text is, in French or English spelling; None if it is not a number."""
    match = NUMBER.fullmatch(text.strip(" .$€%*`"))
    if not match:
        return None
    digits = re.sub(r"[\s\u00a0\u202f']", "", match[0])
    if "," in digits and "." in digits:
        digits = digits.replace("," if digits.rfind(".") > digits.rfind(",") else ".", "")
    if re.fullmatch(r"[-+]?\d{1,3}(,\d{3})+", digits):
        digits = digits.replace(",", "")
    try:
        return float(digits.replace(",", "."))
    except ValueError:
        return None


class ExactVerifier(Verifier):
    """The final answer is the true one, as a number or as text."""

    name = "exact"

    def weigh(self, prompt: Prompt, text: str) -> tuple[Value, str]:
        """See ``Verifier.weigh``."""
        wanted, found = str((prompt.truth or {})["answer"]), final_answer(text)
        if (true := number(wanted)) is not None:
            value = number(found)
            if value is None:
                return "wrong", f"“{found[:60]}” is not a number"
            return ("correct", "equal numbers") if value == true else ("wrong", f"{found} instead of {wanted}")
        return ("correct", "equal texts") if plain(found) == plain(wanted) else ("wrong", f"“{found[:60]}” differs")

    def gold(self, prompt: Prompt) -> str:
        """The true answer."""
        return str((prompt.truth or {})["answer"])

    def spoilt(self, prompt: Prompt) -> str:
        """Another number, or another word."""
        true = number(self.gold(prompt))
        return self.gold(prompt) + "x" if true is None else str(true + 1)


class ChoiceVerifier(Verifier):
    """The final answer names exactly one of the allowed choices, and the true one."""

    name = "choice"

    def __init__(self, choices: tuple[str, ...]) -> None:
        if len({plain(choice) for choice in choices}) < 2:
            raise BadInput(
                words(
                    en=f"[verify] choices has {len(choices)} distinct entries; a choice needs two.",
                    fr=f"[verify] choices a {len(choices)} entrées distinctes ; un choix en demande deux.",
                ),
                words(en='Write choices = ["…", "…"].', fr='Écrivez choices = ["…", "…"].'),
            )
        self.choices = choices

    def weigh(self, prompt: Prompt, text: str) -> tuple[Value, str]:
        """See ``Verifier.weigh``."""
        found = plain(final_answer(text))
        named = [choice for choice in self.choices if re.search(rf"(?<!\w){re.escape(plain(choice))}(?!\w)", found)]
        # "non" within "plutôt non" counts once for the longest choice that contains it.
        named = [
            choice for choice in named if not any(choice != other and plain(choice) in plain(other) for other in named)
        ]
        if len(named) != 1:
            return "wrong", f"names {len(named)} of the choices"
        right = plain(named[0]) == plain(str((prompt.truth or {})["answer"]))
        return ("correct", "the true choice") if right else ("wrong", f"“{named[0]}” is another choice")

    def gold(self, prompt: Prompt) -> str:
        """The true choice."""
        return str((prompt.truth or {})["answer"])

    def spoilt(self, prompt: Prompt) -> str:
        """Another choice."""
        true = plain(self.gold(prompt))
        return next(choice for choice in self.choices if plain(choice) != true)


class JsonVerifier(Verifier):
    """The answer is JSON that fits a schema and has the true values.

    The truth is ``{"answer": {key: value}}``: those keys must have those values; others are free within the schema.
    """

    name = "json_schema"

    def __init__(self, schema: dict[str, Any]) -> None:
        try:
            jsonschema.Draft202012Validator.check_schema(schema)
        except jsonschema.SchemaError as error:
            raise BadInput(
                words(
                    en=f"The JSON schema of [verify] is not one: {error.message}.",
                    fr=f"Le schéma JSON de [verify] n'en est pas un : {error.message}.",
                )
            ) from None
        self.validator = jsonschema.Draft202012Validator(schema)

    def weigh(self, prompt: Prompt, text: str) -> tuple[Value, str]:
        """See ``Verifier.weigh``."""
        blocks = BLOCK.findall(text)
        try:
            value = json.loads(blocks[-1] if blocks else text)
        except (ValueError, RecursionError):
            return "wrong", "the answer is not JSON"
        if error := next(iter(self.validator.iter_errors(value)), None):
            return "wrong", f"does not fit the schema: {error.message[:120]}"
        for key, wanted in (prompt.truth or {}).get("answer", {}).items():
            if not isinstance(value, dict) or value.get(key) != wanted:
                return "wrong", f"“{key}” differs"
        return "correct", "fits the schema and the truth"

    def gold(self, prompt: Prompt) -> str:
        """The true values."""
        return json.dumps((prompt.truth or {}).get("answer", {}), ensure_ascii=False)

    def spoilt(self, prompt: Prompt) -> str:
        """Text that is not JSON."""
        return "{" + self.gold(prompt)
