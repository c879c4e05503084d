"""From answers to results: verdicts, shares by stratum, and the comparison of two answerers.

Light, so that an auditor can do the sums again without any model. It neither asks nor chooses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cornue.evaluate.statistics import paired, share
from cornue.records.samples import Prompt, Sample, Verdict
from cornue.verify.base import Verifier


def judge_all(verifier: Verifier, prompts: Sequence[Prompt], samples: Sequence[Sample]) -> dict[str, Verdict]:
    """The verdict on each answer, by prompt."""
    by_id = {prompt.id: prompt for prompt in prompts}
    return {sample.prompt_id: verifier.judge(by_id[sample.prompt_id], sample) for sample in samples}


def by_stratum(prompts: Sequence[Prompt], verdicts: Mapping[str, Verdict]) -> dict[str, Any]:
    """Shares of right answers in each stratum, those to answer and those to decline also apart."""
    groups: dict[str, list[Prompt]] = {}
    for prompt in prompts:
        stratum = prompt.stratum or "all"
        kind = "declinable" if (prompt.truth or {}).get("decline") else "answerable"
        for name in (stratum, f"{stratum}/{kind}"):
            groups.setdefault(name, []).append(prompt)
    table = {}
    for name, members in sorted(groups.items()):
        asked = [prompt for prompt in members if prompt.id in verdicts]
        right = sum(verdicts[prompt.id].value == "correct" for prompt in asked)
        table[name] = share(right, len(asked))
    return table


def compare_answerers(
    prompts: Sequence[Prompt], student: Mapping[str, Verdict], teacher: Mapping[str, Verdict]
) -> dict[str, Any]:
    """Student against teacher in each stratum, question by question."""
    strata = sorted({prompt.stratum or "all" for prompt in prompts})
    table = {}
    for stratum in strata:
        ids = [p.id for p in prompts if (p.stratum or "all") == stratum and p.id in teacher and p.id in student]
        if ids:
            first, second = ([found[i].value == "correct" for i in ids] for found in (student, teacher))
            table[stratum] = paired(first, second)
    return table
