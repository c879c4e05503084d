"""Mistakes between text and ids: classes 17, 18 and 25.

A text must be cut and put together the same by everyone who handles it: data, training, teacher, evaluation, serving.
"""

from __future__ import annotations

from cornue.doctor.finding import Absent, require
from cornue.doctor.subject import Subject, compares
from cornue.models.chat import template_of_tokenizer
from cornue.records.words import words


def same_tokens(subject: Subject) -> str:
    """17: an id of the student stands for the same bytes as the teacher's id that takes its place."""
    if not any(compares(stage) for stage in subject.stages):
        raise Absent(
            words(en="no stage learns from a distribution", fr="aucune étape n'apprend d'une distribution de jetons")
        )
    if subject.teacher is None:
        raise Absent(
            words(
                en="the teacher's tokenizer is not at hand; the capture names its own entries",
                fr="le tokenizer de l'enseignant n'est pas là ; la capture nomme ses propres entrées",
            )
        )
    own, other = subject.student.tokenizer, subject.teacher.tokenizer
    ids = subject.ids_in(own, other)
    known = [number for number in range(len(own)) if ids[number] >= 0]
    mine = own.convert_ids_to_tokens(known)
    theirs = other.convert_ids_to_tokens([int(ids[number]) for number in known])
    wrong = [(a, b) for a, b in zip(mine, theirs, strict=True) if a != b]
    require(
        not wrong,
        f"{len(wrong)} ids stand for other bytes in the teacher's vocabulary, such as {wrong[:2]}",
        f"{len(wrong)} identifiants valent d'autres octets chez l'enseignant, comme {wrong[:2]}",
    )
    texts = [example.completion for example in subject.examples]
    cut_alike = sum(
        ids[subject.student.completion_ids(text)[:-1]].tolist() == other(text, add_special_tokens=False)["input_ids"]
        for text in texts
    )
    return words(
        en=f"{len(known)} of {len(own)} ids stand for the same bytes; {cut_alike} of {len(texts)} texts are cut alike",
        fr=f"{len(known)} identifiants sur {len(own)} valent les mêmes octets ; {cut_alike} textes sur {len(texts)} "
        "sont découpés pareil",
    )


def template_round_trip(subject: Subject) -> str:
    """18: what is learnt is, byte for byte, what the template writes; prompts are cut off where answers begin."""
    student = subject.student
    template = template_of_tokenizer(student.tokenizer)
    for example in subject.examples:
        ids = [*student.prompt_ids(example.messages), *student.completion_ids(example.completion)]
        learnt = student.tokenizer.decode(ids, skip_special_tokens=False)
        prompt, rest = template.completed(example.messages, example.completion)
        end = student.tokenizer.convert_ids_to_tokens(student.end_id)
        wanted = prompt + example.completion + end
        shown, read = (text[-80:].replace("\n", "⏎") for text in (prompt + rest, learnt))
        require(
            learnt == wanted and rest.startswith(example.completion + end),
            f"the template writes “{shown}”, what is learnt reads “{read}”",
            f"le gabarit écrit « {shown} », on apprend « {read} »",
        )
        asked = student.prompt_text(example.messages)
        require(
            asked == prompt,
            "questions are asked otherwise than they are learnt",
            "les questions ne sont pas posées comme elles sont apprises",
        )
    return words(
        en=f"{len(subject.examples)} texts are, byte for byte, what the template writes",
        fr=f"{len(subject.examples)} textes sont, octet pour octet, ce que le gabarit écrit",
    )


def spans(subject: Subject) -> str:
    """25: likelihoods over aligned spans do not exist yet."""
    raise Absent(
        words(
            en="teachers of another vocabulary are refused by logit methods; nothing is aligned by spans",
            fr="les enseignants d'un autre vocabulaire sont refusés par ces méthodes ; rien n'est aligné par segments",
        )
    )
