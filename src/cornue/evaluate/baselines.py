"""What needs no model: the answers that a clerk with a list of training questions would give.

``nearest`` repeats the kept answer to the most similar training question; ``always_declines`` says that the register
does not know. A teacher that does not beat them is not worth asking. Similar means: the cosine of character trigrams.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from cornue.curate.choose import fold
from cornue.records.samples import Example, Prompt, Sample
from cornue.verify.sql import REFUSAL


def always_declines(prompts: Sequence[Prompt]) -> list[Sample]:
    """The same refusal to everything."""
    return [Sample(prompt_id=prompt.id, text=REFUSAL, writer="person") for prompt in prompts]


def nearest(prompts: Sequence[Prompt], examples: Sequence[Example]) -> list[Sample]:
    """The kept answer to the most similar training question, word for word."""
    known = [(_trigrams(example.messages[-1].content), example.completion) for example in examples]
    norms = [math.sqrt(sum(count * count for count in grams.values())) for grams, _ in known]
    where: dict[str, list[tuple[int, int]]] = {}
    for place, (grams, _) in enumerate(known):
        for gram, count in grams.items():
            where.setdefault(gram, []).append((place, count))
    answers = []
    for prompt in prompts:
        scores: Counter[int] = Counter()
        for gram, count in _trigrams(prompt.messages[-1].content).items():
            for place, other in where.get(gram, ()):
                scores[place] += count * other
        best = max(scores, key=lambda place: scores[place] / norms[place], default=0)
        answers.append(Sample(prompt_id=prompt.id, text=known[best][1], writer="person"))
    return answers


def _trigrams(text: str) -> Counter[str]:
    bare = f"  {fold(text)}  "
    return Counter(bare[place : place + 3] for place in range(len(bare) - 2))
