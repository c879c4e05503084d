"""Which token of one vocabulary is which token of another.

Two tokens are the same if they are written the same: in byte-level vocabularies that means the same bytes, and control
tokens count by their names. Equal sizes prove nothing and are not looked at. It compares entries, not how text is cut.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def ids_in(tokenizer: Any, other: Any) -> NDArray[np.int64]:
    """For each id of a tokenizer, the id of the same token in another one; -1 where that has none."""
    known: dict[str, int] = other.get_vocab()
    own: dict[str, int] = tokenizer.get_vocab()
    ids = np.full(max(own.values()) + 1, -1, dtype=np.int64)
    for token, number in own.items():
        ids[number] = known.get(token, -1)
    return ids
