"""The journey: the steps of a recipe in their order, each skipped when its inputs have not changed.

This file says what goes into each step and what comes out; how a step works is its room's affair. It may be stopped at
any time and run again: finished steps stay, unfinished ones go on from what is on the disk.
"""

from __future__ import annotations

import contextlib
import shutil
import tomllib
from collections.abc import Callable
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import tomli_w

from cornue import __version__
from cornue.capture.reader import CaptureReader, open_capture
from cornue.job import TINY, Asking, Job
from cornue.ledger.ledger import Ledger
from cornue.ledger.numbers import counted
from cornue.ledger.sitting import Sitting
from cornue.models.licences import may_start, may_teach, require_permission
from cornue.pack.sign import sign_pack
from cornue.records.digests import digest_folder, digest_json
from cornue.records.errors import BadInput
from cornue.records.progress import Progress, Silent
from cornue.records.samples import Example, Prompt, Sample, Verdict
from cornue.records.words import words
from cornue.seal.runs import STEPS, RunFolder
from cornue.seal.tables import read_records
from cornue.seal.write import remove_folder, write_bytes, write_text

LIBRARIES = ("torch", "transformers", "tokenizers", "safetensors", "gguf", "xllamacpp", "pyarrow", "numpy")


def run(
    recipe: str | Path,
    *,
    until: str = "pack",
    runs: Path = Path("runs"),
    ask: Asking = "never",
    progress: Progress | None = None,
) -> Path:
    """Run a recipe up to and including a step; returns the folder of the run.

    Args:
        until: the last step: capture, verify, curate, train, evaluate or pack.
        runs: where run folders lie.
        ask: what the teacher is asked although the recipe names a finished capture.

    Raises:
        BadInput: the recipe or a file of it cannot be used.
        Refused: a licence or the budget forbids it.
        CheckFailed: a step's own check fails.
        OutsideFailure: a system outside Cornue failed; what is finished stays.
    """
    job = Job.read(recipe, ask)
    folder = RunFolder(runs / job.name)
    try:
        return _Journey(job, folder, progress or Silent()).run(until)
    finally:
        folder.close()


class _Journey:
    """One sitting of a run."""

    def __init__(self, job: Job, folder: RunFolder, progress: Progress) -> None:
        self.job, self.recipe, self.folder = job, job.recipe, folder
        self.ledger = Ledger(folder.path / "ledger.jsonl")
        self.sitting = Sitting(self.ledger, progress, self.recipe.budget)
        self._copy_recipe()

    def run(self, until: str) -> Path:
        """Every step up to ``until``, in order; finished ones are skipped."""
        self._ask_licences()
        for step in STEPS[: STEPS.index(until) + 1]:
            getattr(self, step)()
        return self.folder.path

    def _do(
        self, step: str, inputs: dict[str, Any], work: Callable[[Path], dict[str, Any]], resumes: bool = False
    ) -> None:
        inputs = {"step": step, "version": __version__, **inputs}
        if self.folder.is_done(step, inputs):
            self.sitting.say(words(en=f"{step}: done before", fr=f"{step} : déjà fait"))
            return
        with self.sitting.at(step):
            facts = self.folder.do(step, inputs, work, resumes)
        for name, value in facts.items():
            if isinstance(value, (int, float, str)):
                self.sitting.say(f"{step}: {name}: {value}")

    def capture(self) -> None:
        """Ask the teacher, or take the finished capture that the recipe names."""
        section = self.recipe.capture
        if self.job.uses_capture:
            from cornue.capture.run import use_capture

            path, reason = self.job.file(section.use), self.recipe.teacher.licence_reason
            found, said = use_capture(path, section.digest, reason)
            for line in said:
                self.sitting.say(line)
            self._do("capture", {"capture": found.digest}, lambda place: self._copy_capture(found, place))
            return
        inputs = {"files": self.job.files, "teacher": _dump(self.recipe.teacher), "capture": _dump(section)}
        self._do("capture", inputs, self._ask, resumes=True)
        # The folder was sealed anew with what went in; by this digest recipes name it.
        self.sitting.say(f'digest = "{self.folder.digest("capture")}"')

    def _copy_capture(self, found: CaptureReader, place: Path) -> dict[str, Any]:
        wanted = {prompt.id for prompt in self.job.prompts}
        asked = wanted & {prompt.id for prompt in found.prompts()}
        if not asked:
            raise BadInput(
                words(
                    en=f"The capture {found.folder} holds none of the recipe's prompts.",
                    fr=f"La capture {found.folder} ne contient aucune des questions de la recette.",
                ),
                words(en="Ask the teacher with --missing.", fr="Interrogez l'enseignant avec --missing."),
            )
        _copy_files(found.folder, place)
        return {"capture": found.digest, "asked": len(asked), "not_asked": len(wanted - asked), "counts": found.counts}

    def _ask(self, place: Path) -> dict[str, Any]:
        from cornue.capture.run import capture_for

        inner, job, sitting = place / "capture", self.job, self.sitting
        found = capture_for(
            self.recipe,
            job.base,
            self.job.prompts,
            inner,
            schema=job.schema,
            former=job.former,
            spent=sitting.spent,
            progress=sitting,
        )
        paid = {name: found.counts[name] - found.kept.get(name, 0) for name in ("prompt_tokens", "completion_tokens")}
        self.sitting.count(**{f"teacher_{name}": counted(number, "tokens") for name, number in paid.items()})
        _copy_files(inner, place)
        shutil.rmtree(inner)
        return {"answers": found.about["answers"], "counts": found.counts}

    def verify(self) -> None:
        """A verdict on every answer."""
        from cornue.verify.run import run_verify

        inputs = {"capture": self.folder.digest("capture"), "verify": _dump(self.recipe.verify), **self._table()}

        def work(place: Path) -> dict[str, Any]:
            return run_verify(self._verifier(), self._captured_prompts, self._samples, place, self.sitting)

        self._do("verify", inputs, work)

    def curate(self) -> None:
        """What the student learns from."""
        from cornue.curate.run import run_curate

        section = self.recipe.curate
        inputs = {step: self.folder.digest(step) for step in ("capture", "verify")}

        def work(place: Path) -> dict[str, Any]:
            verdicts = read_records(self.folder.place("verify") / "verdicts.parquet", Verdict)
            siblings = [prompt for prompt in self.job.all_prompts if prompt.split == "train"]
            prompts, samples = self._captured_prompts, self._samples
            verifier = self._verifier()
            return run_curate(section, prompts, samples, verdicts, place, siblings=siblings, verifier=verifier)

        files = {"prompts": self.job.files["prompts"]} if section.carry or section.keep == "truth" else {}
        self._do("curate", inputs | {"curate": _dump(section), **files, **self._table()}, work)

    def train(self) -> None:
        """The student learns."""
        inputs = {
            "curate": self.folder.digest("curate"),
            "student": _dump(self.recipe.student),
            "start": self.job.files.get("student", TINY),
            "train": [_dump(stage) for stage in self.recipe.train],
            "machine": self._resolved()["machine"],
            "seed": self.recipe.recipe.seed,
        }
        if any(stage.method != "sft" for stage in self.recipe.train):
            inputs |= {"capture": self.folder.digest("capture"), "teacher": _dump(self.recipe.teacher)}
        self._do("train", inputs, self._learn, resumes=True)

    def _learn(self, place: Path) -> dict[str, Any]:
        from cornue.models.student import prepare
        from cornue.train.loop import Settings
        from cornue.train.run import as_record, materials_for, run_stages

        examples, start = self._examples("train"), place / "start"
        student, fitted = prepare(start, self.job.student_start, self.recipe.student, examples, self._names())
        self.sitting.say(_saving(fitted))
        resolved, job = self._resolved(), self.job
        capture = open_capture(self.folder.place("capture"))
        materials = materials_for(self.recipe, capture, job.base, job.schema, job.prompts, self._verifier().judge)
        trained = run_stages(
            self.recipe.train,
            student,
            examples,
            self._examples("validation"),
            place,
            seed=self.recipe.recipe.seed,
            settings=Settings(**resolved["machine"], peak=resolved["measured"]["peak"]),
            progress=self.sitting,
            materials=materials,
        )
        self.sitting.count(trained_tokens=counted(sum(stage.tokens for stage in trained.stages), "tokens"))
        remove_folder(start)
        return {"student": fitted, **as_record(trained)}

    def evaluate(self) -> None:
        """Teacher, student, start and baselines on the same questions."""
        inputs = {
            "curate": self.folder.digest("curate"),
            "student": digest_folder(self.folder.place("train") / "student"),
            "evaluate": _dump(self.recipe.evaluate),
            "pack": _dump(self.recipe.pack),
            **self._table(),
        }
        self._do("evaluate", inputs, self._examine, resumes=True)

    def _examine(self, place: Path) -> dict[str, Any]:
        from cornue.evaluate.run import Exam, run_evaluate

        prompts = [prompt for prompt in self._captured_prompts.values() if prompt.split == "heldout"]
        asked = {prompt.id for prompt in prompts}
        teacher = [sample for sample in self._samples if sample.prompt_id in asked and sample.index == 0]
        student = self.folder.place("train") / "student"
        exam = Exam(prompts, teacher, self._examples("train"), student, self.job.student_start, self.job.register)
        journal = place / "journal"
        results = run_evaluate(self.recipe, exam, self._verifier(), place, journal, self.sitting)
        shutil.rmtree(journal, ignore_errors=True)
        return {"results": results["answerers"], "agreement": results["agreement"]}

    def pack(self) -> None:
        """What is published."""
        from cornue.pack.gather import gather
        from cornue.pack.reuse import reuse_of
        from cornue.report.page import write_report

        done = STEPS[: STEPS.index("pack")]
        rooms = {step: self.folder.place(step) for step in done}
        inputs = {step: self.folder.digest(step) for step in done}
        table = self.job.file(self.recipe.sources.table) if self.recipe.sources.table else None

        def work(place: Path) -> dict[str, Any]:
            facts = gather(self.recipe, self._resolved_digest(), rooms, self.folder.path, table, place)
            plain = self.job.file(self.recipe.pack.plain) if self.recipe.pack.plain else None
            write_report(place, rooms, self.folder.path / "ledger.jsonl", reuse_of(place, plain)._asdict())
            return {"model": facts.model_digest}

        self._do("pack", inputs, work)
        if unsigned := sign_pack(self.folder.place("pack"), self.recipe.pack.key):
            self.sitting.say(unsigned)
        shutil.copyfile(self.folder.place("pack") / "report.html", self.folder.path / "report.html")

    # What several steps read.

    @cached_property
    def _captured_prompts(self) -> dict[str, Prompt]:
        """The recipe's prompts, by id, in the order of the capture."""
        wanted = {prompt.id for prompt in self.job.prompts}
        found = open_capture(self.folder.place("capture")).prompts()
        return {prompt.id: prompt for prompt in found if prompt.id in wanted}

    @cached_property
    def _samples(self) -> list[Sample]:
        found = open_capture(self.folder.place("capture")).samples()
        return [sample for sample in found if sample.prompt_id in self._captured_prompts]

    def _examples(self, split: str) -> list[Example]:
        return list(read_records(self.folder.place("curate") / f"{split}.parquet", Example))

    def _verifier(self) -> Any:
        from cornue.verify.run import make_verifier

        return make_verifier(self.recipe.verify, self.job.base, self.job.register)

    def _table(self) -> dict[str, str]:
        return {"table": self.job.register.digest} if self.job.register else {}

    def _names(self) -> list[str]:
        """The texts of the register: their tokens are kept when the vocabulary is trimmed."""
        return self.job.register.texts() if self.job.register else []

    def _resolved(self) -> dict[str, Any]:
        return tomllib.loads((self.folder.path / "recipe.resolved.toml").read_text(encoding="utf-8"))

    def _resolved_digest(self) -> str:
        """Digest of the resolved recipe, without what was measured."""
        return digest_json({name: part for name, part in self._resolved().items() if name != "measured"})

    def _copy_recipe(self) -> None:
        """Write the recipe and, once, what is derived from it and from the machine."""
        write_bytes(self.folder.path / "recipe.toml", self.job.path.read_bytes())
        resolved = self.folder.path / "recipe.resolved.toml"
        if resolved.exists():
            return
        from cornue.models.arithmetic import measure_arithmetic

        arithmetic = measure_arithmetic()
        content = {
            **self.recipe.model_dump(mode="json"),
            "files": self.job.files,
            "machine": {"dtype": arithmetic.dtype, "threads": arithmetic.threads},
            "measured": {"peak": arithmetic.peak},
            "code": {"cornue": __version__, **_versions()},
        }
        write_text(resolved, tomli_w.dumps(content))

    def _ask_licences(self) -> None:
        """Refuse what a licence forbids; say what is not known.

        Raises:
            Refused: quoting the clause.
        """
        teacher, student = self.recipe.teacher, self.recipe.student
        warnings = (
            require_permission(may_teach(teacher.licence), teacher.licence_reason),
            require_permission(may_start(student.licence), student.licence_reason),
        )
        for warning in filter(None, warnings):
            self.sitting.say(warning)


def _dump(section: Any) -> dict[str, Any]:
    dumped: dict[str, Any] = section.model_dump(mode="json")
    return dumped


def _copy_files(source: Path, target: Path) -> None:
    """The files of a finished folder without its manifest: the step that takes them writes its own."""
    for path in sorted(source.iterdir()):
        if path.is_file() and path.name != "manifest.json":
            shutil.copyfile(path, target / path.name)


def _versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _saving(fitted: dict[str, Any]) -> str:
    before, after = fitted["parameters_before"], fitted["parameters"]
    vocabulary = f"{fitted['vocabulary_before']} → {fitted['vocabulary']}"
    tokens = f"{fitted['tokens_of_the_job_before']} → {fitted['tokens_of_the_job']}"
    return words(
        en=f"vocabulary {vocabulary} entries, {before / 1e6:.1f} → {after / 1e6:.1f} M parameters, "
        f"the job's texts {tokens} tokens",
        fr=f"vocabulaire {vocabulary} entrées, {before / 1e6:.1f} → {after / 1e6:.1f} M paramètres, "
        f"textes de la tâche {tokens} jetons",
    )
