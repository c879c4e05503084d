"""Digests: how a thing gets the name by which it can be found and checked.

Every digest is SHA-256, written ``sha256:<64 hex digits>``, over file bytes or over canonical JSON (RFC 8785, with
integers beyond 2**53 written as decimal strings). It reads, strictly; it never writes.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from pathlib import Path
from typing import Any, NoReturn

SAFE_INTEGER = 2**53
BLOCK = 1 << 20


def digest_bytes(data: bytes) -> str:
    """The digest of some bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def digest_text(text: str) -> str:
    """The digest of a text in UTF-8."""
    return digest_bytes(text.encode("utf-8"))


def digest_file(path: str | os.PathLike[str]) -> str:
    """The digest of a file's bytes, read in blocks."""
    state = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            state.update(block)
    return "sha256:" + state.hexdigest()


def digest_json(value: Any) -> str:
    """The digest of a value's canonical JSON."""
    return digest_bytes(canonical_json(value))


def digest_folder(folder: str | os.PathLike[str]) -> str:
    """The digest of all files of a folder by relative path; empty folders do not count."""
    root = Path(folder)
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return digest_json({path.relative_to(root).as_posix(): digest_file(path) for path in files})


def canonical_json(value: Any) -> bytes:
    """RFC 8785 (JSON Canonicalization Scheme) in UTF-8.

    Raises:
        ValueError: for numbers that JSON cannot say (infinities, NaN), keys that are not text, text that is not
            Unicode (lone surrogates) and values of other types.
    """
    return _encode(value).encode("utf-8")


def parse_json(data: bytes | str) -> Any:
    """Read JSON strictly: what could be read in two ways is refused.

    Raises:
        ValueError: it is no JSON, a key stands twice in one object, a number is infinite or NaN, or it nests too deep.
    """
    try:
        return json.loads(data, object_pairs_hook=_without_doubles, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("it nests too deep") from None


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _encode(value: Any) -> str:
    if value is None or isinstance(value, (bool, str)):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, int):
        text = int.__repr__(value)
        return text if abs(value) <= SAFE_INTEGER else f'"{text}"'
    if isinstance(value, float):
        return _encode_float(value)
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(_encode(item) for item in value) + "]"
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise ValueError("canonical JSON takes text as keys only")
        # RFC 8785 sorts by UTF-16 code units, which differs from Python's order beyond the basic plane.
        keys = sorted(value, key=lambda key: key.encode("utf-16-be"))
        return "{" + ",".join(f"{json.dumps(key, ensure_ascii=False)}:{_encode(value[key])}" for key in keys) + "}"
    raise ValueError(f"canonical JSON cannot say a {type(value).__name__}")


def _encode_float(value: float) -> str:
    """ECMAScript's Number-to-String, which RFC 8785 prescribes."""
    if not math.isfinite(value):
        raise ValueError(f"canonical JSON cannot say {value}")
    if value == 0:
        return "0"
    sign, magnitude = ("-", -value) if value < 0 else ("", value)
    # Subclasses such as numpy's float64 show themselves in other words.
    mantissa, _, exponent = float.__repr__(magnitude).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    point = len(whole) + int(exponent or 0) - (len(whole + fraction) - len((whole + fraction).lstrip("0")))
    digits = digits.rstrip("0") or "0"
    if len(digits) <= point <= 21:
        text = digits + "0" * (point - len(digits))
    elif 0 < point <= 21:
        text = digits[:point] + "." + digits[point:]
    elif -6 < point <= 0:
        text = "0." + "0" * -point + digits
    else:
        mantissa = digits[0] + ("." + digits[1:] if len(digits) > 1 else "")
        text = f"{mantissa}e{'+' if point > 0 else '-'}{abs(point - 1)}"
    return sign + text
