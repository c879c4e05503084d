"""A teacher that repeats what was recorded: a finished capture, or a JSONL file of samples.

It serves tests, demonstrations and whoever has the answers but not the teacher. It invents nothing: a prompt without a
recorded answer comes back as a sample with an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cornue.capture.reader import open_capture
from cornue.capture.teacher import Ask, Sampling, Teacher
from cornue.records.digests import digest_file
from cornue.records.errors import BadInput
from cornue.records.samples import Prompt, Sample
from cornue.records.words import words


class ReplayTeacher(Teacher):
    """A recording that answers.

    Args:
        recording: folder of a finished capture, or a file with one ``Sample`` as JSON per line.

    Raises:
        BadInput: it is neither, or it is damaged.
    """

    def __init__(self, recording: Path) -> None:
        if recording.is_dir():
            capture = open_capture(recording)
            samples: Iterable[Sample] = capture.samples()
            self._identity = {"kind": "replay", "recording": capture.digest, "of": capture.identity}
        else:
            samples = _read_lines(recording)
            self._identity = {"kind": "replay", "recording": digest_file(recording)}
        self._answers = {(sample.prompt_id, sample.index): sample for sample in samples}

    def identity(self) -> dict[str, Any]:
        """See ``Teacher``; ``of`` is the identity of the teacher that was recorded."""
        return self._identity

    def sample(self, asks: Iterable[Ask], sampling: Sampling) -> Iterator[Sample]:
        """See ``Teacher``; sampling settings have no effect on what was recorded."""
        for ask in asks:
            yield self._answers.get((ask.prompt.id, ask.index)) or Sample(
                prompt_id=ask.prompt.id,
                index=ask.index,
                text="",
                finish="error",
                error="recording: it holds no answer to this prompt",
            )

    def most_prompt_tokens(self, prompt: Prompt) -> int:
        """Nothing is asked, so nothing is spent."""
        return 0

    def close(self) -> None:
        """There is nothing to free."""


def _read_lines(path: Path) -> list[Sample]:
    samples: list[Sample] = []
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            samples.append(Sample.model_validate_json(line))
        return samples
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise BadInput(
            words(
                en=f"The recording {path} cannot be read (line {len(samples) + 1}): {reason}.",
                fr=f"L'enregistrement {path} ne se lit pas (ligne {len(samples) + 1}) : {reason}.",
            ),
            words(
                en="Give the folder of a finished capture, or a file with one sample as JSON per line.",
                fr="Donnez le dossier d'une capture finie, ou un fichier avec un échantillon JSON par ligne.",
            ),
        ) from None
