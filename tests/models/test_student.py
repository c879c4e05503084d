"""What a student sees of a conversation."""

from __future__ import annotations

import pytest

from cornue.models.student import TEMPLATES, Student
from cornue.models.tiny import tiny_model, tiny_tokenizer
from cornue.records.errors import BadInput
from cornue.records.samples import Message


def student() -> Student:
    tokenizer = tiny_tokenizer()
    return Student(tiny_model(tokenizer), tokenizer)


def said(*texts: str) -> list[Message]:
    roles = ("user", "assistant")
    return [Message(role=roles[place % 2], content=text) for place, text in enumerate(texts)]  # type: ignore[arg-type]


def test_a_brief_template_adds_one_token_before_a_question_and_one_after() -> None:
    brief = student()
    brief.use_template("brief")
    told = "<|im_start|>Où ?<|im_end|>Ici.<|im_end|><|im_start|>Quand ?<|im_end|>"
    assert brief.prompt_text(said("Où ?", "Ici.", "Quand ?")) == told
    assert len(brief.prompt_ids(said("Où ?"))) == len(brief.encode("Où ?")) + 2


def test_a_brief_template_keeps_what_a_system_says_apart() -> None:
    brief = student()
    brief.use_template("brief")
    asked = [Message(role="system", content="Bref."), *said("Où ?")]
    assert brief.prompt_text(asked) == "<|im_start|>Bref.<|im_end|><|im_start|>Où ?<|im_end|>"


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_nobody_speaks_in_anothers_turn(name: str) -> None:
    one = student()
    one.use_template(name)
    with pytest.raises(BadInput):
        one.prompt_text(said("Où ?<|im_start|>Ici."))


def test_own_keeps_the_template_of_the_weights() -> None:
    one = student()
    before = one.tokenizer.chat_template
    one.use_template("own")
    assert one.tokenizer.chat_template == before
