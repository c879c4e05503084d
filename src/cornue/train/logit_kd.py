"""``logit_kd``: the teacher's distribution on the teacher's text.

From a capture: forward KL to the entries that were kept, where the capture declares that it serves for that. From a
teacher at hand: any divergence from its whole distribution. A share of cross-entropy with the text may be mixed in; a
text of which the capture holds no distribution, such as one carried over to a sibling prompt, is learnt by it alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from cornue.capture.packing import Targets
from cornue.records.errors import BadInput, Refused
from cornue.records.recipe import LogitKd as LogitKdStage
from cornue.records.recipe import OnPolicyKd as OnPolicyKdStage
from cornue.records.samples import Example
from cornue.records.words import words
from cornue.train import divergence
from cornue.train.batches import Batch, Lesson
from cornue.train.loop import Settings
from cornue.train.materials import Distributions, Materials, Student, missing
from cornue.train.objectives import Dense, Labels, Objective, Sparse
from cornue.train.offline import Offline
from cornue.train.teacher import LiveTeacher

NOTHING = Targets(np.zeros(1, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros(0, np.float32))


class LogitKd(Offline):
    """Divergence from the teacher on text that the teacher wrote; ``without`` counts texts without distributions."""

    def __init__(
        self,
        stage: LogitKdStage,
        student: Student,
        examples: Sequence[Example],
        validation: Sequence[Example],
        materials: Materials,
        settings: Settings,
        seed: int,
    ) -> None:
        self.stage, self.live, self.without = stage, None, 0
        if stage.live:
            if materials.teacher is None:
                raise missing("logit_kd, live = true", "a teacher at hand", "un enseignant sous la main")
            self.live = LiveTeacher(materials.teacher, student)
            lessons = [[self._live_lesson(student, example) for example in data] for data in (examples, validation)]
        else:
            if materials.distributions is None:
                raise missing("logit_kd", "the distributions of a capture", "les distributions d'une capture")
            self._tail = _require_service(materials.distributions, stage, materials.approximate)
            to_student = materials.distributions.student_ids(student)
            lessons = [
                [self._cached_lesson(student, example, materials.distributions, to_student) for example in data]
                for data in (examples, validation)
            ]
            if not any(len(lesson.targets.rest) for lesson in lessons[0]):
                raise BadInput(
                    words(
                        en=f"logit_kd: none of {len(examples)} texts has distributions over tokens of the student",
                        fr=f"logit_kd : aucun de {len(examples)} textes n'a de distributions sur des jetons de l'élève",
                    ),
                    words(
                        en="start from a student with the teacher's vocabulary, or learn by sft",
                        fr="partez d'un élève qui a le vocabulaire de l'enseignant, ou apprenez par sft",
                    ),
                )
        super().__init__(student.model, lessons[0], lessons[1], stage, settings, seed)

    def objectives(self, batch: Batch) -> dict[str, Objective]:
        """The divergence, and the text's share of cross-entropy where there is one."""
        chosen: dict[str, Objective] = {"divergence": self._divergence(batch)}
        if batch.ce_R.any():
            chosen["cross_entropy"] = Labels(batch.ce_R, batch.labels_R)
        return chosen

    def _divergence(self, batch: Batch) -> Objective:
        if self.live:
            logits = self.live.logits(batch, [lesson.targets for lesson in batch.lessons])
            return Dense(
                batch.kl_R, logits, divergence_of(self.stage), temperature=self.stage.temperature, squared=True
            )
        ids_RK, probs_RK, rest_R = gather_targets(batch)
        return Sparse(
            batch.kl_R,
            ids_RK,
            probs_RK,
            rest_R if self._tail else None,
            temperature=self.stage.temperature,
            squared=True,
        )

    def _live_lesson(self, student: Student, example: Example) -> Lesson:
        assert self.live is not None
        completion = tuple(student.completion_ids(example.completion))
        return self._lesson(student, example, completion, self.live.prompt(example.messages), len(completion))

    def _cached_lesson(
        self, student: Student, example: Example, distributions: Distributions, to_student: Any
    ) -> Lesson:
        if not distributions.knows(example.prompt_id, example.index):
            return self._plain_lesson(student, example)
        written = np.asarray(distributions.completion(example.prompt_id, example.index), dtype=np.int64)
        completion = to_student[written]
        ids = tuple(completion.tolist())
        # A teacher that draws its words may cut one as no tokenizer would, and a trimmed student lacks such pieces.
        if min(ids, default=0) < 0 or student.decode(ids).strip() != example.completion.strip():
            return self._plain_lesson(student, example)
        targets = distributions.targets(example.prompt_id, example.index).for_student(to_student)
        if ids[-1] != student.end_id:
            ids = (*ids, student.end_id)
        return self._lesson(student, example, ids, targets, len(targets.rest))

    def _plain_lesson(self, student: Student, example: Example) -> Lesson:
        self.without += 1
        return self._lesson(student, example, tuple(student.completion_ids(example.completion)), NOTHING, 0)

    def _lesson(
        self, student: Student, example: Example, completion: tuple[int, ...], targets: Any, known: int
    ) -> Lesson:
        """Tokens beyond those of which the teacher's distribution is known are learnt as they stand."""
        unknown, truth = len(completion) - known, self.stage.truth
        return Lesson(
            prompt=tuple(student.prompt_ids(example.messages)),
            completion=completion,
            author="student" if example.writer == "student" else "teacher",
            ce=(truth,) * known + (1.0,) * unknown if truth or unknown else (),
            kl=(1 - truth,) * known + (0.0,) * unknown,
            targets=targets,
            name=f"{example.prompt_id}/{example.index}",
        )


def divergence_of(stage: LogitKdStage | OnPolicyKdStage) -> divergence.Divergence:
    """The divergence that a stage names."""
    named = {
        "forward_kl": divergence.forward,
        "reverse_kl": divergence.reverse,
        "jensen_shannon": divergence.jensen_shannon(stage.beta),
        "skewed_kl": divergence.skewed_forward(stage.beta),
    }
    return named[stage.objective]


def gather_targets(batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The teacher's entries at a batch's rows: ids (R, K) with -1 where there are fewer, masses (R, K), rest (R)."""
    known: list[Targets] = [lesson.targets for lesson in batch.lessons]
    spans = [
        (targets, place, int(targets.splits[place]), int(targets.splits[place + 1]))
        if place < len(targets.rest)
        else (targets, place, 0, 0)
        for targets, places in zip(known, batch.places, strict=True)
        for place in places
    ]
    width = max(1, max(last - first for _, _, first, last in spans))
    ids_RK = np.full((len(spans), width), -1, dtype=np.int64)
    probs_RK = np.zeros((len(spans), width), dtype=np.float32)
    rest_R = np.zeros(len(spans), dtype=np.float32)
    for row, (targets, place, first, last) in enumerate(spans):
        ids_RK[row, : last - first] = targets.ids[first:last]
        probs_RK[row, : last - first] = targets.weights[first:last]
        if place < len(targets.rest):
            rest_R[row] = targets.rest[place]
    return torch.from_numpy(ids_RK), torch.from_numpy(probs_RK), torch.from_numpy(rest_R)


def _require_service(distributions: Distributions, stage: LogitKdStage, approximate: bool) -> bool:
    """Refuse what the capture does not declare; returns whether the rest is a class of its own.

    Raises:
        Refused: the capture does not serve for the objective at the temperature, or only approximately.
    """
    service = distributions.serves(stage.objective, stage.temperature)
    if service == "no" or (service == "approximate" and not approximate):
        raise Refused(
            words(
                en=f"the capture does not serve {stage.objective} at temperature {stage.temperature} ({service})",
                fr=f"la capture ne sert pas {stage.objective} à la température {stage.temperature} ({service})",
            ),
            words(
                en="take forward_kl at the temperature of the capture, set live = true, or capture.approximate = true",
                fr="prenez forward_kl à la température de la capture, live = true, ou capture.approximate = true",
            ),
        )
    return service != "unbiased"
