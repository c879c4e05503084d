"""Baselines that need no model. Run: pytest tests/evaluate"""

from __future__ import annotations

from cornue.evaluate.baselines import always_declines, nearest
from cornue.records.samples import Example, Message, Prompt
from cornue.verify.sql import declines


def ask(text: str) -> Prompt:
    return Prompt.make((Message(role="user", content=text),))


def learnt(text: str, completion: str) -> Example:
    return Example(prompt_id=text, messages=(Message(role="user", content=text),), completion=completion)


def test_the_nearest_question_lends_its_answer() -> None:
    known = [learnt("combien d'habitants à Brest", "A"), learnt("code postal de Lyon", "B")]
    assert [sample.text for sample in nearest([ask("cb d habitants a brest"), ask("code postal Nice")], known)] == [
        "A",
        "B",
    ]


def test_declining_is_understood_by_the_verifier() -> None:
    assert declines(always_declines([ask("?")])[0].text)
