"""Models of the Hugging Face hub by name and revision: fetched once, then read from the disk like any other folder.

Nothing is fetched by a name alone, since what stands behind it may change; and nothing that is run: weights, settings
and tokenizer only.
"""

from __future__ import annotations

from pathlib import Path

from cornue.records.errors import BadInput, OutsideFailure
from cornue.records.words import words

HUB = "hub:"
PATTERNS = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model")


def fetched(name: str) -> Path:
    """The folder of ``hub:OWNER/NAME@REVISION``.

    Raises:
        BadInput: no revision is named.
        OutsideFailure: the hub does not give it, or cannot be reached.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    repository, _, revision = name.removeprefix(HUB).partition("@")
    if not revision:
        raise BadInput(
            words(en=f"“{name}” names no revision.", fr=f"« {name} » ne nomme pas de révision."),
            words(en="Write hub:OWNER/NAME@COMMIT.", fr="Écrivez hub:PROPRIÉTAIRE/NOM@COMMIT."),
        )
    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=list(PATTERNS)))
    except (OSError, HFValidationError) as error:
        first = str(error).strip().split("\n")[0]
        raise OutsideFailure(
            words(en=f"{name} cannot be fetched: {first}", fr=f"{name} ne peut pas être récupéré : {first}"),
            words(en="Try again, or name a folder.", fr="Réessayez, ou nommez un dossier."),
        ) from error
