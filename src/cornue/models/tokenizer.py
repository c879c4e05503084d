"""Byte-level BPE tokenizers between GGUF metadata and transformers, id for id as llama.cpp cuts text.

A GGUF file names the rule by which text is cut before merging ("pre"); the table below gives that rule to the
``tokenizers`` library and recognises it on the way back. Text is never normalised, because llama.cpp does not and
because decoding must give back every character. Unigram (SentencePiece) tokenizers are refused by name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from cornue.records.errors import BadInput
from cornue.records.words import words

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5

_QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _byte_level(use_regex: bool) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}


def _in_turn(*rules: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", "pretokenizers": list(rules)}


# llama.cpp's name of the rule, and the rule as the tokenizers library writes it.
RULES: dict[str, dict[str, Any]] = {
    "smollm": _in_turn({"type": "Digits", "individual_digits": True}, _byte_level(use_regex=True)),
    "qwen2": _in_turn(
        {"type": "Split", "pattern": {"Regex": _QWEN2}, "behavior": "Isolated", "invert": False},
        _byte_level(use_regex=False),
    ),
    "gpt-2": _byte_level(use_regex=True),
}


def tokenizer_from_gguf(metadata: Mapping[str, Any]) -> PreTrainedTokenizerBase:
    """The tokenizer inside a GGUF file.

    Raises:
        BadInput: it is not a byte-level BPE with a known rule.
    """
    kind, rule = metadata.get("tokenizer.ggml.model"), metadata.get("tokenizer.ggml.pre")
    if kind != "gpt2" or rule not in RULES:
        raise _unknown(f"{kind} / {rule}")
    tokens: list[str] = metadata["tokenizer.ggml.tokens"]
    types: list[int] = metadata["tokenizer.ggml.token_type"]
    merges = [tuple(merge.split(" ", 1)) for merge in metadata["tokenizer.ggml.merges"]]
    backend = Tokenizer(BPE({token: number for number, token in enumerate(tokens)}, merges))
    added = [
        AddedToken(token, special=kind == CONTROL, normalized=False)
        for token, kind in zip(tokens, types, strict=True)
        if kind in (CONTROL, USER_DEFINED)
    ]
    backend.add_tokens(added)
    named = {
        f"{role}_token": tokens[metadata[f"tokenizer.ggml.{key}_token_id"]]
        for role, key in (("bos", "bos"), ("eos", "eos"), ("pad", "padding"))
        if f"tokenizer.ggml.{key}_token_id" in metadata
    }
    return tokenizer_from_backend(backend, rule, named, metadata.get("tokenizer.chat_template", ""))


def tokenizer_from_backend(
    backend: Tokenizer, rule: str, named: Mapping[str, str], template: str
) -> PreTrainedTokenizerBase:
    """A transformers tokenizer around vocabulary and merges.

    Args:
        backend: model and added tokens; the rule for cutting and decoding is set here.
        rule: a key of ``RULES``.
        named: "bos_token", "eos_token", "pad_token".
        template: the chat template, or nothing.
    """
    content = json.loads(backend.to_str()) | {"pre_tokenizer": RULES[rule]}
    backend = Tokenizer.from_str(json.dumps(content))
    backend.decoder = decoders.ByteLevel()
    tokenizer: PreTrainedTokenizerBase = PreTrainedTokenizerFast(
        tokenizer_object=backend, clean_up_tokenization_spaces=False, **named
    )
    if template:
        tokenizer.chat_template = template
    return tokenizer


def rule_of(tokenizer: PreTrainedTokenizerBase) -> str:
    """llama.cpp's name of the rule by which a tokenizer cuts text.

    Raises:
        BadInput: the rule is not known, so that llama.cpp would cut text otherwise.
    """
    content = backend_of(tokenizer)
    if content["model"]["type"] == "BPE":
        for name, rule in RULES.items():
            if _essence(content["pre_tokenizer"]) == _essence(rule):
                return name
    raise _unknown(str(content["model"]["type"]))


def backend_of(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """What stands in a tokenizer's ``tokenizer.json``; merges as pairs."""
    content: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
    merges = content["model"].get("merges", [])
    content["model"]["merges"] = [tuple(merge.split(" ", 1) if isinstance(merge, str) else merge) for merge in merges]
    return content


def tokenizer_to_gguf(tokenizer: PreTrainedTokenizerBase, vocabulary: int) -> dict[str, Any]:
    """The tokenizer's metadata, by their names after ``tokenizer.ggml.``; the template stands under "chat_template".

    Args:
        vocabulary: rows of the embedding; ids without a token are filled up as unused.
    """
    rule, content = rule_of(tokenizer), backend_of(tokenizer)
    by_id = {number: token for token, number in content["model"]["vocab"].items()}
    kinds = dict.fromkeys(by_id, NORMAL)
    for added in content["added_tokens"]:
        by_id[added["id"]] = added["content"]
        kinds[added["id"]] = CONTROL if added["special"] else USER_DEFINED
    tokens = [by_id.get(number, f"[PAD{number}]") for number in range(vocabulary)]
    found: dict[str, Any] = {
        "model": "gpt2",
        "pre": rule,
        "tokens": tokens,
        "token_type": [kinds.get(number, UNUSED) for number in range(vocabulary)],
        "merges": [f"{left} {right}" for left, right in content["model"]["merges"]],
        "add_bos_token": False,
        "add_space_prefix": False,
        "chat_template": tokenizer.chat_template or "",
    }
    for key, number in (
        ("bos_token_id", tokenizer.bos_token_id),
        ("eos_token_id", tokenizer.eos_token_id),
        ("padding_token_id", tokenizer.pad_token_id),
    ):
        if number is not None:
            found[key] = number
    return found


def _essence(rule: Any) -> Any:
    """A rule without what does not change ids."""
    if isinstance(rule, dict):
        return {key: _essence(value) for key, value in rule.items() if key != "trim_offsets"}
    return [_essence(item) for item in rule] if isinstance(rule, list) else rule


def _unknown(what: str) -> BadInput:
    known = ", ".join(RULES)
    return BadInput(
        words(
            en=f"The tokenizer ({what}) is not a byte-level BPE of a known kind ({known}).",
            fr=f"Le tokenizer ({what}) n'est pas un BPE sur octets d'une sorte connue ({known}).",
        ),
        words(en="Choose a model with such a tokenizer.", fr="Choisissez un modèle avec un tel tokenizer."),
    )
