"""Asks a teacher once for every answer that a capture needs, and seals the answers.

Each answer is a request with a digest of its own (teacher, sampling, question, index): what is on the disk is never
asked for again, however often the work is killed. It judges no answer; cut, empty and failed ones are data too.
"""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cornue.capture.budget import Purse, Tokens
from cornue.capture.packing import Rows, Shape, encode
from cornue.capture.reader import CAPTURE, FORMAT, PROMPTS, SAMPLES, CaptureReader, open_capture
from cornue.capture.score import ENDPOINT_VOCABULARY, Scored, keep_spoken, score_samples
from cornue.capture.store import Journal
from cornue.capture.teacher import Ask, Sampling, Teacher, seed_of
from cornue.records import recipe
from cornue.records.digests import digest_json
from cornue.records.errors import BadInput, OutsideFailure
from cornue.records.progress import Progress, Silent
from cornue.records.samples import Prompt, Sample
from cornue.records.words import words
from cornue.seal.manifest import write_manifest
from cornue.seal.tables import write_records
from cornue.seal.write import new_folder, remove_folder, write_json


@dataclass(frozen=True)
class _Work:
    """All answers that one capture needs, by the digest of their request."""

    header: dict[str, Any]
    prompts: Sequence[Prompt]
    samples: int
    sampling: Sampling

    def sampling_for(self, prompt: Prompt) -> Sampling:
        """How a prompt is answered: those that measure the teacher show what it says first, not what it might say."""
        return self.sampling if prompt.split == "train" else self.sampling.model_copy(update={"temperature": 0.0})

    def asks(self) -> Iterator[tuple[str, Ask]]:
        """Every answer in the order of the prompts; two prompts with the same words share a request."""
        teacher = digest_json(self.header["teacher"])
        for prompt in self.prompts:
            messages = [message.model_dump() for message in prompt.messages]
            common = {"teacher": teacher, "sampling": self.sampling_for(prompt).model_dump()}
            for index in range(self.samples if prompt.split == "train" else 1):
                seed = seed_of(self.sampling.seed, prompt, index)
                digest = digest_json({**common, "messages": messages, "index": index})
                yield digest, Ask(prompt, index, seed)


def run_capture(
    teacher: Teacher,
    prompts: Sequence[Prompt],
    section: recipe.Capture,
    folder: Path,
    *,
    seed: int = 1,
    purse: Purse | None = None,
    former: CaptureReader | None = None,
    facts: Callable[[], dict[str, Any]] = dict,
    progress: Progress | None = None,
) -> CaptureReader:
    """Ask for what is missing and seal the capture in ``folder``; a finished one is opened and nothing is asked.

    Args:
        seed: the recipe's seed; each answer's own seed is derived from it, the question and the index.
        purse: what may be spent.
        former: a finished capture; what it holds of the same teacher, settings and prompts is kept and not asked again.
        facts: what else goes on the record when all is asked (licences, cost); has no part in the identity.

    Raises:
        BadInput: a prompt stands there twice, or the folder holds another capture.
        Refused: a cap is reached, or personal data would leave; what was finished is kept.
        OutsideFailure: the teacher or the disk failed; what was finished is kept, and the same call goes on.
    """
    progress, purse = progress or Silent(), purse or Purse()
    sampling = Sampling(temperature=section.temperature, max_tokens=section.max_tokens, seed=seed)
    header = {"teacher": teacher.identity(), "sampling": sampling.model_dump()}
    work = _Work(header, prompts, section.samples, sampling)
    _refuse_doubles(prompts)
    if folder.exists():
        return _same_capture(open_capture(folder), work, section)
    partial = folder.with_name(folder.name + ".partial")
    began = time.monotonic()
    with Journal(partial, header) as journal:
        kept = _keep(former, work, journal) if former else {}
        teacher.prepare(prompts, purse)
        _fill(teacher, work, journal, purse, progress)
        answers = [(ask.prompt, _given_to(journal.answers[digest], ask)) for digest, ask in work.asks()]
        spoken = [journal.rows.get(digest, b"") for digest, _ in work.asks()]
        scored = _score(teacher, answers, spoken, section, partial, progress)
        sitting = {"seconds": round(time.monotonic() - began, 3), **teacher.facts()}
        record = {**facts(), **kept, **journal.seen, "torn_lines": journal.torn_lines, "last_sitting": sitting}
        _seal(folder, work, [sample for _, sample in answers], scored, record)
        remove_folder(partial)
    return open_capture(folder)


def _keep(former: CaptureReader, work: _Work, journal: Journal) -> dict[str, Any]:
    """Write a former capture's answers to the same requests into the journal; says for the record where they are from.

    Raises:
        BadInput: it is the capture of another teacher, or of other settings, or one with distributions.
    """
    if former.header != work.header or former.about.get("distributions"):
        raise BadInput(
            words(
                en=f"{former.folder} has another teacher, other settings or distributions: its answers cannot be kept.",
                fr=f"{former.folder} a un autre enseignant, d'autres réglages ou des distributions : rien à garder.",
            ),
            words(en="Ask for everything with --fresh.", fr="Demandez tout à nouveau avec --fresh."),
        )
    asked = {prompt.id: prompt for prompt in former.prompts()}
    held = {(sample.prompt_id, sample.index): sample for sample in former.samples() if not sample.error}
    kept: list[Sample] = []
    for digest, ask in work.asks():
        sample = held.get((ask.prompt.id, ask.index))
        if sample and asked[ask.prompt.id].split == ask.prompt.split:
            kept.append(sample)
            if digest not in journal.answers:
                journal.add(digest, sample)
    tokens = {name: sum(getattr(sample, name) for sample in kept) for name in ("prompt_tokens", "completion_tokens")}
    return {"kept": {"capture": former.digest, "answers": len(kept), **tokens}}


def _fill(teacher: Teacher, work: _Work, journal: Journal, purse: Purse, progress: Progress) -> None:
    """Ask for every request that the journal lacks, as far as the purse allows."""
    wanted: dict[str, Ask] = {}
    for digest, ask in work.asks():
        wanted.setdefault(digest, ask)
    missing = {digest: ask for digest, ask in wanted.items() if digest not in journal.answers}
    kept = [journal.answers[digest] for digest in wanted if digest not in missing]
    purse.count(sum((_tokens(sample) for sample in kept), journal.lost))
    progress.begin("capture", len(wanted))
    progress.advance(len(kept))
    while missing:
        before = len(missing)
        for sampling in dict.fromkeys(work.sampling_for(ask.prompt) for ask in missing.values()):
            alike = {digest: ask for digest, ask in missing.items() if work.sampling_for(ask.prompt) == sampling}
            _ask_some(teacher, sampling, alike, journal, purse, progress)
            missing = {digest: ask for digest, ask in missing.items() if digest not in journal.answers}
        if len(missing) == before:
            raise purse.refusal(len(wanted) - len(missing), len(wanted))


def _ask_some(
    teacher: Teacher, sampling: Sampling, missing: dict[str, Ask], journal: Journal, purse: Purse, progress: Progress
) -> None:
    """Ask until nothing is missing or the purse says stop; what was answered is missing no more."""
    flying: dict[tuple[str, int], tuple[str, int]] = {}
    done, total = len(journal.answers), len(journal.answers) + len(missing)

    def affordable() -> Iterator[Ask]:
        for digest, ask in list(missing.items()):
            prompt_tokens = teacher.most_prompt_tokens(ask.prompt) if purse.capped else 0
            worst = Tokens(prompt_tokens, sampling.max_tokens)
            receipt = purse.reserve(worst)
            if receipt is None:
                return
            if purse.capped:
                journal.ask(digest, worst)
            flying[ask.prompt.id, ask.index] = digest, receipt
            yield ask

    tokens, began = 0, time.monotonic()
    for sample in teacher.sample(affordable(), sampling):
        digest, receipt = flying.pop((sample.prompt_id, sample.index))
        purse.settle(receipt, _tokens(sample), sample.seconds)
        journal.witness(teacher.witness())
        rows = _pack(teacher.take_rows(sample.prompt_id, sample.index), sample)
        journal.add(digest, sample, rows, purse.wasted)
        del missing[digest]
        tokens += sample.completion_tokens
        speed = tokens / max(1e-3, time.monotonic() - began)
        progress.advance(done + (total - done - len(missing)), tokens_per_second=speed)
    if flying:
        raise OutsideFailure(
            words(
                en=f"The teacher left {len(flying)} prompts without any answer.",
                fr=f"L'enseignant a laissé {len(flying)} questions sans réponse.",
            ),
            words(en="Run again: only these are asked.", fr="Relancez : seules celles-ci seront posées."),
            boundary="engine",
        )


def _pack(rows: Rows | None, sample: Sample) -> bytes:
    if rows is None or not sample.token_ids:
        return b""
    shape = Shape(form="top", width=1, vocabulary=ENDPOINT_VOCABULARY)
    return encode(rows, np.asarray(sample.token_ids, dtype=np.int64), shape)


def _score(
    teacher: Teacher,
    answers: Sequence[tuple[Prompt, Sample]],
    spoken: Sequence[bytes],
    section: recipe.Capture,
    partial: Path,
    progress: Progress,
) -> Scored | None:
    """The distributions that the recipe wants, if any."""
    if section.distributions == "none":
        return None
    prompts, samples = [prompt for prompt, _ in answers], [sample for _, sample in answers]
    if any(spoken):
        return keep_spoken(samples, spoken, section.width, partial)
    return score_samples(teacher, prompts, samples, section, partial, progress)


def _tokens(sample: Sample) -> Tokens:
    written = sample.completion_tokens - sample.reasoning_tokens
    return Tokens(sample.prompt_tokens, written, sample.cached_tokens, sample.reasoning_tokens)


def _seal(folder: Path, work: _Work, samples: Sequence[Sample], scored: Scored | None, record: dict[str, Any]) -> None:
    about = {
        "format": FORMAT,
        **work.header,
        "answers": answers_digest(samples),
        "counts": count(work.prompts, samples),
        "record": record,
    }
    if scored:
        about["distributions"] = scored.about
    with new_folder(folder) as inside:
        for file in scored.files if scored else ():
            shutil.copyfile(file, inside / file.name)
        write_records(inside / SAMPLES, samples, Sample)
        write_records(inside / PROMPTS, work.prompts, Prompt)
        write_json(inside / CAPTURE, about)
        write_manifest(inside, "capture", {"teacher": digest_json(work.header["teacher"]), "answers": about["answers"]})


def count(prompts: Sequence[Prompt], samples: Sequence[Sample]) -> dict[str, float]:
    """What a capture holds, by number: answers that are cut, empty or failed are counted apart, never hidden."""
    return {
        "prompts": len(prompts),
        "samples": len(samples),
        "cut": sum(sample.finish == "length" for sample in samples),
        "failed": sum(sample.finish == "error" for sample in samples),
        "empty": sum(sample.finish != "error" and not sample.text.strip() for sample in samples),
        "prompt_tokens": sum(sample.prompt_tokens for sample in samples),
        "completion_tokens": sum(sample.completion_tokens for sample in samples),
        "cached_tokens": sum(sample.cached_tokens for sample in samples),
        "reasoning_tokens": sum(sample.reasoning_tokens for sample in samples),
        "request_seconds": round(sum(sample.seconds for sample in samples), 3),
    }


def answers_digest(samples: Iterable[Sample]) -> str:
    """Digest of what was answered, apart from how long it took: equal for two captures with the same answers."""
    rows = [[sample.prompt_id, sample.index, sample.text, sample.finish] for sample in samples]
    return digest_json(sorted(rows, key=lambda row: (row[0], row[1])))


def _given_to(sample: Sample, ask: Ask) -> Sample:
    """The answer under the name of the prompt that it answers here; only prompts with the same words share one."""
    return sample if sample.prompt_id == ask.prompt.id else sample.model_copy(update={"prompt_id": ask.prompt.id})


def _refuse_doubles(prompts: Sequence[Prompt]) -> None:
    doubles = [name for name, times in Counter(prompt.id for prompt in prompts).items() if times > 1]
    if doubles:
        raise BadInput(
            words(
                en=f"{len(doubles)} prompts have an id that another has too, such as {min(doubles)}.",
                fr=f"{len(doubles)} questions portent un identifiant déjà pris, comme {min(doubles)}.",
            ),
            words(en="Keep one of each.", fr="Gardez-en une de chaque."),
        )
    if not prompts:
        raise BadInput(
            words(en="There are no prompts to ask.", fr="Il n'y a aucune question à poser."),
            words(en="Check sources.prompts.", fr="Vérifiez sources.prompts."),
        )


def _same_capture(found: CaptureReader, work: _Work, section: recipe.Capture) -> CaptureReader:
    held = {(sample.prompt_id, sample.index) for sample in found.samples()}
    same = found.header == work.header and held == {(ask.prompt.id, ask.index) for _, ask in work.asks()}
    kept = found.about.get("distributions", {"form": "none", "width": section.width})
    if not same or (kept["form"], kept["width"]) != (section.distributions, section.width):
        raise BadInput(
            words(
                en=f"{found.folder} holds the finished capture of another teacher, other settings or other prompts.",
                fr=f"{found.folder} contient la capture finie d'un autre enseignant, d'autres réglages ou questions.",
            ),
            words(en="Give another folder, or move that one away.", fr="Donnez un autre dossier, ou déplacez-le."),
        )
    return found
