"""Lets an exported model answer prompts as it will when it is served: through llama.cpp.

One engine per core, one slot and one thread each, nothing cached between prompts: an answer is then a function of the
file and the prompt alone, and a killed evaluation goes on to the same answers. It judges nothing.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from cornue.capture.store import Journal
from cornue.models.engine import Engine, Request
from cornue.records.digests import digest_file
from cornue.records.progress import Progress
from cornue.records.samples import Prompt, Sample


@dataclass(frozen=True)
class Answered:
    """Answers in the order of the prompts, and what this sitting cost.

    Args:
        core_seconds: of the engines, for the answers given in this sitting.
        given_now: how many answers that were; the others were in the journal.
    """

    samples: list[Sample]
    core_seconds: float
    given_now: int


def answer_all(
    gguf: Path,
    prompts: Sequence[Prompt],
    render: Callable[[Prompt], str],
    journal_folder: Path,
    how: Request,
    progress: Progress,
    what: str,
    context: int = 1024,
) -> Answered:
    """Every prompt answered once by the model in a GGUF file.

    Args:
        render: the conversation as the text that the model sees.
        journal_folder: finished answers lie there; they are never asked for again.
        how: the sampling settings; its prompt counts for nothing.

    Raises:
        OutsideFailure: the engine does not run.
    """
    workers = max(1, len(os.sched_getaffinity(0)))
    drawn = {"temperature": how.temperature, "seed": how.seed} if how.temperature else {}
    with Journal(journal_folder, {"model": digest_file(gguf), "max_tokens": how.max_tokens, **drawn}) as journal:
        missing = [prompt for prompt in prompts if prompt.id not in journal.answers]
        progress.begin(what, len(prompts))
        progress.advance(len(prompts) - len(missing))

        def request(prompt: Prompt) -> Request:
            return replace(how, prompt=render(prompt), cache_prompt=False)

        spent = _ask(gguf, missing, request, journal, context, workers, progress, len(prompts))
        return Answered([journal.answers[prompt.id] for prompt in prompts], spent, len(missing))


def _ask(
    gguf: Path,
    missing: Sequence[Prompt],
    request: Callable[[Prompt], Request],
    journal: Journal,
    context: int,
    workers: int,
    progress: Progress,
    total: int,
) -> float:
    """Spread the missing prompts over engines; returns their core-seconds."""
    if not missing:
        return 0.0
    lock, queue, done = threading.Lock(), list(missing)[::-1], total - len(missing)

    def work(engine: Engine) -> float:
        nonlocal done
        before = engine.cpu_seconds()
        while True:
            with lock:
                if not queue:
                    return engine.cpu_seconds() - before
                prompt = queue.pop()
            answer = engine.ask(request(prompt))
            sample = Sample(
                prompt_id=prompt.id,
                text=answer.text,
                token_ids=answer.token_ids,
                writer="student",
                finish=answer.finish,
                error=answer.error,
                prompt_tokens=answer.prompt_tokens,
                completion_tokens=answer.completion_tokens,
                seconds=round(answer.seconds, 3),
            )
            with lock:
                journal.add(prompt.id, sample)
                done += 1
                progress.advance(done)

    engines = [Engine(gguf, slots=1, context=context, threads=1) for _ in range(min(workers, len(missing)))]
    try:
        for engine in engines:
            engine.start()
        with ThreadPoolExecutor(len(engines)) as pool:
            return sum(pool.map(work, engines))
    finally:
        for engine in engines:
            engine.close()
