"""Verifiers of plain answers. Run: pytest tests/verify"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cornue.records.errors import BadInput
from cornue.records.samples import Message, Prompt
from cornue.verify.text import ChoiceVerifier, ExactVerifier, JsonVerifier, number

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


def ask(answer: object) -> Prompt:
    return Prompt.make((Message(role="user", content="?"),), {"answer": answer})


@pytest.mark.parametrize(
    "text", ["1 234", "1,234", "1234,0", "so it is \\boxed{1234}", "work\n#### 1234", "Answer: 1\u202f234"]
)
def test_a_number_is_read_in_every_usual_form(text: str) -> None:
    assert ExactVerifier().weigh(ask("1234"), text)[0] == "correct"


@pytest.mark.parametrize("text", ["1235", "about", "1234 or 1235", ""])
def test_what_is_not_the_number_is_wrong(text: str) -> None:
    assert ExactVerifier().weigh(ask("1234"), text)[0] == "wrong"


@given(st.integers(-(10**9), 10**9))
def test_every_integer_is_read_back(whole: int) -> None:
    assert number(str(whole)) == whole


def test_a_choice_must_be_named_alone() -> None:
    verifier = ChoiceVerifier(("oui", "non"))
    assert verifier.weigh(ask("oui"), "Je dirais : Oui.")[0] == "correct"
    assert verifier.weigh(ask("oui"), "oui ou non")[0] == "wrong"
    assert verifier.weigh(ask("oui"), "peut-être")[0] == "wrong"


def test_one_choice_is_no_choice() -> None:
    with pytest.raises(BadInput, match="choices"):
        ChoiceVerifier(("oui", "Oui"))


def test_json_must_fit_the_schema_and_the_truth() -> None:
    verifier = JsonVerifier(SCHEMA)
    assert verifier.weigh(ask({"n": 3}), 'Voici :\n```json\n{"n": 3}\n```')[0] == "correct"
    assert verifier.weigh(ask({"n": 3}), '{"n": 4}')[0] == "wrong"
    assert verifier.weigh(ask({"n": 3}), '{"n": "3"}')[0] == "wrong"
    assert verifier.weigh(ask({"n": 3}), "{")[0] == "wrong"


@pytest.mark.parametrize(
    "verifier, answer",
    [
        (ExactVerifier(), "12"),
        (ExactVerifier(), "Paris"),
        (ChoiceVerifier(("a", "b")), "a"),
        (JsonVerifier(SCHEMA), {"n": 1}),
    ],
)
def test_every_verifier_proves_itself(verifier: ExactVerifier, answer: object) -> None:
    assert verifier.prove([ask(answer)]) == 1
