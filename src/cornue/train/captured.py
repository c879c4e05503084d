"""A capture's distributions as methods want them: by prompt and sample, with the student's id of each of the teacher's.

Rows come from memory-mapped shards and are bound to the tokens of their sample. It interprets no divergence.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cornue.capture.packing import Shards, Targets
from cornue.capture.reader import CaptureReader, Service
from cornue.capture.score import VOCABULARY, read_vocabulary, shards_of
from cornue.records.errors import BadInput
from cornue.records.words import words
from cornue.train.materials import Student


class CapturedDistributions:
    """The distributions of a finished capture.

    Raises:
        BadInput: the capture holds none.
    """

    def __init__(self, capture: CaptureReader) -> None:
        shards = shards_of(capture.folder)
        if not shards or not (capture.folder / VOCABULARY).is_file():
            raise BadInput(
                words(
                    en=f"the capture {capture.folder} holds no token distributions of a known vocabulary",
                    fr=f"la capture {capture.folder} ne contient pas de distributions d'un vocabulaire connu",
                ),
                words(
                    en='capture with distributions = "sampled", or learn by sft',
                    fr='capturez avec distributions = "sampled", ou apprenez par sft',
                ),
            )
        self._capture, self._shards = capture, Shards(shards)
        self._samples = capture.samples()
        self._places = {(sample.prompt_id, sample.index): place for place, sample in enumerate(self._samples)}
        self._tokens = read_vocabulary(capture.folder / VOCABULARY)

    def serves(self, objective: str, temperature: float) -> Service:
        """See ``Distributions``."""
        return self._capture.serves(objective, temperature)

    def knows(self, prompt_id: str, index: int) -> bool:
        """See ``Distributions``."""
        return (prompt_id, index) in self._places

    def completion(self, prompt_id: str, index: int) -> Sequence[int]:
        """See ``Distributions``."""
        return self._samples[self._places[prompt_id, index]].token_ids

    def targets(self, prompt_id: str, index: int) -> Targets:
        """See ``Distributions``."""
        place = self._places[prompt_id, index]
        return self._shards.targets(place, self._samples[place].token_ids)

    def student_ids(self, student: Student) -> NDArray[np.int64]:
        """See ``Distributions``."""
        known: dict[str, int] = student.tokenizer.get_vocab()
        return np.array([known.get(token, -1) for token in self._tokens], dtype=np.int64)
