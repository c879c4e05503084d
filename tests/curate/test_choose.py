"""What is kept and what is removed. Run: pytest tests/curate"""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cornue.curate.choose import Curated, curate
from cornue.records.recipe import Curate
from cornue.records.samples import Example, Message, Prompt, Sample, Verdict


def ask(text: str, **rest: Any) -> Prompt:
    return Prompt.make((Message(role="user", content=text),), {"answer": text}, **rest)


def choose(prompts: list[Prompt], values: list[str], settings: Curate | None = None, texts: str = "") -> Curated:
    samples = [Sample(prompt_id=p.id, text=texts or f"answer {p.id}") for p in prompts]
    verdicts = [
        Verdict(prompt_id=p.id, value=value, reason="", verifier="exact")  # type: ignore[arg-type]
        for p, value in zip(prompts, values, strict=True)
    ]
    return curate(settings or Curate(), {p.id: p for p in prompts}, samples, verdicts)


def test_only_what_was_found_right_is_kept() -> None:
    prompts = [ask("a"), ask("b"), ask("c")]
    found = choose(prompts, ["correct", "wrong", "unknown"])
    assert [example.prompt_id for example in found.train] == [prompts[0].id]


def test_a_question_that_is_held_out_is_never_learnt_whatever_its_spelling() -> None:
    heldout, copy = ask("Combien d'habitants à Évry ?", split="heldout"), ask("combien d habitants a evry")
    found = choose([heldout, copy], ["correct", "correct"])
    assert found.train == []
    assert list(found.removed) == ["same question as a held-out one"]


def test_the_same_question_is_learnt_once() -> None:
    found = choose([ask("Où ?"), ask("ou")], ["correct", "correct"])
    assert len(found.train) == 1


def test_validation_stays_apart_from_training() -> None:
    found = choose([ask("a"), ask("b", split="validation")], ["correct", "correct"])
    assert (len(found.train), len(found.validation)) == (1, 1)


def test_a_form_does_not_take_more_than_its_share() -> None:
    prompts = [ask(f"q{n}", form="f") for n in range(5)]
    found = choose(prompts, ["correct"] * 5, Curate(per_form=2))
    assert len(found.train) == 2
    assert len(found.removed["enough prompts of this form"]) == 3


def test_refusals_are_kept_by_turns_of_their_forms_up_to_their_share() -> None:
    refusals = [
        Prompt.make((Message(role="user", content=f"{form} {n}"),), {"decline": True}, form=form)
        for form in ("weather", "mayor")
        for n in range(4)
    ]
    answers = [ask(f"q{n}") for n in range(12)]
    prompts = [*refusals, *answers]
    examples = [Example(prompt_id=p.id, messages=p.messages, completion="x", form=p.form) for p in prompts]
    declining = {p.id for p in refusals}
    found = curate(Curate(refusals=0.25), {}, [], [], examples, declining)
    kept = Counter(example.form for example in found.train if example.prompt_id in declining)
    assert kept == {"weather": 2, "mayor": 2}
    assert len(found.train) == 16
    assert len(found.removed["enough refusals"]) == 4


@given(st.lists(st.tuples(st.text(max_size=4), st.sampled_from(["correct", "wrong", "unknown"])), max_size=12))
def test_kept_and_removed_make_up_what_was_asked(rows: list[tuple[str, str]]) -> None:
    prompts = list({p.id: p for p in (ask(text) for text, _ in rows)}.values())
    values = [value for _, value in rows][: len(prompts)]
    found = choose(prompts, values)
    assert len(found.train) + sum(map(len, found.removed.values())) == len(prompts)


@given(st.permutations(range(6)))
def test_the_order_in_which_answers_came_does_not_matter(order: list[int]) -> None:
    prompts = [ask(f"q{n % 4}" if n < 4 else f"Q{n % 4} ?") for n in range(6)]
    usual = choose(prompts, ["correct"] * 6)
    assert choose([prompts[n] for n in order], ["correct"] * 6) == usual
