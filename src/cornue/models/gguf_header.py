"""Reads what a GGUF file says of itself: architecture, tokenizer, chat template, quantisation. Never a weight.

Plain Python over the first megabytes of the file, so that the light rooms can tell models apart without an engine. It
does not load, convert or write models. Format: GGUF specification, versions 2 and 3.
"""

from __future__ import annotations

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
TENSOR_TYPES = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    6: "Q5_0",
    7: "Q5_1",
    8: "Q8_0",
    9: "Q8_1",
    10: "Q2_K",
    11: "Q3_K",
    12: "Q4_K",
    13: "Q5_K",
    14: "Q6_K",
    15: "Q8_K",
    16: "IQ2_XXS",
    17: "IQ2_XS",
    18: "IQ3_XXS",
    19: "IQ1_S",
    20: "IQ4_NL",
    21: "IQ3_S",
    22: "IQ2_S",
    23: "IQ4_XS",
    30: "BF16",
    34: "TQ1_0",
    35: "TQ2_0",
    39: "MXFP4",
}
LONGEST = 1 << 28


@dataclass(frozen=True)
class GgufHeader:
    """The metadata of a GGUF file and how many weights each quantisation type holds."""

    metadata: dict[str, Any]
    weights_by_type: dict[str, int]

    @property
    def parameters(self) -> int:
        """Weights stored; a tied output that is stored twice counts twice."""
        return sum(self.weights_by_type.values())

    @property
    def architecture(self) -> str:
        """The family by llama.cpp's name, such as "qwen2"."""
        return str(self.metadata.get("general.architecture", ""))

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
    def quantisation(self) -> str:
        """The types by share of the weights, the largest first, such as "Q4_K 76 %, Q6_K 24 %"."""
        total = max(1, self.parameters)
        shares = sorted(self.weights_by_type.items(), key=lambda item: -item[1])
        return ", ".join(f"{name} {100 * count / total:.0f} %" for name, count in shares if count * 200 >= total)


def read_gguf_header(path: Path) -> GgufHeader:
    """The header of a GGUF file.

    Raises:
        BadInput: the file is missing, is no GGUF file, or ends within its header.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Cursor(data).header()
    except (OSError, ValueError, KeyError, struct.error) as error:
        raise BadInput(
            words(
                en=f"{path} is not a readable GGUF file: {error}.",
                fr=f"{path} n'est pas un fichier GGUF lisible : {error}.",
            ),
            words(en="Give the path of a whole GGUF file.", fr="Donnez le chemin d'un fichier GGUF entier."),
        ) from None


class _Cursor:
    """A place in the file that moves on with every value read."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.at = data, 0

    def header(self) -> GgufHeader:
        if self.data[:4] != b"GGUF":
            raise ValueError("it does not begin with the letters GGUF")
        self.at = 4
        if (version := self.scalar("<I")) not in (2, 3):
            raise ValueError(f"its version is {version}, known are 2 and 3")
        tensors, pairs = self.scalar("<Q"), self.scalar("<Q")
        metadata = {}
        for _ in range(self.sane(pairs)):
            name = self.text()
            metadata[name] = self.value(self.scalar("<I"))
        weights: Counter[str] = Counter()
        for _ in range(self.sane(tensors)):
            self.text()
            count = 1
            for _ in range(self.scalar("<I")):
                count *= self.scalar("<Q")
            kind = self.scalar("<I")
            weights[TENSOR_TYPES.get(kind, f"type {kind}")] += count
            self.at += 8
        return GgufHeader(metadata, dict(weights))

    def sane(self, count: int) -> int:
        if count > min(LONGEST, len(self.data)):
            raise ValueError("it ends within its header")
        return count

    def scalar(self, code: str) -> Any:
        (value,) = struct.unpack_from(code, self.data, self.at)
        self.at += struct.calcsize(code)
        return value

    def text(self) -> str:
        size = self.sane(self.scalar("<Q"))
        if self.at + size > len(self.data):
            raise ValueError("it ends within its header")
        raw = self.data[self.at : self.at + size]
        self.at += size
        return raw.decode("utf-8", "replace")

    def value(self, kind: int) -> Any:
        if kind == TEXT:
            return self.text()
        if kind != ARRAY:
            return self.scalar(SCALARS[kind])
        inner, count = self.scalar("<I"), self.sane(self.scalar("<Q"))
        if inner in (TEXT, ARRAY):
            return [self.value(inner) for _ in range(count)]
        layout = struct.Struct("<" + str(count) + SCALARS[inner].lstrip("<"))
        values = list(layout.unpack_from(self.data, self.at))
        self.at += layout.size
        return values
