"""A teacher in a GGUF file, asked through llama.cpp with many slots.

It samples. Scoring given text with whole distributions is done with dequantised weights (``sparse``), which is another
engine with an identity of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np

from cornue.capture.packing import Rows, log_codes
from cornue.capture.teacher import Ask, Sampling, Scorer, Teacher, instructed, require_digest
from cornue.models.engine import Engine, Request
from cornue.models.gguf_file import read_gguf
from cornue.records.digests import digest_text
from cornue.records.samples import Prompt, Sample

# Tokens whose probabilities the engine tells at each step.
LIKELIEST = 20


class GgufTeacher(Teacher):
    """A GGUF file in a running engine.

    Args:
        path: the file.
        sha256: the digest that it must have; empty takes any.
        instructions: system prompt put before every question.
        slots: requests in flight at once.
        context: tokens per request, prompt and answer together.
        threads: threads for the arithmetic; None takes all cores.

    Raises:
        BadInput: the file is missing, is no GGUF, or has another digest.
        OutsideFailure: the engine does not start (boundary "engine").
    """

    def __init__(
        self,
        path: Path,
        *,
        sha256: str = "",
        instructions: str = "",
        slots: int = 1,
        context: int = 2048,
        threads: int | None = None,
    ) -> None:
        self._path = path
        self._weights = require_digest(path, sha256)
        self._file = read_gguf(path)
        self._instructions = instructions
        self._context = context
        self._engine = Engine(path, slots=slots, context=context, threads=threads).start()

    def identity(self) -> dict[str, Any]:
        """See ``Teacher``."""
        file = self._file
        return {
            "kind": "gguf",
            "name": file.name,
            "weights": self._weights,
            "architecture": file.architecture,
            "parameters": file.parameters,
            "quantisation": file.quantisation,
            "tokenizer": file.tokenizer_digest,
            "vocabulary": file.vocabulary,
            "template": file.template_digest,
            "engine": {"name": "llama.cpp through xllamacpp", "version": version("xllamacpp")},
            "context": self._context,
            "instructions": {"sha256": digest_text(self._instructions), "text": self._instructions},
        }

    def sample(self, asks: Iterable[Ask], sampling: Sampling) -> Iterator[Sample]:
        """See ``Teacher``."""
        asked: list[Ask] = []

        def requests() -> Iterator[Request]:
            for ask in asks:
                asked.append(ask)
                yield Request(
                    self._engine.render(instructed(ask.prompt, self._instructions)),
                    max_tokens=sampling.max_tokens,
                    temperature=sampling.temperature,
                    seed=ask.seed,
                )

        for place, answer in self._engine.map(requests()):
            yield Sample(
                prompt_id=asked[place].prompt.id,
                index=asked[place].index,
                text=answer.text,
                token_ids=answer.token_ids,
                finish=answer.finish,
                error=answer.error,
                prompt_tokens=answer.prompt_tokens,
                completion_tokens=answer.completion_tokens,
                seconds=round(answer.seconds, 3),
            )

    def most_prompt_tokens(self, prompt: Prompt) -> int:
        """See ``Teacher``; it is exact here."""
        return len(self.prompt_ids(prompt))

    def prompt_ids(self, prompt: Prompt) -> tuple[int, ...]:
        """See ``Teacher``."""
        return tuple(self._engine.tokenize(self._engine.render(instructed(prompt, self._instructions))))

    def say_again(self, prompt: Prompt, max_tokens: int) -> tuple[tuple[int, ...], Rows] | None:
        """See ``Teacher``."""
        text = self._engine.render(instructed(prompt, self._instructions))
        answer = self._engine.complete(text, max_tokens=max_tokens, n_probs=LIKELIEST)
        sizes, ids, logs, rests = [0], [], [], []
        # The engine is silent about steps within a character; what follows them would not fit any more.
        steps = [step for step in takewhile(lambda step: step is not None, answer.choices) if step]
        for step in steps:
            found = sorted(zip(step.ids, step.logprobs, strict=True))
            ids += [id_ for id_, _ in found]
            logs += [log for _, log in found]
            sizes.append(sizes[-1] + len(found))
            rests.append(max(1 - sum(math.exp(log) for _, log in found), 1e-12))
        rows = Rows(np.array(sizes), np.array(ids), log_codes(np.array(logs)), log_codes(np.log(np.array(rests))))
        return tuple(step.drawn for step in steps), rows

    def scorer(self, temperature: float) -> Scorer:
        """See ``Teacher``: the same weights, dequantised, in another engine."""
        # torch is heavy and not everywhere.
        from cornue.capture.sparse import load_scorer

        return load_scorer(self._path, self._weights, temperature)

    def close(self) -> None:
        """Ends the engine."""
        self._engine.close()
