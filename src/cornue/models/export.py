"""Writes a trained student as one GGUF file that llama.cpp runs: weights, tokenizer, chat template.

Llama, Qwen2 and Qwen3 families; matrices as F16, BF16, F32 or Q8_0, everything else as F32. It neither trains nor
measures: ``evaluate`` compares the file's answers with those of the weights.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import gguf
import numpy as np
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from cornue.models.families import name_to_gguf, rows_to_gguf, settings_to_gguf
from cornue.models.tokenizer import tokenizer_to_gguf
from cornue.records.errors import BadInput
from cornue.records.words import words

Kind = Literal["F32", "F16", "BF16", "Q8_0"]

FILE_TYPES = {
    "F32": gguf.LlamaFileType.ALL_F32,
    "F16": gguf.LlamaFileType.MOSTLY_F16,
    "BF16": gguf.LlamaFileType.MOSTLY_BF16,
    "Q8_0": gguf.LlamaFileType.MOSTLY_Q8_0,
}


def export_gguf(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    path: Path,
    *,
    kind: Kind = "F16",
    name: str = "",
    facts: Mapping[str, str] | None = None,
) -> None:
    """Writes the file whole or not at all.

    Args:
        kind: number type of the matrices.
        name: the model's name, as the file says it.
        facts: further texts for the header, such as "general.license".

    Raises:
        BadInput: a family, a tokenizer or a setting that GGUF or llama.cpp cannot hold.
    """
    config = model.config.to_dict()
    partial = path.with_name(path.name + ".partial")
    try:
        writer = gguf.GGUFWriter(partial, str(config["model_type"]))
        _write_header(writer, config, tokenizer, kind, name, facts or {})
        for tensor_name, tensor in model.state_dict().items():
            if tensor_name == "lm_head.weight" and model.config.tie_word_embeddings:
                continue
            values, number_type = _stored(rows_to_gguf(tensor, tensor_name, config), tensor_name, kind)
            writer.add_tensor(name_to_gguf(tensor_name), values, raw_dtype=number_type)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _write_header(
    writer: gguf.GGUFWriter,
    config: Mapping[str, Any],
    tokenizer: PreTrainedTokenizerBase,
    kind: Kind,
    name: str,
    facts: Mapping[str, str],
) -> None:
    writer.add_type("model")
    writer.add_name(name or "student")
    for key, fact in facts.items():
        writer.add_string(key, fact)
    writer.add_file_type(FILE_TYPES[kind])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    for key, value in settings_to_gguf(config).items():
        add = writer.add_float32 if isinstance(value, float) else writer.add_uint32
        add(f"{config['model_type']}.{key}", value)
    for key, value in tokenizer_to_gguf(tokenizer, config["vocab_size"]).items():
        if key == "chat_template":
            if value:
                writer.add_chat_template(value)
        elif isinstance(value, bool):
            writer.add_bool(f"tokenizer.ggml.{key}", value)
        elif isinstance(value, int):
            writer.add_uint32(f"tokenizer.ggml.{key}", value)
        elif isinstance(value, str):
            writer.add_string(f"tokenizer.ggml.{key}", value)
        elif value:
            writer.add_array(f"tokenizer.ggml.{key}", value)


def _stored(tensor: Tensor, name: str, kind: Kind) -> tuple[np.ndarray[Any, Any], gguf.GGMLQuantizationType]:
    """The tensor's values in the number type of the file."""
    values = tensor.detach().float().contiguous().numpy()
    number_type = gguf.GGMLQuantizationType[kind if values.ndim > 1 else "F32"]
    if kind == "Q8_0" and values.ndim > 1 and values.shape[-1] % 32:
        raise BadInput(
            words(
                en=f"{name} has rows of {values.shape[-1]} weights; Q8_0 takes multiples of 32.",
                fr=f"{name} a des lignes de {values.shape[-1]} poids ; Q8_0 veut des multiples de 32.",
            ),
            words(en="Export as F16.", fr="Exportez en F16."),
        )
    return gguf.quants.quantize(values, number_type), number_type
