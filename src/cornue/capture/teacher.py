"""What a teacher is: something that says who it is and answers prompts, one sample each.

``Teacher`` is the protocol; each engine has a file of its own (``teacher_gguf``, ``teacher_replay``, …), and
``teachers`` chooses between them. A teacher knows nothing of stores, budgets or verdicts: it is given asks, one
after the other and only when there is room for them, and gives samples back as they are finished, in any order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cornue.capture.budget import Purse
from cornue.capture.fidelity import Floats
from cornue.capture.packing import Rows, Shape
from cornue.records.digests import digest_file, digest_json
from cornue.records.errors import BadInput
from cornue.records.samples import Message, Prompt, Record, Sample
from cornue.records.words import words


class Sampling(Record):
    """How answers are drawn; part of what makes two captures the same."""

    temperature: float = 0.0
    max_tokens: int = 256
    seed: int = 1


@dataclass(frozen=True)
class Ask:
    """One answer that is wanted: a prompt, which of its answers, and the seed for drawing it."""

    prompt: Prompt
    index: int = 0
    seed: int = 0


class Scorer(Protocol):
    """Says what a teacher held likely at each token of given texts."""

    def identity(self) -> dict[str, Any]:
        """Everything that decides what it says; it may be another engine than the one that sampled."""

    @property
    def tokens(self) -> Sequence[str]:
        """The vocabulary in the order of the ids, as the tokenizer writes its entries."""

    def score(self, texts: Sequence[Text], shape: Shape, seed: int = 0) -> Iterator[tuple[int, Rows]]:
        """The reduced rows of each text, one per token of the completion, with its place, in any order.

        Draws depend on the seed and on all the texts.
        """

    def whole(self, texts: Sequence[Text]) -> Iterator[tuple[int, slice, NDArray[np.float32]]]:
        """Whole distributions (R, V), some rows at a time: which text, which of its rows, and the distributions."""

    def errors(self, texts: Sequence[Text], shape: Shape) -> Iterator[Floats]:
        """What a form loses on these texts; see ``fidelity.measure``."""


class Teacher(Protocol):
    """Who is asked. What an engine has nothing to say about, it inherits from here."""

    def identity(self) -> dict[str, Any]:
        """Everything that decides what it answers, as digests and facts; other values make another teacher."""

    def sample(self, asks: Iterable[Ask], sampling: Sampling) -> Iterator[Sample]:
        """An answer to each ask, as they are finished, in any order.

        Asks are drawn only when there is room for them. An ask that cannot be answered (longer than the context, say)
        comes back as a sample with an error.

        Raises:
            OutsideFailure: the engine or endpoint itself is broken; what was yielded stands.
        """

    def most_prompt_tokens(self, prompt: Prompt) -> int:
        """An upper bound of the tokens that the prompt takes, for the budget."""

    def close(self) -> None:
        """Frees the engine. The teacher is not asked again."""

    def prepare(self, prompts: Sequence[Prompt], purse: Purse) -> None:
        """Called once before the first ask, with everything that will be asked and what may be spent.

        Raises:
            Refused: something in the prompts must not be asked.
        """
        return

    def facts(self) -> dict[str, Any]:
        """What else happened while it was asked, for the record."""
        return {}

    def witness(self) -> dict[str, str]:
        """What its answers say of it, which must stay the same during a capture."""
        return {}

    def take_rows(self, prompt_id: str, index: int) -> Rows | None:
        """What it held likely at each token of an answer just given, where it says so while sampling; asked once."""
        return None

    def say_again(self, prompt: Prompt, max_tokens: int) -> tuple[tuple[int, ...], Rows] | None:
        """Its greedy answer with its likeliest tokens at each step, where another engine scores; None where not."""
        return None

    def prompt_ids(self, prompt: Prompt) -> tuple[int, ...]:
        """The prompt as the teacher reads it, in its own token ids.

        Raises:
            BadInput: it has no ids to show.
        """
        raise _cannot_score()

    def scorer(self, temperature: float) -> Scorer:
        """Its weights as a scorer of given texts.

        Raises:
            BadInput: it has none.
        """
        raise _cannot_score()


@dataclass(frozen=True)
class Text:
    """A given text to score: the context that the teacher saw, and the completion, one row per token of it."""

    prompt: tuple[int, ...]
    completion: tuple[int, ...]


def seed_of(seed: int, prompt: Prompt, index: int) -> int:
    """The seed for one answer: depends on the question and the answer's index, not on order or earlier answers."""
    body = {"seed": seed, "messages": [message.model_dump() for message in prompt.messages], "index": index}
    return int(digest_json(body)[7:15], 16) & 0x7FFFFFFF


def instructed(prompt: Prompt, instructions: str) -> list[dict[str, str]]:
    """The conversation as the teacher gets it: instructions first, in one system message with the prompt's own.

    What follows a line ``---`` in the instructions are worked examples, apart by empty lines: the first line of each is
    a question, the others are the answer. They stand before the prompt as turns of the conversation.
    """
    text, _, examples = instructions.partition("\n---\n")
    own = [message.content for message in prompt.messages if message.role == "system"]
    system = "\n\n".join(part for part in (text.strip(), *own) if part)
    turns = [Message(role="system", content=system)] if system else []
    for example in filter(None, (block.strip() for block in examples.split("\n\n"))):
        question, _, answer = example.partition("\n")
        turns += [Message(role="user", content=question), Message(role="assistant", content=answer)]
    rest = [message for message in prompt.messages if message.role != "system"]
    return [message.model_dump() for message in (*turns, *rest)]


def read_instructions(path: Path, schema: str = "") -> str:
    """A teacher's instructions, with ``{schema}`` in them replaced; other braces stay as they are.

    Raises:
        BadInput: the file is missing or no UTF-8 text, or wants a schema where there is no table.
    """
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(
            words(
                en=f"The teacher's instructions {path} cannot be read: {error}.",
                fr=f"Les consignes de l'enseignant {path} ne se lisent pas : {error}.",
            ),
            words(en="Correct teacher.instructions.", fr="Corrigez teacher.instructions."),
        ) from None
    if "{schema}" in text and not schema:
        raise BadInput(
            words(
                en=f"{path} asks for the schema of a table, and the recipe names no table.",
                fr=f"{path} demande le schéma d'une table, et la recette n'en nomme aucune.",
            ),
            words(en="Set sources.table, or take {schema} out.", fr="Renseignez sources.table, ou supprimez {schema}."),
        )
    return text.replace("{schema}", schema)


def require_digest(path: Path, wanted: str) -> str:
    """The digest of a model file, which must be the one that the recipe names if it names one.

    Raises:
        BadInput: the file is missing or has other bytes.
    """
    if not path.is_file():
        raise BadInput(
            words(en=f"The teacher's file {path} is not there.", fr=f"Le fichier de l'enseignant {path} est absent."),
            words(
                en="Correct teacher.model, or fetch the file.",
                fr="Corrigez teacher.model, ou récupérez le fichier.",
            ),
        )
    digest = digest_file(path)
    if wanted and digest != f"sha256:{wanted.removeprefix('sha256:').lower()}":
        raise BadInput(
            words(
                en=f"{path} has the digest {digest}, the recipe names sha256:{wanted}: its bytes are others.",
                fr=f"{path} a l'empreinte {digest}, la recette nomme sha256:{wanted} : ses octets sont autres.",
            ),
            words(
                en="Fetch the file again, or correct teacher.sha256.",
                fr="Récupérez le fichier à nouveau, ou corrigez teacher.sha256.",
            ),
        )
    return digest


def _cannot_score() -> BadInput:
    return BadInput(
        words(
            en="This kind of teacher cannot say what it held likely.",
            fr="Ce genre d'enseignant ne peut pas dire ce qu'il tenait pour probable.",
        ),
        words(
            en='Use a teacher of kind gguf or transformers, or write capture.distributions = "none".',
            fr='Prenez un enseignant gguf ou transformers, ou écrivez capture.distributions = "none".',
        ),
    )
