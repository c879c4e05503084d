"""A teacher whose weights are run by transformers: a folder of safetensors, or a GGUF file with dequantised weights.

Many texts are written at once and the instructions, which all prompts share, are read once; on processors for which
llama.cpp has no fast kernels this is faster than the GGUF engine, and in 8-bit integers faster again. Greedy answers do
not depend on what shares the batch, up to rounding. It samples; ``sparse`` scores.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from cornue.capture.sparse import DenseScorer
from cornue.capture.teacher import Ask, Sampling, Scorer, Teacher, instructed, require_digest
from cornue.models import int8
from cornue.models.load import load_model, load_tokenizer, parameters_of
from cornue.models.sample import Written, generate
from cornue.records.digests import digest_folder, digest_text
from cornue.records.samples import Prompt, Sample


class TransformersTeacher(Teacher):
    """Weights in this process.

    Args:
        path: a GGUF file or a folder of safetensors.
        sha256: the digest that a file must have; empty takes any.
        instructions: system prompt and worked examples put before every question.
        slots: texts written at once.
        context: tokens per request, prompt and answer together.
        arithmetic: ``int8`` rounds the factors of every matrix product; the teacher is then another one, and says so.

    Raises:
        BadInput: the model is missing, cannot be read, or has another digest.
    """

    def __init__(
        self,
        path: Path,
        *,
        sha256: str = "",
        instructions: str = "",
        slots: int = 32,
        context: int = 2048,
        arithmetic: Literal["float32", "int8"] = "float32",
    ) -> None:
        self._weights = digest_folder(path) if path.is_dir() else require_digest(path, sha256)
        self._name = path.name
        self._model = load_model(path)
        self._tokenizer = load_tokenizer(path)
        self._instructions = instructions
        self._slots = slots
        self._context = context
        self._arithmetic = arithmetic
        self._parameters = parameters_of(self._model)
        if arithmetic == "int8":
            int8.freeze(self._model)

    def identity(self) -> dict[str, Any]:
        """See ``Teacher``."""
        return {
            "kind": "transformers",
            "name": self._name,
            "weights": self._weights,
            "architecture": self._model.config.model_type,
            "parameters": self._parameters,
            "arithmetic": self._arithmetic,
            "vocabulary": len(self._tokenizer),
            "template": digest_text(self._tokenizer.chat_template or ""),
            "engine": {"name": "transformers", "version": version("transformers"), "torch": version("torch")},
            "context": self._context,
            "instructions": {"sha256": digest_text(self._instructions), "text": self._instructions},
        }

    def sample(self, asks: Iterable[Ask], sampling: Sampling) -> Iterator[Sample]:
        """See ``Teacher``. Asks are taken in rounds of several batches, so that slots rarely stand empty."""
        asks = iter(asks)
        while chosen := list(islice(asks, 16 * self._slots)):
            yield from self._round(chosen, sampling)

    def most_prompt_tokens(self, prompt: Prompt) -> int:
        """See ``Teacher``; it is exact here."""
        return len(self._encode(prompt))

    def prompt_ids(self, prompt: Prompt) -> tuple[int, ...]:
        """See ``Teacher``."""
        return tuple(self._encode(prompt))

    def scorer(self, temperature: float) -> Scorer:
        """See ``Teacher``: the weights that sampled."""
        return DenseScorer(self._model, self._tokenizer, self._weights, temperature)

    def close(self) -> None:
        """Lets go of the weights."""
        del self._model

    def _encode(self, prompt: Prompt) -> list[int]:
        text = self._tokenizer.apply_chat_template(
            instructed(prompt, self._instructions), add_generation_prompt=True, tokenize=False
        )
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _round(self, asks: list[Ask], sampling: Sampling) -> Iterator[Sample]:
        """Answers to some asks as they are finished: the model writes in a thread, and hands over what is done."""
        encoded = [self._encode(ask.prompt) for ask in asks]
        room = self._context - sampling.max_tokens
        fitting = [place for place, ids in enumerate(encoded) if len(ids) <= room]
        for place in set(range(len(asks))) - set(fitting):
            what = f"prompt: {len(encoded[place])} tokens and {sampling.max_tokens} more exceed {self._context}"
            yield Sample(prompt_id=asks[place].prompt.id, index=asks[place].index, text="", finish="error", error=what)
        done: queue.Queue[tuple[int, Written] | BaseException | None] = queue.Queue()

        def write() -> None:
            try:
                generate(
                    self._model,
                    [encoded[place] for place in fitting],
                    stop={self._tokenizer.eos_token_id},
                    max_tokens=sampling.max_tokens,
                    temperature=sampling.temperature,
                    seeds=[asks[place].seed for place in fitting],
                    slots=self._slots,
                    cache_bytes=4 << 30,
                    on_written=lambda index, written: done.put((fitting[index], written)),
                )
                done.put(None)
            except BaseException as error:
                done.put(error)

        thread = threading.Thread(target=write, daemon=True)
        thread.start()
        while (item := done.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield self._sample(asks[item[0]], len(encoded[item[0]]), item[1])
        thread.join()

    def _sample(self, ask: Ask, prompt_tokens: int, written: Written) -> Sample:
        return Sample(
            prompt_id=ask.prompt.id,
            index=ask.index,
            text=self._tokenizer.decode(written.ids, skip_special_tokens=True),
            token_ids=written.ids,
            finish=written.finish,
            prompt_tokens=prompt_tokens,
            completion_tokens=len(written.ids),
        )
