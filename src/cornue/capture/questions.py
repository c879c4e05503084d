"""Lets a teacher write the questions that people would ask, one passage of some documents after the other.

It is a capture like any other: nothing is asked twice, caps are kept, personal data is looked for first, and the sealed
answers stay beside the questions. Questions that lean on the passage ("in this text …"), repeat another or are none are
left out, each counted by its reason. All questions about a section of a document go to one part. It answers none.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cornue.capture.ask import run_capture
from cornue.capture.budget import Purse, purse_of
from cornue.capture.reader import CaptureReader
from cornue.capture.teacher import Teacher
from cornue.capture.teachers import open_teacher
from cornue.models.licences import may_teach, require_permission
from cornue.records import recipe
from cornue.records.digests import digest_json
from cornue.records.errors import CheckFailed
from cornue.records.progress import Progress
from cornue.records.samples import Message, Prompt, Sample, Split
from cornue.records.words import words
from cornue.sources.folding import fold
from cornue.sources.passages import Passage, read_passages
from cornue.sources.prompts import write_prompts

Language = Literal["fr", "en"]

WISHES: dict[Language, str] = {
    "fr": "Voici un passage de « {document} ».\n\n{passage}\n\nÉcris {count} questions que des gens poseraient sans "
    "avoir le passage sous les yeux, et auxquelles il répond. Une question par ligne, sans numéro, sans réponse. "
    "Chaque question nomme ce dont elle parle.",
    "en": "Here is a passage of “{document}”.\n\n{passage}\n\nWrite {count} questions that people would ask without "
    "having the passage before them, and that it answers. One question a line, without number, without answer. Every "
    "question names what it is about.",
}
GIVEN: dict[Language, str] = {
    "fr": "Réponds à la question d'après ce passage de « {document} ».\n\n{passage}",
    "en": "Answer the question from this passage of “{document}”.\n\n{passage}",
}
MARK = re.compile(r"^\s*(?:[-*•–]|\(?\d{1,2}[.):]|Q\d{0,2}\s?[.:)])\s*", re.IGNORECASE)
LEANS = re.compile(
    r"\b(?:(?:ce|le|du|au|cet?|dans l['’]) ?(?:passage|texte|extrait|document|paragraphe|article ci-dessus)"
    r"|(?:this|the) (?:passage|text|excerpt|document|paragraph|above))\b",
    re.IGNORECASE,
)
SHORTEST, LONGEST = 3, 60
TOKENS_PER_QUESTION = 48


@dataclass
class Questions:
    """What was written.

    Args:
        prompts: the questions, each with its passage as system message.
        left_out: how many were not taken, by reason.
        capture: the teacher's sealed answers.
    """

    prompts: list[Prompt]
    capture: CaptureReader
    left_out: Counter[str] = field(default_factory=Counter)


def write_questions(
    teacher: Teacher,
    passages: Sequence[Passage],
    folder: Path,
    *,
    per_passage: int = 3,
    language: Language = "fr",
    purse: Purse | None = None,
    progress: Progress | None = None,
) -> Questions:
    """Ask the teacher for questions on every passage.

    Args:
        folder: where the capture is sealed; what is there already is not asked again.
        per_passage: questions wanted of each.

    Raises:
        CheckFailed: not one question came of it.
        Refused, OutsideFailure: see ``run_capture``; what was finished is kept.
    """
    asked = {_wish(passage, per_passage, language): passage for passage in passages}
    section = recipe.Capture(temperature=0.0, max_tokens=TOKENS_PER_QUESTION * per_passage)
    capture = run_capture(teacher, list(asked), section, folder, purse=purse, progress=progress)
    by_id = {prompt.id: passage for prompt, passage in asked.items()}
    left_out: Counter[str] = Counter()
    chosen: dict[str, Prompt] = {}
    for sample in capture.samples():
        passage = by_id[sample.prompt_id]
        taken = 0
        for question in _told(sample, left_out):
            if fold(question) in chosen:
                left_out["repeated"] += 1
            elif taken == per_passage:
                left_out["more than wanted"] += 1
            else:
                chosen[fold(question)] = _prompt(question, passage, language)
                taken += 1
    if not chosen:
        raise CheckFailed(
            words(
                en=f"The teacher wrote no question that can be used ({dict(left_out)}).",
                fr=f"L'enseignant n'a écrit aucune question utilisable ({dict(left_out)}).",
            ),
            words(
                en=f"Read its answers in {folder}, and take a larger teacher.",
                fr=f"Lisez ses réponses dans {folder}, et prenez un enseignant plus grand.",
            ),
        )
    return Questions(list(chosen.values()), capture, left_out)


def questions_for(
    whole: recipe.Recipe, base: Path, documents: Path, out: Path, per_passage: int, progress: Progress
) -> Questions:
    """Let a recipe's teacher write questions about documents, and keep them in a file of prompts.

    The sealed answers lie beside it, in a folder of the file's name with ``.capture``. The teacher's instructions are
    for answering and are left out here.

    Args:
        base: the recipe's folder.
        documents: a document or a folder of them.
        out: the file of prompts to be.

    Raises:
        BadInput: a document cannot be read.
        CheckFailed, Refused, OutsideFailure: see ``write_questions``; a licence or the budget may forbid it.
    """
    passages = read_passages(documents)
    warning = require_permission(may_teach(whole.teacher.licence), whole.teacher.licence_reason)
    if warning:
        progress.say(warning)
    asked = whole.teacher.model_copy(update={"instructions": ""})
    with open_teacher(asked, base, capture=whole.capture.model_copy(update={"distributions": "none"})) as teacher:
        found = write_questions(
            teacher,
            passages,
            out.with_suffix(".capture"),
            per_passage=per_passage,
            language=whole.recipe.language,
            purse=purse_of(whole),
            progress=progress,
        )
    write_prompts(out, found.prompts)
    return found


def _wish(passage: Passage, count: int, language: Language) -> Prompt:
    text = WISHES[language].format(document=passage.document, passage=passage.shown(), count=count)
    return Prompt.make((Message(role="user", content=text),), form="questions", source=passage.document)


def _told(sample: Sample, left_out: Counter[str]) -> Iterator[str]:
    """The questions of an answer, one a line; what is none is counted by its reason."""
    if sample.error:
        left_out["no answer"] += 1
        return
    lines = [MARK.sub("", line).strip(' *_"«»“”') for line in sample.text.splitlines()]
    lines = [line for line in lines if line]
    if sample.finish == "length" and lines and not lines[-1].endswith("?"):
        lines.pop()
        left_out["cut"] += 1
    for line in lines:
        size = len(line.split())
        if not line.endswith("?"):
            left_out["no question"] += 1
        elif not SHORTEST <= size <= LONGEST:
            left_out["too short or long"] += 1
        elif LEANS.search(line):
            left_out["leans on the passage"] += 1
        else:
            yield line


def _prompt(question: str, passage: Passage, language: Language) -> Prompt:
    """The question with its passage, in the part to which the section of its document belongs."""
    given = GIVEN[language].format(document=passage.document, passage=passage.shown())
    asked = (Message(role="system", content=given), Message(role="user", content=question))
    return Prompt.make(asked, split=_split(passage), form=passage.document, source=passage.document)


def _split(passage: Passage) -> Split:
    """Of twenty sections three are held out and one is for validation, by the digest of document and headings."""
    lot = int(digest_json([passage.document, list(passage.headings)])[7:15], 16) % 20
    return "heldout" if lot < 3 else "validation" if lot == 3 else "train"
