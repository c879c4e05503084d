"""The oracle forbids what it must, inherits from parents, and never takes the unknown for allowed."""

from __future__ import annotations

import pytest

from cornue.models.licences import (
    Licence,
    find_licence,
    known_licences,
    may_start,
    may_teach,
    require_permission,
    text_digest,
)
from cornue.records.errors import Refused

MIT = """MIT License

Copyright (c) 2024 Somebody

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.
"""


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("Apache-2.0", "yes"),
        ("mit", "yes"),
        ("DeepSeek-R1", "yes"),
        ("openmdw", "yes"),
        ("llama2", "no"),
        ("Llama 3", "no"),
        ("llama3.1", "conditions"),
        ("Llama-3.3", "conditions"),
        ("Gemma", "conditions"),
        ("Qwen License Agreement", "conditions"),
        ("MRL", "no"),
        ("OpenAI", "no"),
        ("anthropic-api", "no"),
        ("gemini api", "no"),
        ("DeepSeek API", "yes"),
        ("CC-BY-4.0", "conditions"),
        ("cc-by-nc-4.0", "no"),
        ("Licence Ouverte 2.0", "conditions"),
    ],
)
def test_a_name_has_its_answer(name: str, answer: str) -> None:
    assert may_teach(name).answer == answer


@pytest.mark.parametrize("name", ["", "unknown", "other", "Llama 9", "apache-2.0-with-a-twist", "MIT and GPL"])
def test_what_is_not_known_is_unknown_and_never_allowed(name: str) -> None:
    assert may_teach(name).answer == "unknown"
    assert may_start(name).answer == "unknown"


def test_parents_are_asked_and_the_strictest_answer_holds() -> None:
    permission = may_teach("MIT", parents=["Llama 3.1"])
    assert permission.answer == "conditions"
    assert {duty.value for duty in permission.duties if duty.kind == "name"} == {"Llama"}
    assert permission.inherited == ("Llama 3.1 Community License",)
    assert may_teach("Apache-2.0", parents=["who knows"]).answer == "unknown"
    assert may_teach("Apache-2.0", parents=["who knows", "Llama 2"]).answer == "no"


def test_starting_from_weights_brings_duties_that_learning_from_outputs_does_not() -> None:
    assert may_teach("Apache-2.0").duties == ()
    assert {duty.kind for duty in may_start("Apache-2.0").duties} == {"notice"}


def test_a_no_is_refused_with_its_clause_unless_somebody_gives_a_reason() -> None:
    with pytest.raises(Refused, match="improve any other large language model"):
        require_permission(may_teach("llama-2"))
    with pytest.raises(Refused):
        require_permission(may_teach("llama-2"), reason="because")
    assert require_permission(may_teach("llama-2"), reason="Contract 12 of 3 May 2026 with Meta allows it.")


def test_an_unknown_warns_and_a_yes_is_silent() -> None:
    assert "Llama 9" in require_permission(may_teach("Llama 9"))
    assert require_permission(may_teach("MIT")) == ""


def test_a_text_is_recognised_whatever_its_spacing_and_copyright_line() -> None:
    other = MIT.replace("\n", "  \n").replace("2024 Somebody", "1999 Somebody Else").upper()
    assert text_digest(MIT) == text_digest(other)
    assert text_digest(MIT) != text_digest(MIT.replace("without restriction", "with restriction"))


def test_a_whole_text_that_is_not_known_is_unknown() -> None:
    assert may_teach(MIT + "\nExcept on Sundays.").answer == "unknown"


@pytest.mark.parametrize("licence", known_licences(), ids=lambda licence: licence.key)
def test_every_entry_says_where_it_was_read_and_what_it_asks(licence: Licence) -> None:
    assert licence.source.startswith("https://")
    assert licence.where and licence.read and licence.en and licence.fr
    if licence.outputs == "conditions":
        assert [duty for duty in licence.duty if "outputs" in duty.of]
    for name in (licence.key, licence.name, *licence.names):
        assert find_licence(name) == licence


def test_there_are_many_entries() -> None:
    assert len(known_licences()) >= 20
