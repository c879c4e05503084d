"""The model that learns: weights, tokenizer and template as one thing that can be prepared, used and saved.

It renders conversations to token ids, the same way in training, evaluation and export. It does not learn and does not
write text: ``train`` and ``sample`` do.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cornue.models.chat import template_of_tokenizer
from cornue.models.load import forgotten, load_model, load_tokenizer, parameters_of, save_model
from cornue.models.prune import prune
from cornue.models.tiny import tiny_model, tiny_tokenizer
from cornue.models.trim import Fitted, extend, refit, trim
from cornue.records import recipe
from cornue.records.errors import BadInput
from cornue.records.samples import Example, Message
from cornue.records.words import words
from cornue.seal.write import new_folder, write_json

TINY = "tiny"
FITTED = "fitted.json"
PRUNING_EXAMPLES = 24
TURN, END = "<|im_start|>", "<|im_end|>"
PLAIN = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# A question of a dozen tokens comes in eleven of ChatML; two are enough to tell who speaks. The first one stays: models
# rest their attention on it.
BRIEF = (
    "{% for message in messages %}{% if message['role'] != 'assistant' %}<|im_start|>{% endif %}"
    "{{ message['content'] }}<|im_end|>{% endfor %}"
)
TEMPLATES = {"plain": PLAIN, "brief": BRIEF}


@dataclass
class Student:
    """A causal model with its tokenizer."""

    model: Any
    tokenizer: Any

    @staticmethod
    def read(path: Path) -> Student:
        """A student from a folder of safetensors or a GGUF file, as it stands there; ``tiny`` is the random model."""
        if path.name == TINY:
            tokenizer = tiny_tokenizer()
            return Student(tiny_model(tokenizer), tokenizer)
        return Student(load_model(path, tie=True), load_tokenizer(path))

    @property
    def end_id(self) -> int:
        """The token that ends a turn."""
        return int(self.tokenizer.eos_token_id)

    def use_template(self, name: str) -> None:
        """Take a template that puts no words into the conversation that nobody wrote.

        Args:
            name: ``plain`` or ``brief``; ``own`` keeps what came with the weights.

        Raises:
            BadInput: the vocabulary lacks the tokens that open and close a turn.
        """
        if name == "own":
            return
        known = self.tokenizer.get_vocab()
        if TURN not in known or END not in known:
            raise BadInput(
                words(
                    en=f"The student's vocabulary has no {TURN} and {END}, which the {name} template needs.",
                    fr=f"Le vocabulaire de l'élève n'a pas {TURN} et {END}, qu'il faut au gabarit {name}.",
                ),
                words(en='Set template = "own" in [student].', fr='Écrivez template = "own" dans [student].'),
            )
        self.tokenizer.chat_template = TEMPLATES[name]
        self.tokenizer.eos_token = END

    def prompt_text(self, messages: Sequence[Message]) -> str:
        """A conversation as text, up to where the answer begins.

        Raises:
            BadInput: a message holds a control token, or the template fails.
        """
        return template_of_tokenizer(self.tokenizer).prompt(messages)

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """A conversation as token ids, up to where the answer begins."""
        return self.encode(self.prompt_text(messages))

    def completion_ids(self, text: str) -> list[int]:
        """An answer as token ids, with the token that ends the turn.

        Control tokens written in it are plain text: nobody ends a turn but the writer.
        """
        ids: list[int] = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return [*ids, self.end_id]

    def encode(self, text: str) -> list[int]:
        """Token ids of a rendered text; control tokens count as such."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, control tokens left out."""
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=True)
        return text

    def fit(self, section: recipe.Student, examples: Sequence[Example], more: Sequence[str]) -> dict[str, Any]:
        """Fit a student to a job, as ``trim``, ``extend``, ``layers`` and ``scratch`` ask; returns what that saves.

        Args:
            examples: the job's own; never held-out ones.
            more: further texts whose tokens are kept, such as the names in a register.
        """
        groups: dict[str, list[str]] = {}
        for example in examples:
            asked = [message.content for message in example.messages]
            groups.setdefault(example.form, []).extend([*asked, example.completion])
        texts = [text for group in groups.values() for text in group]
        before = {"parameters": parameters_of(self.model), "vocabulary": len(self.tokenizer)}
        tokens_before = sum(len(self.encode(text)) for text in texts)
        if section.trim:
            self._take(trim(self.tokenizer, [*texts, *more]))
        if section.extend:
            self._take(extend(self.tokenizer, groups, most=section.extend))
        tokens = sum(len(self.encode(text)) for text in texts)
        layers: Sequence[int] = range(self.model.config.num_hidden_layers)
        if section.layers:
            few = examples[:: max(1, len(examples) // PRUNING_EXAMPLES)]
            pairs = [(self.prompt_ids(one.messages), self.completion_ids(one.completion)) for one in few]
            layers = prune(self.model, pairs, section.layers).kept
        if section.scratch:
            self.model = forgotten(self.model)
        return {
            "layers": list(layers),
            "parameters_before": before["parameters"],
            "parameters": parameters_of(self.model),
            "vocabulary_before": before["vocabulary"],
            "vocabulary": len(self.tokenizer),
            "tokens_of_the_job_before": tokens_before,
            "tokens_of_the_job": tokens,
        }

    def _take(self, fitted: Fitted) -> None:
        """Take a fitted vocabulary, and the end-of-turn token's new number with it."""
        template, end = self.tokenizer.chat_template, self.tokenizer.eos_token
        refit(self.model, fitted)
        self.tokenizer = fitted.tokenizer
        self.tokenizer.chat_template, self.tokenizer.eos_token = template, end
        for config in (self.model.config, self.model.generation_config):
            config.eos_token_id = self.end_id

    def save(self, folder: Path) -> None:
        """Write safetensors, tokenizer and template into a folder."""
        save_model(self.model, self.tokenizer, folder)


def prepare(
    kept: Path, start: Path, section: recipe.Student, examples: Sequence[Example], more: Sequence[str]
) -> tuple[Student, dict[str, Any]]:
    """The student before training and what fitting it saved; it is fitted once, and read back by a run that goes on.

    Args:
        kept: the folder for the fitted student.
        start: the weights to start from; ``examples`` and ``more`` as in ``Student.fit``.
    """
    if not kept.exists():
        student = Student.read(start)
        student.use_template(section.template)
        fitted = student.fit(section, examples, more)
        with new_folder(kept) as new:
            student.save(new)
            write_json(new / FITTED, fitted)
    return Student.read(kept), json.loads((kept / FITTED).read_text(encoding="utf-8"))
