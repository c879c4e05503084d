"""Chooses the answers on which a capture's fidelity is measured, and has it measured.

Held-out answers where there are any, whole ones, until about a thousand tokens are together. Where one engine sampled
and another scores, how far they lie apart is measured on as many tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cornue.capture.fidelity import certificate, compare_engines
from cornue.capture.packing import Shape
from cornue.capture.teacher import Scorer, Teacher, Text
from cornue.records.samples import Prompt

TOKENS = 1000


def certify(
    teacher: Teacher, scorer: Scorer, prompts: Sequence[Prompt], texts: Sequence[Text], shape: Shape
) -> dict[str, Any]:
    """The fidelity of the form in which distributions are kept, and the distance of the two engines if there are two.

    Args:
        prompts: the prompt of each text.
    """
    places = [place for place, text in enumerate(texts) if text.completion]
    held_out = [place for place in places if prompts[place].split == "heldout"]
    chosen = _enough(held_out or places, texts)
    some = [texts[place] for place in chosen]
    found = certificate(list(scorer.errors(some, shape)), shape)
    found["held_out"] = bool(held_out)
    found["engines"] = _engines_apart(teacher, scorer, [prompts[place] for place in chosen], some)
    return found


def _enough(places: Sequence[int], texts: Sequence[Text]) -> list[int]:
    """Places spread over the whole list, as many as make the tokens that are wanted."""
    total = sum(len(texts[place].completion) for place in places)
    step = max(1, total // TOKENS)
    return list(places[::step])


def _engines_apart(
    teacher: Teacher, scorer: Scorer, prompts: Sequence[Prompt], texts: Sequence[Text]
) -> dict[str, Any] | None:
    """How far the engine that sampled lies from the one that scores; None where they are one."""
    said = [teacher.say_again(prompt, len(text.completion)) for prompt, text in zip(prompts, texts, strict=True)]
    if any(one is None for one in said):
        return None
    again = [Text(text.prompt, one[0]) for text, one in zip(texts, said, strict=True) if one]
    rows = [one[1] for one in said if one]
    return compare_engines((rows[place], part, p_RV) for place, part, p_RV in scorer.whole(again))
