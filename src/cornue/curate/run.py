"""Runs the choice and writes it down: ``train.parquet``, ``validation.parquet`` and ``removed.json``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cornue.curate.carry import carry
from cornue.curate.choose import curate
from cornue.records.errors import CheckFailed
from cornue.records.recipe import Curate
from cornue.records.samples import Example, Prompt, Sample, Verdict
from cornue.records.words import words
from cornue.seal.tables import write_records
from cornue.seal.write import write_json
from cornue.verify.base import Verifier


def run_curate(
    settings: Curate,
    prompts: Mapping[str, Prompt],
    samples: Sequence[Sample],
    verdicts: Sequence[Verdict],
    folder: Path,
    *,
    siblings: Sequence[Prompt] = (),
    verifier: Verifier | None = None,
) -> dict[str, Any]:
    """Choose, write, and return the counts.

    Args:
        siblings: all training prompts at hand, asked or not, for ``carry`` and for ``keep = "truth"``.
        verifier: puts answers right, judges what is carried over and writes true answers.

    Raises:
        CheckFailed: nothing is left to learn from.
    """
    if verifier:
        samples = [_put_right(sample, prompts, verifier) for sample in samples]
    carried: list[Example] = []
    if settings.keep == "truth" and verifier:
        carried = [_true_example(prompt, verifier) for prompt in sorted(siblings, key=lambda prompt: prompt.id)]
    elif settings.carry and verifier:
        right = {(verdict.prompt_id, verdict.index) for verdict in verdicts if verdict.value == "correct"}
        kept = [
            (prompts[sample.prompt_id], sample)
            for sample in sorted(samples, key=lambda sample: (sample.prompt_id, sample.index))
            if (sample.prompt_id, sample.index) in right and prompts[sample.prompt_id].split == "train"
        ]
        answered = {prompt.id for prompt, _ in kept}
        rest = sorted((prompt for prompt in siblings if prompt.id not in answered), key=lambda prompt: prompt.id)
        carried = list(carry(kept, rest, verifier))
    declining = {prompt.id for prompt in (*prompts.values(), *siblings) if prompt.truth and prompt.truth.get("decline")}
    chosen = curate(settings, prompts, samples, verdicts, carried, declining)
    if not chosen.train:
        raise CheckFailed(
            words(
                en=f"None of the {len(samples)} answers can be learnt from.",
                fr=f"Aucune des {len(samples)} réponses ne peut être apprise.",
            ),
            words(
                en="Look at the reasons in 2-verify, and at the teacher's instructions.",
                fr="Regardez les raisons dans 2-verify, et les instructions de l'enseignant.",
            ),
        )
    write_records(folder / "train.parquet", chosen.train, Example)
    write_records(folder / "validation.parquet", chosen.validation, Example)
    write_json(folder / "removed.json", chosen.removed)
    return {
        "train": len(chosen.train),
        "carried_over": sum(bool(example.carried_from) for example in chosen.train),
        "validation": len(chosen.validation),
        "forms": len(Counter(example.form for example in chosen.train)),
        "removed": {rule: len(keys) for rule, keys in chosen.removed.items()},
    }


def _true_example(prompt: Prompt, verifier: Verifier) -> Example:
    """What the prompt itself says is right."""
    completion = verifier.gold(prompt).strip()
    return Example(
        prompt_id=prompt.id, messages=prompt.messages, completion=completion, form=prompt.form, writer="person"
    )


def _put_right(sample: Sample, prompts: Mapping[str, Prompt], verifier: Verifier) -> Sample:
    """A sample as it was judged: the student learns the names as they are, not as the teacher misspelt them."""
    text = verifier.put_right(prompts[sample.prompt_id], sample.text)
    return sample if text == sample.text else sample.model_copy(update={"text": text})
