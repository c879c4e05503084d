"""Recipes: one TOML file that says everything about a run, as data and never as code.

One frozen type per section; the docstring of a field is its help and its documentation. Reading a recipe checks words
and values only: files, models and licences are looked at by ``plan``. An unknown key is an error that names the nearest
known one. A renamed key has no alias.
"""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cornue.records.digests import digest_json
from cornue.records.errors import BadInput
from cornue.records.words import words


class Section(BaseModel):
    """Base of all sections: frozen, strict about keys, documented by its fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class About(Section):
    """``[recipe]``: what this is."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    """Short name; run folders are called after it."""
    title: str = ""
    """One line for people."""
    language: Literal["fr", "en"] = "fr"
    """Language of the job and of its report."""
    seed: int = 1
    """Seed of everything that is drawn."""
    purpose: str = ""
    """What the student is meant for; shown to its users."""
    limits: str = ""
    """What the student must not be used for; shown to its users."""
    contact: str = ""
    """The person or office that answers for it."""


class Sources(Section):
    """``[sources]``: the questions, and what they are about."""

    prompts: str
    """File of questions (``.jsonl``, ``.csv``, ``.tsv``, ``.json``, ``.parquet``, ``.arrow``; text also as ``.xz`` or
    ``.gz``), data set folder of the Hugging Face hub, list of ``reasoning_gym`` tasks or of question forms about
    ``table`` (``.toml``), relative to the recipe."""
    per_form: Annotated[int, Field(ge=1)] = 12
    """Questions made of each question form."""
    columns: dict[Literal["question", "answer", "split", "stratum", "form"], str] = {}
    """Which columns of that file hold what (``question = "texte"``), where their names are not the usual ones."""
    take: dict[str, Annotated[int, Field(ge=0)]] = {}
    """Most prompts taken of a split or of a stratum of it (``train = 900``, ``"heldout/free" = 145``): one of each form
    in turn, by order of id, which has nothing to do with their content; what is not named is taken whole."""
    table: str = ""
    """Register from which answers are read (SQLite or CSV, also compressed), relative to the recipe."""
    licence: str = "unknown"
    """Licence of the prompts and the table, by the name under which the licence oracle knows it."""
    attribution: str = ""
    """The words that the licence asks to be shown with every use."""


class Model(Section):
    """A model by file and digest."""

    model: str
    """GGUF file, folder of safetensors, or ``tiny`` (a random model for tests); a teacher also ``pack:FOLDER`` or
    ``hub:OWNER/NAME@REVISION``."""
    sha256: str = ""
    """Hex SHA-256 that the file must have; a model with other bytes is refused."""
    licence: str = "unknown"
    """Licence of the weights, by the name under which the licence oracle knows it."""
    licence_reason: str = ""
    """Why someone goes on although the licence is not known; goes on the record."""


class Teacher(Model):
    """``[teacher]``: who is asked."""

    kind: Literal["gguf", "transformers", "endpoint", "replay"] = "gguf"
    """The engine behind it."""
    instructions: str = ""
    """File with the system prompt; ``{schema}`` in it stands for the table's schema. The student never sees it."""
    url: str = ""
    """Base URL of an OpenAI-compatible endpoint (kind ``endpoint``)."""
    api_key_env: str = ""
    """Name of the environment variable that holds the key; keys themselves are never written down."""
    remote_allowed: bool = False
    """Whether prompts may leave this machine."""
    slots: Annotated[int, Field(ge=1, le=256)] = 1
    """Requests in flight at once. One slot gives the same bytes again; several are faster."""
    context: int = 2048
    """Context window per request, in tokens."""
    arithmetic: Literal["float32", "int8"] = "float32"
    """How kind ``transformers`` multiplies: ``int8`` rounds to 8-bit integers, much faster on some processors; the
    answers change a little, and the teacher's identity says so."""
    licence_reason: str = ""
    """Why this teacher may be used where its licence says no or is not known; goes on the record."""


class Student(Model):
    """``[student]``: who learns."""

    template: Literal["plain", "brief", "own"] = "plain"
    """``plain``: a short ChatML without a hidden system prompt; ``brief``: one token before a question and one after,
    for a student that is to do one job; ``own``: the template that came with the weights."""
    trim: bool = True
    """Cut the vocabulary to the job; any text can still be written, the job's texts keep their tokens."""
    extend: Annotated[int, Field(ge=0, le=20_000)] = 0
    """New vocabulary entries learnt on the job's texts, so that they take fewer tokens."""
    layers: Annotated[int, Field(ge=0)] = 0
    """Layers to keep by measured importance; 0 keeps all."""
    scratch: bool = False
    """Forget the weights and start from random ones of the same shape, to see what they add."""


class Capture(Section):
    """``[capture]``: what is asked of the teacher, and what of its answer is kept."""

    use: str = ""
    """Folder of a finished capture, relative to the recipe; ``--fresh`` asks the teacher again."""
    digest: str = ""
    """Manifest digest that the capture named by ``use`` must have."""
    samples: Annotated[int, Field(ge=1)] = 1
    """Answers per training prompt; prompts that measure, of validation and held-out, are answered once."""
    temperature: Annotated[float, Field(ge=0)] = 0.0
    """Of answers to training prompts, 0 is greedy; prompts that measure are always answered greedily."""
    max_tokens: Annotated[int, Field(ge=1)] = 256
    """Longest answer, in tokens; longer ones are cut and marked so."""
    distributions: Literal["none", "sampled", "top"] = "none"
    """Token distributions: ``sampled`` targets (unbiased for forward KL) or the ``top`` entries with one tail class."""
    width: Annotated[int, Field(ge=1, le=512)] = 12
    """Draws (``sampled``; 80 take some 33 bytes at 152,000 words) or entries (``top``; 12 take 40) per token."""
    approximate: bool = False
    """Allow uses for which the distributions are only approximate; goes on the record."""
    personal_data: Literal["refuse", "replace", "flag"] = "refuse"
    """What happens to personal data found in a prompt before it leaves the machine."""


class Verify(Section):
    """``[verify]``: how an answer is judged."""

    kind: Literal["exact", "choice", "json_schema", "sql"]
    """The verifier. It must accept the true answer and refuse a wrong one before it is used."""
    choices: tuple[str, ...] = ()
    """The allowed answers (kind ``choice``)."""
    json_schema: str = ""
    """File with the JSON schema (kind ``json_schema``)."""
    seconds: Annotated[float, Field(gt=0)] = 2.0
    """Longest time for one query (kind ``sql``)."""
    rows: Annotated[int, Field(ge=1)] = 1000
    """Most rows of one query (kind ``sql``)."""


class Curate(Section):
    """``[curate]``: which answers the student learns from."""

    keep: Literal["correct", "all", "truth"] = "correct"
    """``correct`` keeps what a verifier found right; ``truth`` learns the true answers of all training prompts instead
    of the teacher's, to see what the teacher adds."""
    carry: bool = False
    """Carry right answers over to prompts of the same form that were not asked, with their names and numbers exchanged;
    each is judged before it is used (kind ``sql``)."""
    per_prompt: Annotated[int, Field(ge=1)] = 1
    """Most answers kept for one prompt."""
    per_form: Annotated[int, Field(ge=0)] = 0
    """Most prompts kept for one question form; 0 keeps all."""
    refusals: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Largest share of refusals among what is kept, taken by turns of their forms; 0 keeps all."""
    examples: Annotated[int, Field(ge=0)] = 0
    """Most examples to learn from, the teacher's own before those carried over; 0 keeps all."""


class Stage(Section):
    """What every ``[[train]]`` stage has, whatever its method."""

    epochs: Annotated[float, Field(gt=0)] = 1.0
    """Passes over the kept data."""
    max_steps: Annotated[int, Field(ge=0)] = 0
    """Most optimiser steps; 0 sets no limit."""
    learning_rate: Annotated[float, Field(gt=0)] = 3e-4
    """Peak learning rate; it warms up over the first steps and falls linearly to zero."""
    batch_tokens: Annotated[int, Field(ge=16)] = 1536
    """Tokens per optimiser step, prompt and padding included."""
    warmup: Annotated[float, Field(ge=0, le=1)] = 0.03
    """Share of the steps over which the learning rate rises."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Decoupled weight decay of the matrices."""
    clip: Annotated[float, Field(gt=0)] = 1.0
    """Largest norm of the gradient."""
    freeze: Annotated[int, Field(ge=0)] = 0
    """Lowest layers that stay as they are; saves their backward pass."""
    lora_rank: Annotated[int, Field(ge=0)] = 0
    """Rank of low-rank updates instead of whole matrices; 0 trains the matrices."""
    checkpoint_every: Annotated[int, Field(ge=1)] = 20
    """Steps between checkpoints; at most so many are repeated after a kill."""
    validate_every: Annotated[int, Field(ge=0)] = 0
    """Steps between validations; the best checkpoint is kept. 0 keeps the last."""


class Sft(Stage):
    """Cross-entropy on the teacher's text."""

    method: Literal["sft"]


class LogitKd(Stage):
    """The teacher's distribution on the teacher's text."""

    method: Literal["logit_kd"]
    objective: Literal["forward_kl", "reverse_kl", "jensen_shannon", "skewed_kl"] = "forward_kl"
    """The divergence; all but ``forward_kl`` need a live teacher."""
    beta: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Mixing weight of ``jensen_shannon`` and ``skewed_kl``."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Softens both distributions; 1 leaves them."""
    truth: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of cross-entropy on the text in the loss."""
    live: bool = False
    """Ask the teacher in the step instead of reading the capture."""


class OnPolicyKd(Stage):
    """The student writes, the teacher scores."""

    method: Literal["on_policy_kd"]
    objective: Literal["forward_kl", "reverse_kl", "jensen_shannon"] = "reverse_kl"
    """The divergence between student and teacher on the student's text."""
    beta: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Mixing weight of ``jensen_shannon``."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Temperature at which the student writes."""
    teacher_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of prompts on which the teacher's own text is learnt instead."""
    prefix: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of each completion that is scored, from its start."""
    max_tokens: Annotated[int, Field(ge=1)] = 128
    """Longest completion."""
    prompts_per_step: Annotated[int, Field(ge=1)] = 16
    """Prompts written to in one step."""


class Grpo(Stage):
    """Rewards from the verifier on groups of the student's answers."""

    method: Literal["grpo"]
    group: Annotated[int, Field(ge=2)] = 8
    """Answers per prompt that are compared with each other."""
    prompts_per_step: Annotated[int, Field(ge=1)] = 8
    """Prompts with mixed verdicts learnt from in one step."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Temperature at which the student writes."""
    clip_low: Annotated[float, Field(ge=0)] = 0.2
    """How far the importance ratio may fall below 1."""
    clip_high: Annotated[float, Field(ge=0)] = 0.28
    """How far it may rise above 1; higher than ``clip_low`` keeps exploration alive."""
    reference_kl: Annotated[float, Field(ge=0)] = 0.0
    """Weight of a pull towards the student as it was when the stage began."""
    max_tokens: Annotated[int, Field(ge=1)] = 128
    """Longest completion; longer ones are data with the reason ``length``."""


TrainStage = Annotated[Sft | LogitKd | OnPolicyKd | Grpo, Field(discriminator="method")]


class Evaluate(Section):
    """``[evaluate]``: what is measured."""

    baseline: bool = True
    """Measure the untouched start and the trivial baseline too."""
    max_tokens: Annotated[int, Field(ge=1)] = 160
    """Longest answer."""
    agreement: Annotated[int, Field(ge=0)] = 100
    """Prompts on which exported files are compared with the trained weights."""


class Pack(Section):
    """``[pack]``: what is published."""

    formats: tuple[Literal["F16", "Q8_0"], ...] = ("F16", "Q8_0")
    """GGUF files that the pack holds."""
    serve: Literal["F16", "Q8_0"] = "Q8_0"
    """The file that is measured and served."""
    licence: str = "Apache-2.0"
    """Licence under which the student is given."""
    plain: str = ""
    """A pack of the same student, fine-tuned without this teacher: the report then says how many students repay it."""
    key: str = ""
    """Name of the key that signs (``cornue keys new NAME``); empty takes the only one there is, or none."""


class Budget(Section):
    """``[budget]``: caps that are never exceeded; 0 sets no cap."""

    euros: Annotated[float, Field(ge=0)] = 0.0
    """Money, electricity included."""
    hours: Annotated[float, Field(ge=0)] = 0.0
    """Wall time."""
    kwh: Annotated[float, Field(ge=0)] = 0.0
    """Energy."""
    tokens: Annotated[int, Field(ge=0)] = 0
    """Tokens asked of the teacher."""


class Recipe(Section):
    """A whole recipe."""

    recipe: About
    sources: Sources
    teacher: Teacher
    student: Student
    capture: Capture = Capture()
    verify: Verify
    curate: Curate = Curate()
    train: Annotated[tuple[TrainStage, ...], Field(min_length=1)]
    evaluate: Evaluate = Evaluate()
    pack: Pack = Pack()
    budget: Budget = Budget()

    @property
    def digest(self) -> str:
        """Digest of what the recipe says, independent of spacing and comments."""
        return digest_json(self.model_dump(mode="json"))


def read_recipe(path: str | Path) -> Recipe:
    """Read and check a recipe.

    Raises:
        BadInput: the file is missing, is not TOML, or says something that a recipe cannot say; the sentence names the
            key, its value and the nearest known word.
    """
    path = Path(path)
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(
            words(en=f"There is no recipe at {path}.", fr=f"Il n'y a pas de recette à {path}."),
            words(
                en="Check the path; `ls recipes/` lists ours.",
                fr="Vérifiez le chemin ; `ls recipes/` liste les nôtres.",
            ),
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise BadInput(
            words(en=f"{path} cannot be read as TOML: {error}.", fr=f"{path} ne se lit pas comme du TOML : {error}."),
            words(en="Mend the line it names.", fr="Corrigez la ligne indiquée."),
        ) from None
    return parse_recipe(data, str(path))


def parse_recipe(data: dict[str, Any], name: str = "recipe") -> Recipe:
    """A recipe from the tables of its TOML.

    Raises:
        BadInput: see ``read_recipe``.
    """
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        # A list whose elements failed is also reported as too short, which would only confuse.
        found = [item for item in error.errors() if item["type"] != "too_short" or not item["input"]]
        raise BadInput(f"{name}: " + "; ".join(_explain(item, data) for item in found[:5])) from None


def _explain(error: Any, data: dict[str, Any]) -> str:
    """One sentence for one of pydantic's findings."""
    place = [part for part in error["loc"] if part not in ("sft", "logit_kd", "on_policy_kd", "grpo")]
    where = ".".join(str(part) for part in place)
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(place[-1]), _known_keys(place[:-1], data), n=1)
        hint_en = f"; did you mean “{near[0]}”?" if near else ""
        hint_fr = f" ; vouliez-vous dire « {near[0]} » ?" if near else ""
        return words(en=f"unknown key “{where}”{hint_en}", fr=f"clé inconnue « {where} »{hint_fr}")
    if error["type"] == "missing":
        return words(en=f"“{where}” is missing", fr=f"« {where} » manque")
    return words(
        en=f"“{where}” is {error['input']!r}: {error['msg']}",
        fr=f"« {where} » vaut {error['input']!r} : {error['msg']}",
    )


def _known_keys(place: list[Any], data: dict[str, Any]) -> list[str]:
    """The keys that may stand at a place of a recipe."""
    if not place:
        return list(Recipe.model_fields)
    if place[0] == "train":
        methods: dict[str, type[Stage]] = {"sft": Sft, "logit_kd": LogitKd, "on_policy_kd": OnPolicyKd, "grpo": Grpo}
        stages = data.get("train")
        stage = stages[place[1]] if isinstance(stages, list) and len(place) > 1 and isinstance(place[1], int) else {}
        return list(methods.get(stage.get("method", ""), Stage).model_fields)
    field = Recipe.model_fields.get(str(place[0]))
    return list(getattr(field.annotation, "model_fields", ())) if field else []
