"""The step ``curate``: which answers the student learns from.

Rules run in a fixed order and each names what it removed, so that kept + removed = asked, always. Splits were drawn
with the prompts; this room checks that nothing crosses them, and never looks at a held-out question except to keep its
like out of training. It changes no text.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from cornue.records.recipe import Curate
from cornue.records.samples import Example, Prompt, Sample, Verdict


class Curated(NamedTuple):
    """What was chosen, and what was not.

    ``removed`` maps a rule's name to the (prompt id, index) pairs that it removed.
    """

    train: list[Example]
    validation: list[Example]
    removed: dict[str, list[tuple[str, int]]]


def fold(text: str) -> str:
    """Text as two questions are compared: no case, accents, punctuation or spacing."""
    bare = "".join(c for c in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(c))
    return " ".join(re.findall(r"\w+", bare))


def question(prompt: Prompt) -> str:
    """The text that identifies a prompt for deduplication: everything that was asked."""
    return fold("\n".join(message.content for message in prompt.messages))


def curate(
    settings: Curate,
    prompts: Mapping[str, Prompt],
    samples: Sequence[Sample],
    verdicts: Sequence[Verdict],
    carried: Iterable[Example] = (),
    declining: Collection[str] = (),
) -> Curated:
    """Choose among the samples of the training and validation prompts; held-out samples are left to ``evaluate``.

    Args:
        carried: examples for training prompts that have no right answer of their own, judged already; the true answers
            where those are learnt.
        declining: ids of the prompts to which a refusal is the right answer.
    """
    value = {(verdict.prompt_id, verdict.index): verdict.value for verdict in verdicts}
    heldout = {question(prompt) for prompt in prompts.values() if prompt.split == "heldout"}
    removed: dict[str, list[tuple[str, int]]] = defaultdict(list)
    kept: dict[str, list[Example]] = {"train": [], "validation": []}
    seen: set[str] = set()
    answered: Counter[str] = Counter()
    per_form: Counter[tuple[str, str]] = Counter()
    texts: dict[str, set[str]] = defaultdict(set)
    for sample in sorted(samples, key=lambda it: (it.prompt_id, it.index)):  # the order of digests, not of content
        prompt, key = prompts[sample.prompt_id], (sample.prompt_id, sample.index)
        if prompt.split == "heldout":
            continue
        asked, form = question(prompt), (prompt.split, prompt.form)
        if sample.error or sample.finish != "stop":
            rule = "unfinished"
        elif settings.keep == "truth" and prompt.split == "train":
            rule = "the truth is learnt instead"
        elif settings.keep != "all" and value.get(key) != "correct":
            rule = f"not correct: {value.get(key, 'not judged')}"
        elif asked in heldout:
            rule = "same question as a held-out one"
        elif sample.prompt_id not in answered and asked in seen:
            rule = "same question as another one"
        elif fold(sample.text) in texts[sample.prompt_id]:
            rule = "same answer to the same question"
        elif answered[sample.prompt_id] >= settings.per_prompt:
            rule = "enough answers to this prompt"
        elif settings.per_form and sample.prompt_id not in answered and per_form[form] >= settings.per_form:
            rule = "enough prompts of this form"
        else:
            per_form[form] += sample.prompt_id not in answered
            seen.add(asked)
            answered[sample.prompt_id] += 1
            texts[sample.prompt_id].add(fold(sample.text))
            kept[prompt.split].append(_example(prompt, sample))
            continue
        removed[rule].append(key)
    for example in carried:
        asked, form = fold("\n".join(message.content for message in example.messages)), ("train", example.form)
        full = bool(settings.per_form) and per_form[form] >= settings.per_form
        if rule := _against_carrying(asked, heldout, seen, full):
            removed[rule].extend(_keys([example]))
            continue
        per_form[form] += 1
        seen.add(asked)
        kept["train"].append(example)
    if settings.refusals:
        kept["train"], removed["enough refusals"] = _few_refusals(kept["train"], declining, settings.refusals)
    if settings.examples:
        removed["enough examples"] = _keys(kept["train"][settings.examples :])
        del kept["train"][settings.examples :]
    return Curated(kept["train"], kept["validation"], dict(sorted(removed.items())))


def _against_carrying(asked: str, heldout: Collection[str], seen: Collection[str], full: bool) -> str:
    """The rule that keeps a carried example out; empty if none does."""
    if asked in heldout:
        return "carried: same question as a held-out one"
    if asked in seen:
        return "carried: same question as another one"
    return "carried: enough prompts of this form" if full else ""


def _few_refusals(
    examples: Sequence[Example], declining: Collection[str], most: float
) -> tuple[list[Example], list[tuple[str, int]]]:
    """Examples with refusals up to a share of them; the last ones of each form are too many, and told by their keys."""
    turns: Counter[str] = Counter()
    places: list[tuple[int, int]] = []
    for place, example in enumerate(examples):
        if example.prompt_id in declining:
            places.append((turns[example.form], place))
            turns[example.form] += 1
    allowed = int(most / (1 - most) * (len(examples) - len(places)))
    over = {place for _, place in sorted(places)[allowed:]}
    kept = [example for place, example in enumerate(examples) if place not in over]
    return kept, _keys([examples[place] for place in sorted(over)])


def _keys(examples: Iterable[Example]) -> list[tuple[str, int]]:
    return [(example.prompt_id, example.index) for example in examples]


def _example(prompt: Prompt, sample: Sample) -> Example:
    return Example(
        prompt_id=prompt.id,
        index=sample.index,
        messages=prompt.messages,
        completion=sample.text.strip(),
        form=prompt.form,
        writer=sample.writer,
    )
