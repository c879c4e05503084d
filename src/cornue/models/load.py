"""Loads a causal model and its tokenizer for training or scoring, from a GGUF file or a folder of safetensors.

GGUF weights are dequantised to dense ones. Nothing is unpickled, no code that lies beside the weights is run, and
nothing is fetched: a path that is not there is an error. Running GGUF files for answers is the engine's work.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from pathlib import Path

import gguf
import numpy as np
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING
from transformers.utils.logging import disable_progress_bar

from cornue.models import memory
from cornue.models.families import name_from_gguf, rows_from_gguf, settings_from_gguf
from cornue.models.gguf_file import GgufFile, GgufTensor, read_gguf
from cornue.models.tokenizer import tokenizer_from_gguf
from cornue.records.errors import BadInput
from cornue.records.words import words


def load_model(path: Path, *, dtype: torch.dtype = torch.float32, tie: bool = False) -> PreTrainedModel:
    """A causal language model on the CPU, in evaluation mode.

    Args:
        path: a GGUF file, or a folder with ``config.json`` and safetensors.
        dtype: number type of the dense weights.
        tie: where a GGUF file stores the output apart from the embedding, use the output, which is stored more finely,
            for both. Quantised files of tied models look like this; a scorer leaves it off, a student saves a matrix.

    Raises:
        BadInput: there is no model, it is of an unknown kind, or its weights are not safetensors.
    """
    memory.keep()
    # Progress is shown by whoever called; a bar of transformers' own would run through it.
    disable_progress_bar()
    if is_gguf(path):
        return _model_from_gguf(read_gguf(path), dtype, tie).eval()
    try:
        model = AutoModelForCausalLM.from_pretrained(
            _folder(path), dtype=dtype, use_safetensors=True, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError) as problem:
        raise _unusable(path, problem) from problem
    loaded: PreTrainedModel = model.eval()
    return loaded


def load_tokenizer(path: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a GGUF file or a folder, chat template included.

    Raises:
        BadInput: there is none, or it is of an unknown kind.
    """
    if is_gguf(path):
        return tokenizer_from_gguf(read_gguf(path).metadata)
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            _folder(path), local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError) as problem:
        raise _unusable(path, problem) from problem
    return tokenizer


def save_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Writes model and tokenizer as a folder that ``load_model`` and ``load_tokenizer`` read."""
    disable_progress_bar()
    model.save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)


def is_gguf(path: Path) -> bool:
    """Whether a path is a file that begins as GGUF files do."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) == b"GGUF"


def parameters_of(model: PreTrainedModel) -> int:
    """Parameters, tied ones counted once."""
    return sum(parameter.numel() for parameter in model.parameters())


def forgotten(model: PreTrainedModel) -> PreTrainedModel:
    """A model of the same shape with random weights, the same each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        fresh = type(model)(model.config)
    fresh.generation_config = model.generation_config
    return fresh.to(model.dtype)


def _model_from_gguf(file: GgufFile, dtype: torch.dtype, tie: bool) -> PreTrainedModel:
    settings = settings_from_gguf(file.metadata)
    names = {tensor.name for tensor in file.tensors}
    settings["tie_word_embeddings"] = tie or "output.weight" not in names
    for role, key in (("bos", "bos"), ("eos", "eos"), ("pad", "padding")):
        settings[f"{role}_token_id"] = file.metadata.get(f"tokenizer.ggml.{key}_token_id")
    config = AutoConfig.for_model(**settings)
    weights: dict[str, Tensor] = {}
    with file.path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for tensor in file.tensors:
            name = name_from_gguf(tensor.name)
            dense = _dense(data, file.start, tensor).to(dtype)
            weights[name] = rows_from_gguf(dense, name, settings).contiguous()
    if tie and "lm_head.weight" in weights:
        weights["model.embed_tokens.weight"] = weights.pop("lm_head.weight")
    family = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    model: PreTrainedModel = family.from_pretrained(None, config=config, state_dict=weights, dtype=dtype)
    _require_all(model, weights, file.path)
    return model


def _dense(data: mmap.mmap, start: int, tensor: GgufTensor) -> Tensor:
    """A stored tensor in fp32, slowest dimension first."""
    raw = np.ndarray((tensor.bytes,), np.uint8, data, start + tensor.offset).copy()
    rows = raw.reshape(*tensor.shape[:0:-1], -1)
    values = gguf.quants.dequantize(rows, gguf.GGMLQuantizationType[tensor.kind])
    return torch.from_numpy(np.ascontiguousarray(values, np.float32).reshape(tensor.shape[::-1]))


def _require_all(model: PreTrainedModel, weights: Mapping[str, Tensor], path: Path) -> None:
    """Every weight of the model came from the file, and every tensor of the file went into the model."""
    wanted = set(model.state_dict())
    if model.config.tie_word_embeddings:
        wanted.discard("lm_head.weight")
    different = sorted(wanted ^ set(weights))
    if different:
        raise _unusable(path, ValueError(f"tensors missing or left over: {', '.join(different[:5])}"))


def _folder(path: Path) -> str:
    """The path as text, if it is a folder with a model; a name is never looked up anywhere else."""
    if not (path / "config.json").is_file() and not (path / "tokenizer.json").is_file():
        raise BadInput(
            words(en=f"There is no model at {path}.", fr=f"Il n'y a pas de modèle à {path}."),
            words(
                en="Give a GGUF file, or a folder with config.json and safetensors.",
                fr="Donnez un fichier GGUF, ou un dossier avec config.json et des safetensors.",
            ),
        )
    return str(path)


def _unusable(path: Path, problem: Exception) -> BadInput:
    return BadInput(
        words(
            en=f"The model at {path} cannot be loaded: {problem}",
            fr=f"Le modèle à {path} ne peut pas être chargé : {problem}",
        ),
        words(
            en="Weights must be safetensors or GGUF, of a kind that transformers knows.",
            fr="Les poids doivent être en safetensors ou GGUF, d'une sorte que transformers connaît.",
        ),
    )
