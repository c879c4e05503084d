from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cornue.models.merges import Merges, learn_merges
from cornue.models.tiny import TEXTS, tiny_model, tiny_tokenizer
from cornue.models.trim import Fitted, extend, refit, trim

JOB = ["Combien de communes du Morbihan ?", "<|im_start|>user\nCombien ?<|im_end|>\n"]
FORMS = {
    "count": [f"Combien de communes dans le département {place} ?" for place in ("Ain", "Gard", "Var", "Lot")],
    "sum": [f"Quelle population dans le département {place} ?" for place in ("Ain", "Gard", "Nord", "Lot")],
}
WHOLE = tiny_tokenizer()
TRIMMED = trim(WHOLE, JOB)
EXTENDED = extend(WHOLE, FORMS, most=40, weight=1.5)


@pytest.mark.parametrize("text", JOB)
def test_texts_of_the_job_are_cut_as_before(text: str) -> None:
    new_ids = TRIMMED.new_ids()
    assert TRIMMED.tokenizer.encode(text) == [new_ids[number] for number in WHOLE.encode(text)]


def test_entries_that_the_job_does_not_use_are_gone() -> None:
    assert len(TRIMMED.tokenizer) == len(TRIMMED.rows) < len(WHOLE)
    assert "SELECT" not in TRIMMED.tokenizer.get_vocab()
    assert "Combien" in TRIMMED.tokenizer.get_vocab()


def test_the_head_of_the_list_can_be_kept() -> None:
    assert len(trim(WHOLE, [], keep_first=10).tokenizer) == 3 + 256 + 10
    assert len(trim(WHOLE, []).tokenizer) == 3 + 256


@settings(max_examples=100, deadline=None)
@given(text=st.text())
@pytest.mark.parametrize("fitted", [TRIMMED, EXTENDED, TRIMMED.then(extend(TRIMMED.tokenizer, FORMS, most=40))])
def test_any_text_is_written_and_read_back(fitted: Fitted, text: str) -> None:
    assert fitted.tokenizer.decode(fitted.tokenizer.encode(text)) == text


@settings(max_examples=100, deadline=None)
@given(text=st.text(alphabet="Combien de communes du Morbihan ?SELECT*';\n 0123é日"))
def test_an_extended_text_spells_the_same_old_tokens(text: str) -> None:
    spelt = [old for new in EXTENDED.tokenizer.encode(text) for old in EXTENDED.rows[new]]
    assert spelt == WHOLE.encode(text)


def test_extension_shortens_forms_and_leaves_names_spelt_out() -> None:
    texts = [text for group in FORMS.values() for text in group]
    extended, whole = (sum(len(spelt) for spelt in each(texts)["input_ids"]) for each in (EXTENDED.tokenizer, WHOLE))
    assert extended < 0.8 * whole
    vocabulary = EXTENDED.tokenizer.get_vocab()
    assert "ĠGard" not in vocabulary
    assert "ĠNord" not in vocabulary


def test_learning_merges_does_not_depend_on_the_order_of_words() -> None:
    words = {"commune": 5, "communes": 7, "comme": 3, "une": 2}
    learnt = [
        learn_merges(Merges([]), dict(order), most=9, least=2) for order in (words.items(), sorted(words.items()))
    ]
    assert learnt[0] == learnt[1]
    assert len(learnt[0]) == 8


def test_the_merges_that_cut_a_word_are_enough_to_cut_it() -> None:
    merges = Merges([("b", "c"), ("a", "b"), ("a", "bc"), ("abc", "d")])
    applied = merges.applied("abcd")
    assert applied == [("b", "c"), ("a", "bc"), ("abc", "d")]
    assert Merges(applied).cut("abcd") == merges.cut("abcd") == ["abcd"]


def test_our_cutting_is_that_of_the_library() -> None:
    from cornue.models.trim import _Cutter

    cutter = _Cutter(WHOLE)
    for text in TEXTS:
        pieces = [piece for word in cutter.words(text) for piece in cutter.merges.cut(word)]
        assert [cutter.tokens[piece] for piece in pieces] == WHOLE.encode(text)


def test_a_refitted_model_computes_the_same_on_the_job() -> None:
    model, whole = tiny_model(WHOLE), tiny_model(WHOLE)
    saving = refit(model, TRIMMED)
    assert saving.parameters_before - saving.parameters_after == 32 * (len(WHOLE) - len(TRIMMED.rows))
    with torch.inference_mode():
        before = whole(torch.tensor([WHOLE.encode(JOB[0])])).logits
        after = model(torch.tensor([TRIMMED.tokenizer.encode(JOB[0])])).logits
    kept = torch.tensor([old for (old,) in TRIMMED.rows])
    assert torch.allclose(before[..., kept], after, atol=1e-5)
    assert model.config.eos_token_id == TRIMMED.tokenizer.eos_token_id


def test_new_rows_begin_as_the_mean_of_their_parts() -> None:
    model = tiny_model(WHOLE)
    old = model.get_input_embeddings().weight.detach().clone()
    refit(model, EXTENDED)
    new = model.get_input_embeddings().weight
    longest = max(range(len(EXTENDED.rows)), key=lambda number: len(EXTENDED.rows[number]))
    assert len(EXTENDED.rows[longest]) > 2
    assert torch.allclose(new[longest], old[list(EXTENDED.rows[longest])].mean(0))


def test_an_output_apart_from_the_embedding_is_refitted_too() -> None:
    model = tiny_model(WHOLE)
    model.config.tie_word_embeddings = False
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach() * 2)
    refit(model, TRIMMED)
    assert torch.equal(model.lm_head.weight, model.get_input_embeddings().weight * 2)
