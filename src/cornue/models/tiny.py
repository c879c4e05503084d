"""A tiny random model with everything that a real one has: for tests, documentation and demonstrations.

A Llama of two layers with a byte-level tokenizer of a few hundred entries and a ChatML template, made from a seed in
well under a second. It can be trained, trimmed, exported and run by llama.cpp. It knows nothing.
"""

from __future__ import annotations

import torch
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import BPE
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from cornue.models.tokenizer import tokenizer_from_backend
from cornue.models.trim import byte_letters, extend

CONTROL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TEXTS = (
    "Combien de communes du département ont plus de 1000 habitants ?",
    "Quelle est la population de la commune ?",
    "How many inhabitants has the town?",
    "SELECT COUNT(*) FROM communes WHERE departement = 'Morbihan' AND population > 10000;",
    "SELECT population FROM communes WHERE commune = 'Vannes';",
    "user assistant system",
)


def tiny_tokenizer() -> PreTrainedTokenizerBase:
    """A byte-level tokenizer with three control tokens, all bytes and a few merges."""
    entries = [*CONTROL_TOKENS, *byte_letters()]
    backend = Tokenizer(BPE({entry: number for number, entry in enumerate(entries)}, []))
    backend.add_tokens([AddedToken(token, special=True, normalized=False) for token in CONTROL_TOKENS])
    named = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    bare = tokenizer_from_backend(backend, "smollm", named, CHATML)
    return extend(bare, {text: [text] for text in TEXTS}, most=80, weight=1.0).tokenizer


def tiny_model(tokenizer: PreTrainedTokenizerBase | None = None, *, seed: int = 0, layers: int = 2) -> PreTrainedModel:
    """A random Llama, 32 wide, for a tokenizer (by default the tiny one); the same seed, the same weights."""
    tokenizer = tokenizer or tiny_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        # Wider than usual, so that greedy answers of random weights do not hang on the last bit.
        initializer_range=0.2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: PreTrainedModel = LlamaForCausalLM(config).eval()
    return model
