"""``sft``: cross-entropy on the teacher's text, as a mean over the completion tokens of a step.

The tokens of the prompt are read and never learnt.
"""

from __future__ import annotations

from cornue.train.batches import Batch
from cornue.train.objectives import Labels, Objective
from cornue.train.offline import Offline


class Sft(Offline):
    """Cross-entropy on text that the teacher wrote."""

    def objectives(self, batch: Batch) -> dict[str, Objective]:
        """Cross-entropy with the next token of the text."""
        return {"cross_entropy": Labels(batch.ce_R, batch.labels_R)}
