from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from cornue.models.head import Head
from cornue.models.packed import hidden_states, pack
from cornue.models.sample import Written, draw, generate

pytestmark = pytest.mark.usefixtures("one_thread")


def model(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.3,
    )
    return LlamaForCausalLM(config).eval()


def prompts(count: int = 7) -> list[list[int]]:
    draw = random.Random(3)
    return [[draw.randrange(2, 60) for _ in range(draw.randint(1, 9))] for _ in range(count)]


def scored(student: Any, prompt: list[int], text: Written, temperature: float = 1.0) -> torch.Tensor:
    """Log-probabilities of a text's tokens, read at once."""
    with torch.no_grad():
        hidden = hidden_states(student, pack([prompt + list(text.ids)]))[len(prompt) - 1 : -1]
        logprobs = torch.log_softmax(Head.of(student).logits(hidden) / temperature, -1)
    return logprobs.gather(1, torch.tensor(text.ids)[:, None])[:, 0]


def test_greedy_texts_are_those_of_the_models_own_generate() -> None:
    student = model()
    texts = generate(student, prompts(), stop={1}, max_tokens=12, slots=3)
    student.set_attn_implementation("sdpa")
    for prompt, text in zip(prompts(), texts, strict=True):
        own = student.generate(
            torch.tensor([prompt]), max_new_tokens=12, do_sample=False, eos_token_id=1, pad_token_id=0
        )
        assert tuple(own[0, len(prompt) :].tolist()) == text.ids


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.5])
def test_logprobs_are_those_of_the_whole_text_read_at_once(temperature: float) -> None:
    student = model()
    texts = generate(student, prompts(), stop={1}, max_tokens=12, temperature=temperature, seeds=range(7), slots=4)
    for prompt, text in zip(prompts(), texts, strict=True):
        expected = scored(student, prompt, text, temperature or 1.0)
        torch.testing.assert_close(torch.tensor(text.logprobs), expected, rtol=1e-4, atol=1e-4)


def test_a_text_does_not_depend_on_what_shares_the_batch() -> None:
    student = model()
    settings: dict[str, Any] = {"stop": {1, 5, 9}, "max_tokens": 20, "temperature": 1.0}
    together = generate(student, prompts(), seeds=range(7), slots=7, **settings)
    few = generate(student, prompts(), seeds=range(7), slots=2, **settings)
    alone = [generate(student, [p], seeds=[i], **settings)[0] for i, p in enumerate(prompts())]
    assert [text.ids for text in together] == [text.ids for text in few] == [text.ids for text in alone]


def test_the_same_prompt_under_other_seeds_gives_other_texts() -> None:
    texts = generate(model(), [[4, 5, 6]] * 6, stop={1}, max_tokens=10, temperature=1.0, seeds=range(6), slots=6)
    assert len({text.ids for text in texts}) == 6


def test_a_text_ends_at_a_stop_token_or_at_its_length() -> None:
    texts = generate(model(), prompts(), stop=range(2, 20), max_tokens=6, temperature=1.0, seeds=range(7))
    for text in texts:
        stopped = text.ids[-1] in range(2, 20)
        assert text.finish == ("stop" if stopped else "length")
        assert stopped or len(text.ids) == 6
        assert not any(token in range(2, 20) for token in text.ids[:-1])


def test_tokens_are_drawn_from_the_models_distribution() -> None:
    student = model()
    texts = generate(student, [[7, 8]] * 3000, stop={}, max_tokens=1, temperature=2.0, seeds=range(3000), slots=64)
    counts = torch.bincount(torch.tensor([text.ids[0] for text in texts]), minlength=64) / 3000
    with torch.no_grad():
        hidden = hidden_states(student, pack([[7, 8]]))[-1:]
        expected = torch.softmax(Head.of(student).logits(hidden) / 2.0, -1)[0]
    assert (counts - expected).abs().max() < 0.03


def test_ids_that_stand_for_no_token_get_no_mass() -> None:
    student = model()
    head = Head.of(student, vocabulary=50)
    probabilities = torch.softmax(head.logits(torch.randn(3, 32)), -1)
    assert probabilities[:, 50:].sum() == 0


def test_temperature_without_seeds_is_an_error() -> None:
    with pytest.raises(ValueError, match="seeds"):
        generate(model(), prompts(), stop={1}, max_tokens=3, temperature=1.0)


@pytest.mark.parametrize("vocabulary", [7, 256, 1000])
def test_a_draw_falls_where_the_summed_probabilities_say(vocabulary: int) -> None:
    source = torch.Generator().manual_seed(vocabulary)
    probs_SV = torch.randn(64, vocabulary, generator=source).mul(4).softmax(-1)
    drawn_S = torch.rand(64, generator=source, dtype=torch.float64)
    reached_SV = probs_SV.double().cumsum(-1)
    wanted_S = torch.searchsorted(reached_SV, (drawn_S * reached_SV[:, -1])[:, None], right=True)[:, 0]
    assert torch.equal(draw(probs_SV, drawn_S), wanted_S)


def test_no_draw_falls_on_what_has_no_probability() -> None:
    probs_SV = torch.zeros(3, 600)
    probs_SV[:, 300] = 1.0
    assert draw(probs_SV, torch.tensor([0.0, 0.5, 1 - 2**-53], dtype=torch.float64)).tolist() == [300] * 3
