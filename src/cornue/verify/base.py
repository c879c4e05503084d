"""What every verifier is, and the proof that it gives of itself before it is used.

A verdict has three values and a reason; a verifier that cannot tell says ``unknown``. It judges one answer at a time
and keeps no count: ``curate`` and ``evaluate`` count.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Literal

from cornue.records.errors import CheckFailed
from cornue.records.samples import Prompt, Sample, Verdict
from cornue.records.words import words

Value = Literal["correct", "wrong", "unknown"]


class Verifier(ABC):
    """Judges samples of one kind of job. Subclasses say what is right; this class says what is common to all."""

    name: str

    @abstractmethod
    def weigh(self, prompt: Prompt, text: str) -> tuple[Value, str]:
        """The value of a finished answer to a prompt whose truth is known, and the reason."""

    def put_right(self, prompt: Prompt, text: str) -> str:
        """An answer as the service would give it, and as it is judged and learnt."""
        return text

    @abstractmethod
    def gold(self, prompt: Prompt) -> str:
        """An answer that must be found correct."""

    @abstractmethod
    def spoilt(self, prompt: Prompt) -> str:
        """An answer that must be found wrong."""

    def judge(self, prompt: Prompt, sample: Sample) -> Verdict:
        """The verdict on one sample. Cut and failed answers are data with a reason."""
        value: Value
        if sample.error:
            value, reason = "unknown", f"no answer: {sample.error}"
        elif prompt.truth is None:
            value, reason = "unknown", "no ground truth"
        elif sample.finish == "length":
            value, reason = "wrong", "cut: the answer reached its greatest length"
        elif not sample.text.strip():
            value, reason = "wrong", "empty answer"
        else:
            value, reason = self.weigh(prompt, sample.text)
        return Verdict(prompt_id=prompt.id, index=sample.index, value=value, reason=reason, verifier=self.name)

    def prove(self, prompts: Iterable[Prompt]) -> int:
        """Check that gold answers are accepted and spoilt ones refused; returns how many prompts were tried.

        Raises:
            CheckFailed: naming the first prompt on which the verifier fails.
        """
        tried = 0
        for prompt in prompts:
            if prompt.truth is None:
                continue
            tried += 1
            for text, wanted in ((self.gold(prompt), "correct"), (self.spoilt(prompt), "wrong")):
                found, reason = self.weigh(prompt, text)
                if found != wanted:
                    raise self._unfit(prompt, text, wanted, found, reason)
        return tried

    def _unfit(self, prompt: Prompt, text: str, wanted: str, found: str, reason: str) -> CheckFailed:
        asked = prompt.messages[-1].content
        return CheckFailed(
            words(
                en=f"The verifier “{self.name}” finds {found} ({reason}) what is {wanted}: “{text}” to “{asked}”.",
                fr=f"Le vérificateur « {self.name} » trouve {found} ({reason}) ce qui est {wanted} : "
                f"« {text} » à « {asked} ».",
            ),
            words(
                en=f"Mend the truth of prompt {prompt.id}, or the settings in [verify].",
                fr=f"Corrigez la vérité de la question {prompt.id}, ou les réglages de [verify].",
            ),
        )
