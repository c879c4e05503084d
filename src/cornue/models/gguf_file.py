"""Reads what a GGUF file says of itself and checks that its parts fill it exactly. Never a weight.

Plain Python over the header, so that the light rooms can tell models apart, and refuse a broken or crafted file before
native code sees it. It does not load, convert or write models, and it cannot see that a weight was altered: that takes
the file's digest. Format: the GGUF specification, versions 2 and 3, little-endian.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cornue.records.digests import digest_json, digest_text
from cornue.records.errors import BadInput
from cornue.records.words import words

SCALARS = {0: "B", 1: "b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "?", 10: "<Q", 11: "<q", 12: "<d"}
TEXT, ARRAY = 8, 9

# Number of the type in the file: its name, weights in a block, bytes of a block.
TENSOR_TYPES = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
}
LONGEST_NAME = 65535
MOST_ENTRIES = 1 << 16
MOST_VALUES = 1 << 24
MOST_DIMENSIONS = 4
DEEPEST_ARRAY = 2
SPECIAL_IDS = ("bos_token_id", "eos_token_id", "padding_token_id", "unknown_token_id", "eot_token_id")


@dataclass(frozen=True)
class GgufTensor:
    """One line of the tensor table; ``shape`` has the fastest-moving dimension first, as in the file."""

    name: str
    shape: tuple[int, ...]
    kind: str
    offset: int
    bytes: int

    @property
    def weights(self) -> int:
        """How many weights it holds."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class GgufFile:
    """The header of a GGUF file whose parts are known to fill the file exactly.

    ``start`` is where the tensors begin: a tensor lies at ``start`` + its offset.
    """

    path: Path
    bytes: int
    start: int
    metadata: dict[str, Any]
    tensors: tuple[GgufTensor, ...]

    @property
    def parameters(self) -> int:
        """Weights stored; a tied output that is stored twice counts twice."""
        return sum(tensor.weights for tensor in self.tensors)

    @property
    def architecture(self) -> str:
        """The family by llama.cpp's name, such as "qwen2"."""
        return str(self.metadata.get("general.architecture", ""))

    @property
    def name(self) -> str:
        """The name that its author gave it."""
        return str(self.metadata.get("general.name", ""))

    @property
    def licence(self) -> str:
        """The licence that the file declares, often none."""
        return str(self.metadata.get("general.license", ""))

    @property
    def context(self) -> int:
        """Tokens that the model was made for; 0 if it does not say."""
        length = self.metadata.get(f"{self.architecture}.context_length", 0)
        return length if isinstance(length, int) else 0

    @property
    def template(self) -> str:
        """The chat template, or nothing."""
        return str(self.metadata.get("tokenizer.chat_template", ""))

    @property
    def template_digest(self) -> str:
        """Digest of the chat template's text."""
        return digest_text(self.template)

    @property
    def tokenizer_digest(self) -> str:
        """Digest of tokens, merges and token types: two models with the same digest cut text into the same ids."""
        names = ("model", "pre", "tokens", "merges", "token_type", "add_bos_token", "add_space_prefix")
        return digest_json({name: self.metadata.get(f"tokenizer.ggml.{name}") for name in names})

    @property
    def vocabulary(self) -> int:
        """Entries of the token list."""
        return len(self.metadata.get("tokenizer.ggml.tokens", ()))

    @property
    def weights_by_type(self) -> dict[str, int]:
        """How many weights each number type holds."""
        counts: Counter[str] = Counter()
        for tensor in self.tensors:
            counts[tensor.kind] += tensor.weights
        return dict(counts)

    @property
    def quantisation(self) -> str:
        """The types by share of the weights, the largest first, such as "Q4_K 76 %, Q6_K 24 %"."""
        total = max(1, self.parameters)
        shares = sorted(self.weights_by_type.items(), key=lambda item: -item[1])
        return ", ".join(f"{name} {100 * count / total:.0f} %" for name, count in shares if count * 200 >= total)

    def identity(self) -> dict[str, Any]:
        """The facts by which a record names this model, besides the digest of its bytes."""
        return {
            "name": self.name,
            "architecture": self.architecture,
            "parameters": self.parameters,
            "quantisation": self.quantisation,
            "context": self.context,
            "vocabulary": self.vocabulary,
            "licence": self.licence,
            "tokenizer": self.tokenizer_digest,
            "template": self.template_digest,
        }


def read_gguf(path: Path) -> GgufFile:
    """The header of a GGUF file, checked against the file's size and against itself.

    Raises:
        BadInput: the file is missing, is no GGUF file, is cut short or too long, or contradicts itself.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            cursor = _Cursor(data)
            metadata, table = cursor.header()
            tensors = _lay_out(table, metadata, cursor.at, len(data))
            _check_vocabulary(metadata, tensors)
            if metadata.get("split.count", 1) != 1:
                raise ValueError("it is one part of a model in several files")
            alignment = metadata.get("general.alignment", 32)
            return GgufFile(path, len(data), _aligned(cursor.at, alignment), metadata, tensors)
    except (OSError, ValueError, struct.error) as error:
        reason = "it ends within its header" if isinstance(error, struct.error) else str(error)
        raise BadInput(
            words(
                en=f"{path} is not a readable GGUF file: {reason}.",
                fr=f"{path} n'est pas un fichier GGUF lisible : {reason}.",
            ),
            words(en="Give the path of a whole GGUF file.", fr="Donnez le chemin d'un fichier GGUF entier."),
        ) from None


class _Cursor:
    """A place in the header that moves on with every value read."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.at, self.values = data, 0, 0

    def header(self) -> tuple[dict[str, Any], list[tuple[str, tuple[int, ...], int, int]]]:
        """Metadata, and of each tensor name, shape, type and offset."""
        if self.data[:4] != b"GGUF":
            raise ValueError("it does not begin with the letters GGUF")
        self.at = 4
        if (version := self.scalar("<I")) not in (2, 3):
            raise ValueError(f"its version is {version}, known are 2 and 3 in little-endian order")
        tensors, pairs = self.scalar("<Q"), self.scalar("<Q")
        if max(tensors, pairs) > MOST_ENTRIES:
            raise ValueError(f"it claims {tensors} tensors and {pairs} metadata entries")
        metadata: dict[str, Any] = {}
        for _ in range(pairs):
            name = self.name()
            if name in metadata:
                raise ValueError(f"its metadata name {name!r} twice")
            metadata[name] = self.value(self.scalar("<I"))
        return metadata, [self.tensor() for _ in range(tensors)]

    def tensor(self) -> tuple[str, tuple[int, ...], int, int]:
        name, dimensions = self.name(), self.scalar("<I")
        if not 1 <= dimensions <= MOST_DIMENSIONS:
            raise ValueError(f"tensor {name!r} has {dimensions} dimensions")
        shape = tuple(self.scalar("<Q") for _ in range(dimensions))
        return name, shape, self.scalar("<I"), self.scalar("<Q")

    def scalar(self, code: str) -> Any:
        (value,) = struct.unpack_from(code, self.data, self.at)
        self.at += struct.calcsize(code)
        return value

    def room(self, count: int, size: int) -> int:
        """The count, if so many things of at least that size can still follow."""
        if count * size > len(self.data) - self.at:
            raise ValueError("it ends within its header")
        return count

    def text(self) -> str:
        size = self.room(self.scalar("<Q"), 1)
        raw = self.data[self.at : self.at + size]
        self.at += size
        return raw.decode("utf-8")

    def name(self) -> str:
        name = self.text()
        if len(name) > LONGEST_NAME:
            raise ValueError(f"it holds a name of {len(name)} characters")
        return name

    def value(self, kind: int, depth: int = 0) -> Any:
        if kind == TEXT:
            return self.text()
        if kind != ARRAY:
            if kind not in SCALARS:
                raise ValueError(f"it holds a value of the unknown type {kind}")
            return self.scalar(SCALARS[kind])
        if depth == DEEPEST_ARRAY:
            raise ValueError("it holds arrays in arrays in arrays")
        inner, count = self.scalar("<I"), self.scalar("<Q")
        self.values += count
        if self.values > MOST_VALUES:
            raise ValueError(f"it holds arrays of more than {MOST_VALUES} values")
        if inner in (TEXT, ARRAY):
            return [self.value(inner, depth + 1) for _ in range(self.room(count, 8))]
        if inner not in SCALARS:
            raise ValueError(f"it holds an array of the unknown type {inner}")
        code = SCALARS[inner].lstrip("<")
        self.room(count, struct.calcsize(f"<{code}"))
        values = list(struct.unpack_from(f"<{count}{code}", self.data, self.at))
        self.at += struct.calcsize(f"<{count}{code}")
        return values


def _lay_out(
    table: list[tuple[str, tuple[int, ...], int, int]], metadata: dict[str, Any], end: int, size: int
) -> tuple[GgufTensor, ...]:
    """The tensors, known to lie one after the other, aligned, from the end of the header to the end of the file."""
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 1 <= alignment <= 1 << 20 or alignment & (alignment - 1):
        raise ValueError(f"its alignment is {alignment!r}")
    tensors, expected, names = [], 0, set()
    for name, shape, number, offset in table:
        if name in names:
            raise ValueError(f"it holds tensor {name!r} twice")
        names.add(name)
        if number not in TENSOR_TYPES:
            raise ValueError(f"tensor {name!r} has the unknown type {number}")
        kind, block, block_bytes = TENSOR_TYPES[number]
        if min(shape) < 1 or shape[0] % block or math.prod(shape) > 8 * size:
            raise ValueError(f"tensor {name!r} of type {kind} has the impossible shape {list(shape)}")
        if offset != expected:
            raise ValueError(f"tensor {name!r} lies at {offset} instead of {expected}")
        length = math.prod(shape) // block * block_bytes
        tensors.append(GgufTensor(name, shape, kind, offset, length))
        expected = _aligned(offset + length, alignment)
    if tensors:
        wanted = _aligned(end, alignment) + tensors[-1].offset + tensors[-1].bytes
        if size not in (wanted, _aligned(wanted, alignment)):
            raise ValueError(f"header and tensors make {wanted} bytes, the file has {size}")
    elif size not in (end, _aligned(end, alignment)):
        raise ValueError(f"the header makes {end} bytes, the file has {size}")
    return tuple(tensors)


def _aligned(position: int, alignment: int) -> int:
    return (position + alignment - 1) // alignment * alignment


def _check_vocabulary(metadata: dict[str, Any], tensors: tuple[GgufTensor, ...]) -> None:
    """Token list, types, scores, special ids and embedding agree about the size of the vocabulary."""
    tokens = metadata.get("tokenizer.ggml.tokens")
    if tokens is None:
        return
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        raise ValueError("its token list is not a list of texts")
    for name in ("token_type", "scores"):
        other = metadata.get(f"tokenizer.ggml.{name}")
        if other is not None and (not isinstance(other, list) or len(other) != len(tokens)):
            raise ValueError(f"it has {len(tokens)} tokens but another number of entries in {name}")
    for name in SPECIAL_IDS:
        value = metadata.get(f"tokenizer.ggml.{name}")
        if value is not None and (not isinstance(value, int) or not 0 <= value < len(tokens)):
            raise ValueError(f"its {name} is {value!r}, beyond {len(tokens)} tokens")
    for tensor in tensors:
        if tensor.name == "token_embd.weight" and tensor.shape[-1] != len(tokens):
            raise ValueError(f"it has {len(tokens)} tokens but {tensor.shape[-1]} rows of embeddings")
