"""A recipe with the files that it names, before anything has run.

It finds files, checks that they are the ones that the recipe names, and gives the run its name. It runs nothing:
``pipeline`` does; ``plan`` and ``doctor`` look at the same job.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from cornue.capture.reader import CaptureReader, open_capture
from cornue.records.digests import digest_file, digest_folder, digest_json
from cornue.records.errors import BadInput
from cornue.records.recipe import Recipe, read_recipe
from cornue.records.samples import Prompt
from cornue.records.words import words
from cornue.sources.hub_folder import require_licence
from cornue.sources.of_forms import articles_of, holds_forms, prompts_of_forms
from cornue.sources.prompts import read_prompts
from cornue.sources.register import Register

TINY = "tiny"

Asking = Literal["never", "missing", "all"]
"""What the teacher is asked although the recipe names a finished capture."""


@dataclass
class Job:
    """A recipe with the files that it names, before anything has run.

    Raises:
        BadInput: a file is missing or is not the one that the recipe names.
    """

    path: Path
    recipe: Recipe
    ask: Asking = "never"

    @staticmethod
    def read(path: str | Path, ask: Asking = "never") -> Job:
        """The job of a recipe file."""
        return Job(Path(path), read_recipe(path), ask)

    @property
    def base(self) -> Path:
        """The folder from which the recipe's paths are read."""
        return self.path.parent

    def file(self, name: str) -> Path:
        """A file or folder that the recipe names.

        Raises:
            BadInput: it is not there.
        """
        found = self.base / name
        if not found.exists():
            raise BadInput(
                words(
                    en=f"{self.path} names {name}, and there is nothing at {found}.",
                    fr=f"{self.path} nomme {name}, et il n'y a rien à {found}.",
                ),
                words(en="Correct the path, or fetch the file.", fr="Corrigez le chemin, ou récupérez le fichier."),
            )
        return found

    @property
    def student_start(self) -> Path:
        """Where the student starts from; ``tiny`` stands for the random model that comes with Cornue."""
        if self.recipe.student.model == TINY:
            return Path(TINY)
        path = self.file(self.recipe.student.model)
        wanted = self.recipe.student.sha256
        if wanted and path.is_file() and digest_file(path) != f"sha256:{wanted}":
            raise BadInput(
                words(en=f"{path} has other bytes than the recipe names.", fr=f"{path} a d'autres octets que prévu."),
                words(en="Fetch the file again, or correct student.sha256.", fr="Récupérez le fichier à nouveau."),
            )
        return path

    @cached_property
    def register(self) -> Register | None:
        """The table of ``[sources]``."""
        return Register.open(self.file(self.recipe.sources.table)) if self.recipe.sources.table else None

    @property
    def schema(self) -> str:
        """The table's schema, which stands for ``{schema}`` in the teacher's instructions."""
        return self.register.schema if self.register else ""

    @cached_property
    def all_prompts(self) -> list[Prompt]:
        """Every prompt of the recipe's file or folder, whose licence the recipe must name."""
        sources = self.recipe.sources
        path = self.file(sources.prompts)
        if self.register and holds_forms(path):
            return prompts_of_forms(path, self.file(sources.table), self.register, sources.per_form)
        if path.is_dir():
            require_licence(path, sources.licence)
        return read_prompts(path, {str(field): name for field, name in sources.columns.items()})

    @cached_property
    def prompts(self) -> list[Prompt]:
        """The prompts that the recipe takes of its file, in the file's order.

        Raises:
            BadInput: ``take`` names a split or stratum that no prompt has.
        """
        found, take = self.all_prompts, self.recipe.sources.take
        chosen = {prompt.id for prompt in found}
        for name, most in take.items():
            part = [prompt for prompt in found if name in (prompt.split, f"{prompt.split}/{prompt.stratum}")]
            if not part:
                raise BadInput(
                    words(
                        en=f"[sources] take names “{name}”, and no prompt is of that part.",
                        fr=f"[sources] take nomme « {name} », et aucune question n'en fait partie.",
                    ),
                    words(
                        en="Parts are called train, validation, heldout, or heldout/STRATUM.",
                        fr="Les parties s'appellent train, validation, heldout, ou heldout/STRATE.",
                    ),
                )
            chosen -= set(_by_turns(part)[most:])
        return [prompt for prompt in found if prompt.id in chosen]

    @property
    def uses_capture(self) -> bool:
        """Whether a finished capture stands in for the teacher."""
        return bool(self.recipe.capture.use) and self.ask == "never"

    @cached_property
    def capture(self) -> CaptureReader:
        """The finished capture that the recipe names.

        Raises:
            BadInput: it is not there, or is another.
        """
        return open_capture(self.file(self.recipe.capture.use), self.recipe.capture.digest)

    @property
    def former(self) -> CaptureReader | None:
        """The finished capture whose answers are kept where only the missing ones are asked for."""
        return self.capture if self.recipe.capture.use and self.ask == "missing" else None

    @cached_property
    def files(self) -> dict[str, str]:
        """Digests of everything that the recipe names."""
        recipe = self.recipe
        prompts = self.file(recipe.sources.prompts)
        found = {"prompts": digest_folder(prompts) if prompts.is_dir() else digest_file(prompts)}
        if self.register:
            found["table"] = self.register.digest
            if holds_forms(prompts) and (articles := articles_of(prompts)):
                found["articles"] = digest_file(articles)
        start = self.student_start
        if start != Path(TINY):
            found["student"] = digest_folder(start) if start.is_dir() else digest_file(start)
        if recipe.teacher.instructions:
            found["instructions"] = digest_file(self.file(recipe.teacher.instructions))
        if self.uses_capture:
            found["capture"] = self.capture.digest
        else:
            found["teacher"] = recipe.teacher.sha256 or recipe.teacher.url or recipe.teacher.model
        return found

    @property
    def name(self) -> str:
        """Name of the run's folder: the recipe's name and what decides its result."""
        return f"{self.recipe.recipe.name}-{digest_json([self.recipe.digest, self.files])[7:19]}"


def _by_turns(prompts: list[Prompt]) -> list[str]:
    """Ids in the order in which prompts are taken: the first of each form, the second of each, …, each turn by id."""
    turns: Counter[str] = Counter()
    places: list[tuple[int, str]] = []
    for prompt in sorted(prompts, key=lambda prompt: prompt.id):
        places.append((turns[prompt.form], prompt.id))
        turns[prompt.form] += 1
    return [name for _, name in sorted(places)]
