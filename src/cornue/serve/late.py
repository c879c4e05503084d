"""A register that is opened while the engine loads, so that a service which was killed is back sooner.

Whoever needs it waits for it. One that cannot be opened, or is not the one that the pack names, is a problem told with
every answer and by ``/health``; nothing is answered from it.
"""

from __future__ import annotations

import threading
from pathlib import Path

from cornue.records.errors import CheckFailed, CornueError
from cornue.records.words import words
from cornue.sources.register import Register


class LateRegister:
    """A register on its way.

    Args:
        digest: what the pack says its digest is.
    """

    def __init__(self, path: Path, digest: str) -> None:
        self.path, self.digest = path, digest
        self.problem: CornueError | None = None
        self._register: Register | None = None
        self._thread = threading.Thread(target=self._open, daemon=True)
        self._thread.start()

    def wait(self) -> Register:
        """The register, once it is there.

        Raises:
            CornueError: it cannot be had.
        """
        self._thread.join()
        if self._register is None:
            raise self.problem or CheckFailed(words(en="There is no register.", fr="Il n'y a pas de registre."))
        return self._register

    def _open(self) -> None:
        try:
            found = Register.open(self.path)
            if found.digest != self.digest:
                found.close()
                raise CheckFailed(
                    words(
                        en="The register is not the one that the pack names.",
                        fr="Le registre n'est pas celui que nomme le paquet.",
                    )
                )
            self._register = found
        except CornueError as problem:
            self.problem = problem


def opened(table: Register | LateRegister) -> Register:
    """The register, waited for if it is on its way.

    Raises:
        CornueError: it cannot be had.
    """
    return table.wait() if isinstance(table, LateRegister) else table
