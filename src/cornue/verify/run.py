"""The step ``verify``: a verdict on every sample of a capture.

The verifier is built from the recipe and proves itself on the prompts of this very job before it judges anything.
It writes ``verdicts.parquet`` and its counts; it removes nothing: ``curate`` does.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cornue.records.errors import BadInput
from cornue.records.progress import Progress
from cornue.records.recipe import Verify
from cornue.records.samples import Prompt, Sample, Verdict
from cornue.records.words import words
from cornue.seal.tables import write_records
from cornue.sources.register import Register
from cornue.verify.base import Verifier
from cornue.verify.sql import SqlVerifier
from cornue.verify.text import ChoiceVerifier, ExactVerifier, JsonVerifier

PROOFS = 200


def make_verifier(settings: Verify, folder: Path, register: Register | None) -> Verifier:
    """The verifier that a recipe asks for.

    Args:
        folder: where the recipe lies; its files are named relative to it.
        register: the table of ``[sources]``, needed by ``sql``.

    Raises:
        BadInput: a setting that the kind needs is missing.
    """
    if settings.kind == "exact":
        return ExactVerifier()
    if settings.kind == "choice":
        return ChoiceVerifier(settings.choices)
    if settings.kind == "json_schema":
        return JsonVerifier(_read_schema(folder / settings.json_schema))
    if register is None:
        raise BadInput(
            words(
                en='[verify] kind = "sql" needs a register to ask, and [sources] names none.',
                fr='[verify] kind = "sql" demande un registre, et [sources] n\'en nomme pas.',
            ),
            words(en='Write table = "…" in [sources].', fr='Écrivez table = "…" dans [sources].'),
        )
    return SqlVerifier(register, settings.seconds, settings.rows)


def run_verify(
    verifier: Verifier, prompts: Mapping[str, Prompt], samples: Iterable[Sample], folder: Path, progress: Progress
) -> dict[str, Any]:
    """Judge every sample into ``folder/verdicts.parquet``; returns the counts.

    Raises:
        CheckFailed: the verifier fails its own proof.
    """
    samples = list(samples)
    step = max(1, len(prompts) // PROOFS)
    proved = verifier.prove(list(prompts.values())[::step])
    progress.begin(words(en="judging the answers", fr="jugement des réponses"), len(samples))
    verdicts: list[Verdict] = []
    for done, sample in enumerate(samples, 1):
        verdicts.append(verifier.judge(prompts[sample.prompt_id], sample))
        if done % 50 == 0:
            progress.advance(done)
    progress.advance(len(samples))
    write_records(folder / "verdicts.parquet", verdicts, Verdict)
    return {
        "verifier": verifier.name,
        "proved_on": proved,
        "values": dict(sorted(Counter(verdict.value for verdict in verdicts).items())),
        "reasons": dict(Counter(_kind(verdict) for verdict in verdicts if verdict.value != "correct").most_common(20)),
    }


def _kind(verdict: Verdict) -> str:
    """A reason without its particulars, so that equal failures are counted together."""
    return f"{verdict.value}: {verdict.reason.split(':')[0]}"


def _read_schema(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(
            words(
                en=f"The JSON schema of [verify] cannot be read from {path}: {error}.",
                fr=f"Le schéma JSON de [verify] ne se lit pas dans {path} : {error}.",
            )
        ) from None
    if not isinstance(value, dict):
        raise BadInput(words(en=f"{path} is not a JSON schema.", fr=f"{path} n'est pas un schéma JSON."))
    return value
