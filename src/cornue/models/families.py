"""The model families that Cornue converts, in both directions: settings, tensor names, the order of rows.

A GGUF file and a transformers folder hold the same model under other names, and the Llama family interleaves the rows
of its query and key heads in GGUF. These tables serve loading and export alike; neither is done here. Other families
are refused by name.

Sources: the GGUF specification; llama.cpp's conversion of rotary embeddings.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from cornue.records.errors import BadInput
from cornue.records.words import words

# The name is the same in transformers ("model_type") and in GGUF ("general.architecture").
FAMILIES = ("llama", "qwen2", "qwen3")
INTERLEAVED = ("llama",)

# Key of the settings in transformers, key in GGUF after the family's name.
SETTINGS = {
    "num_hidden_layers": "block_count",
    "max_position_embeddings": "context_length",
    "hidden_size": "embedding_length",
    "intermediate_size": "feed_forward_length",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "rms_norm_eps": "attention.layer_norm_rms_epsilon",
    "head_dim": "attention.key_length",
}
OUTSIDE = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}
INSIDE = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def require_family(name: str) -> str:
    """The name, if the family is known.

    Raises:
        BadInput: it is not.
    """
    if name not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise BadInput(
            words(
                en=f"Models of the family {name!r} cannot be converted; known are {known}.",
                fr=f"Les modèles de la famille {name!r} ne peuvent pas être convertis ; sont connus {known}.",
            ),
            words(en="Choose a model of a known family.", fr="Choisissez un modèle d'une famille connue."),
        )
    return name


def settings_from_gguf(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a transformers config, from GGUF metadata.

    Raises:
        BadInput: an unknown family, a missing setting, or positions scaled in a way that is not known here.
    """
    family = require_family(str(metadata.get("general.architecture", "")))
    scaling = metadata.get(f"{family}.rope.scaling.type", "none")
    if scaling != "none":
        raise _unknown(f"rope.scaling.type = {scaling!r}")
    settings: dict[str, Any] = {"model_type": family}
    for ours, theirs in SETTINGS.items():
        value = metadata.get(f"{family}.{theirs}")
        if isinstance(value, float):
            # GGUF stores 32 bits; seven digits give back the number that was meant.
            value = float(f"{value:.7g}")
        if value is not None:
            settings[ours] = value
        elif ours not in ("head_dim", "num_key_value_heads"):
            raise _unknown(f"{theirs} is missing")
    theta = float(metadata.get(f"{family}.rope.freq_base", 10000.0))
    settings["rope_parameters"] = {"rope_type": "default", "rope_theta": theta}
    settings["vocab_size"] = len(metadata.get("tokenizer.ggml.tokens", ())) or metadata.get(f"{family}.vocab_size")
    return settings


def settings_to_gguf(config: Mapping[str, Any]) -> dict[str, int | float]:
    """GGUF metadata after the family's name, from a transformers config as a dictionary.

    Raises:
        BadInput: an unknown family or scaled positions.
    """
    require_family(str(config["model_type"]))
    rope = config.get("rope_parameters") or {}
    if rope.get("rope_type", "default") != "default":
        raise _unknown(f"rope_type = {rope['rope_type']!r}")
    if config.get("use_sliding_window"):
        raise _unknown("use_sliding_window = true")
    size = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    found: dict[str, int | float] = {theirs: config[ours] for ours, theirs in SETTINGS.items() if ours != "head_dim"}
    return found | {
        "attention.key_length": size,
        "attention.value_length": size,
        "rope.dimension_count": size,
        "rope.freq_base": float(rope.get("rope_theta", 10000.0)),
        "vocab_size": config["vocab_size"],
    }


def name_from_gguf(name: str) -> str:
    """The transformers name of a tensor.

    Raises:
        BadInput: the table does not know it.
    """
    if match := re.fullmatch(r"blk\.(\d{1,4})\.(\w+)\.(weight|bias)", name):
        layer, part, kind = match.groups()
        if part in INSIDE:
            return f"model.layers.{int(layer)}.{INSIDE[part]}.{kind}"
    elif (match := re.fullmatch(r"(\w+)\.(weight|bias)", name)) and match[1] in OUTSIDE:
        return f"{OUTSIDE[match[1]]}.{match[2]}"
    raise _unknown(f"tensor {name!r}")


def name_to_gguf(name: str) -> str:
    """The GGUF name of a tensor; the inverse of ``name_from_gguf``."""
    if match := re.fullmatch(r"model\.layers\.(\d+)\.(.+)\.(weight|bias)", name):
        for theirs, ours in INSIDE.items():
            if ours == match[2]:
                return f"blk.{match[1]}.{theirs}.{match[3]}"
    for theirs, ours in OUTSIDE.items():
        for kind in ("weight", "bias"):
            if name == f"{ours}.{kind}":
                return f"{theirs}.{kind}"
    raise _unknown(f"tensor {name!r}")


def rows_from_gguf(tensor: Tensor, name: str, config: Mapping[str, Any]) -> Tensor:
    """Rows of a query or key projection in the order of transformers; other tensors as they are.

    Args:
        name: the tensor's name in transformers.
        config: settings of the model.
    """
    heads = _interleaved_heads(name, config)
    if not heads:
        return tensor
    return tensor.reshape(heads, -1, 2, *tensor.shape[1:]).transpose(1, 2).reshape(tensor.shape)


def rows_to_gguf(tensor: Tensor, name: str, config: Mapping[str, Any]) -> Tensor:
    """Rows in the order of GGUF; the inverse of ``rows_from_gguf``."""
    heads = _interleaved_heads(name, config)
    if not heads:
        return tensor
    return tensor.reshape(heads, 2, -1, *tensor.shape[1:]).transpose(1, 2).reshape(tensor.shape)


def _interleaved_heads(name: str, config: Mapping[str, Any]) -> int:
    if config["model_type"] not in INTERLEAVED:
        return 0
    if ".q_proj." in name:
        return int(config["num_attention_heads"])
    if ".k_proj." in name:
        return int(config.get("num_key_value_heads") or config["num_attention_heads"])
    return 0


def _unknown(what: str) -> BadInput:
    return BadInput(
        words(
            en=f"This model cannot be converted: {what}.",
            fr=f"Ce modèle ne peut pas être converti : {what}.",
        ),
        words(en="Choose a plain model of a known family.", fr="Choisissez un modèle simple d'une famille connue."),
    )
