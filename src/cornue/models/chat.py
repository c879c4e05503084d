"""Chat templates: a conversation as the text and the ids that a model sees, and which of the ids it is to learn.

The template inside a model is a program by a stranger; it runs in Jinja's sandbox, without a clock. Texts that contain
a control token of the model are refused here, because a reader could end its own turn with them. No torch: ids come
from the caller's ``encode``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jinja2 import Template, TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from cornue.records.errors import BadInput
from cornue.records.samples import Message
from cornue.records.words import words

# What a stranger's template can raise; none of it is our own mistake.
TEMPLATE_ERRORS = (
    TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True)
class Rendered:
    """A conversation and its completion as ids.

    Args:
        ids: prompt and completion.
        learnt: for each id, whether it belongs to the completion or is the token that ends the turn.
        text: what the ids say.
    """

    ids: tuple[int, ...]
    learnt: tuple[bool, ...]
    text: str


@dataclass(frozen=True)
class ChatTemplate:
    """The template of a model.

    Args:
        source: the template's text.
        control_tokens: tokens with a meaning of their own, such as "<|im_end|>".
        bos_token: what the template calls so.
        eos_token: what the template calls so.
    """

    source: str
    control_tokens: Collection[str]
    bos_token: str = ""
    eos_token: str = ""

    def prompt(self, messages: Sequence[Message]) -> str:
        """The conversation up to where the assistant's turn begins.

        Raises:
            BadInput: the template fails, or a message contains a control token.
        """
        return self._render(messages, add_generation_prompt=True)

    def completed(self, messages: Sequence[Message], completion: str) -> tuple[str, str]:
        """The prompt, and what follows it when the assistant answers with ``completion``.

        Raises:
            BadInput: the template fails, or does not write the completion as it is behind the prompt.
        """
        prompt = self.prompt(messages)
        answer = Message(role="assistant", content=completion)
        whole = self._render([*messages, answer], add_generation_prompt=False)
        if not whole.startswith(prompt + completion):
            raise _template_fails("it does not write an answer as it is behind the prompt")
        return prompt, whole[len(prompt) :]

    def learn(self, encode: Callable[[str], Sequence[int]], messages: Sequence[Message], completion: str) -> Rendered:
        """Ids of prompt and completion; prompt and answer are cut apart, as they are when the model answers.

        Args:
            encode: text to ids, control tokens included, nothing added.

        Raises:
            BadInput: see ``completed``; or nothing ends the assistant's turn.
        """
        prompt, rest = self.completed(messages, completion)
        end = self._end_of_turn(rest[len(completion) :])
        before, answer = list(encode(prompt)), list(encode(completion + end))
        learnt = (False,) * len(before) + (True,) * len(answer)
        return Rendered(tuple(before + answer), learnt, prompt + completion + end)

    def _end_of_turn(self, tail: str) -> str:
        """The control token with which the text behind a completion begins."""
        for token in sorted(self.control_tokens, key=len, reverse=True):
            if token and tail.startswith(token):
                return token
        raise _template_fails("no control token ends the assistant's turn")

    def _render(self, messages: Sequence[Message], *, add_generation_prompt: bool) -> str:
        for message in messages:
            if found := find_control_token(message.content, self.control_tokens):
                raise BadInput(
                    words(
                        en=f"A message contains the control token {found!r}.",
                        fr=f"Un message contient le jeton de contrôle {found!r}.",
                    ),
                    words(en="Take it out of the text.", fr="Retirez-le du texte."),
                )
        try:
            return _compiled(self.source).render(
                messages=[message.model_dump() for message in messages],
                add_generation_prompt=add_generation_prompt,
                bos_token=self.bos_token,
                eos_token=self.eos_token,
            )
        except TEMPLATE_ERRORS as problem:
            raise _template_fails(str(problem)) from problem


def template_of_tokenizer(tokenizer: Any) -> ChatTemplate:
    """The chat template of a transformers tokenizer."""
    control = tuple(str(token) for token in tokenizer.added_tokens_decoder.values() if token.special)
    return ChatTemplate(tokenizer.chat_template or "", control, tokenizer.bos_token or "", tokenizer.eos_token or "")


def find_control_token(text: str, control_tokens: Collection[str]) -> str:
    """A control token that occurs in a text, or nothing."""
    return next((token for token in control_tokens if token and token in text), "")


@lru_cache(maxsize=8)
def _compiled(source: str) -> Template:
    """A template ready to be rendered: compiling it takes longer than rendering thousands of conversations."""
    return _environment().from_string(source)


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.filters["tojson"] = lambda value, **rest: json.dumps(value, ensure_ascii=False, **rest)
    environment.globals["raise_exception"] = _refuse
    return environment


def _refuse(message: str) -> None:
    raise TemplateError(message)


def _template_fails(why: str) -> BadInput:
    return BadInput(
        words(en=f"The model's chat template fails: {why}.", fr=f"Le modèle de conversation échoue : {why}."),
        words(en="Choose a model with a plain template.", fr="Choisissez un modèle dont le gabarit est simple."),
    )
