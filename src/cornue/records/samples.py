"""The nouns of the journey: prompts, samples and verdicts.

Plain frozen types that every room reads and none owns. They hold no behaviour beyond their own digest.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from cornue.records.digests import digest_json

Split = Literal["train", "validation", "heldout"]
Role = Literal["system", "user", "assistant", "tool"]
Writer = Literal["teacher", "student", "person"]
Finish = Literal["stop", "length", "error"]


class Record(BaseModel):
    """A frozen value; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Message(Record):
    """One turn of a conversation."""

    role: Role
    content: str


class Prompt(Record):
    """A question put to a teacher or a student, with its ground truth where there is one."""

    id: str = Field(description="Digest of messages and truth: the same question has the same id everywhere.")
    messages: tuple[Message, ...] = Field(description="The conversation up to the point where an answer is wanted.")
    truth: dict[str, Any] | None = Field(default=None, description="What a verifier compares with; None if unknown.")
    split: Split = Field(default="train", description="Nothing is chosen on 'heldout'.")
    stratum: str = Field(default="", description="The part of its split under which results are reported apart.")
    form: str = Field(default="", description="The question form, template or document that it was made from.")
    source: str = Field(default="", description="Name of the source whose licence and attribution it carries.")

    @staticmethod
    def make(messages: tuple[Message, ...], truth: dict[str, Any] | None = None, **rest: Any) -> Prompt:
        """A prompt whose id is computed from what is asked and what is true."""
        body = {"messages": [message.model_dump() for message in messages], "truth": truth}
        return Prompt(id=digest_json(body)[7:39], messages=messages, truth=truth, **rest)


class Sample(Record):
    """One answer to a prompt, by whom, at what price. A failed answer is a sample with an error, never an exception."""

    prompt_id: str
    index: int = Field(default=0, description="Which of several answers to the same prompt, from 0.")
    text: str = Field(description="The completion as text, without template tokens.")
    reasoning: str = Field(default="", description="What the writer thought aloud, where the engine tells it apart.")
    token_ids: tuple[int, ...] = Field(default=(), description="Completion tokens in the writer's own vocabulary.")
    writer: Writer = "teacher"
    finish: Finish = "stop"
    error: str = Field(default="", description="boundary: what went wrong; empty if nothing did.")
    prompt_tokens: int = Field(default=0, description="Tokens read, those from a cache among them.")
    completion_tokens: int = Field(default=0, description="Tokens written, those of the reasoning among them.")
    cached_tokens: int = Field(default=0, description="Tokens of the prompt that came from a cache, as billed.")
    reasoning_tokens: int = Field(default=0, description="Tokens of the reasoning, where they are counted apart.")
    seconds: float = Field(default=0.0, description="Wall seconds from request to last token.")


class Verdict(Record):
    """What a verifier says of a sample. There are three values and always a reason; there is no default."""

    prompt_id: str
    index: int = 0
    value: Literal["correct", "wrong", "unknown"]
    reason: str
    verifier: str = Field(description="Name of the verifier.")


class Example(Record):
    """A prompt with the one completion that the student learns from, or on which it is validated."""

    prompt_id: str
    index: int = Field(default=0, description="Index of the sample that the completion comes from.")
    messages: tuple[Message, ...]
    completion: str
    form: str = ""
    writer: Writer = "teacher"
    carried_from: str = Field(default="", description="Prompt whose answer this is, with other names and numbers.")
