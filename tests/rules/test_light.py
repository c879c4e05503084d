"""What need not be heavy is not: the command line loads no torch, no transformers and no engine."""

from __future__ import annotations

import subprocess
import sys

PROBE = """
import sys
import cornue.cli
print(*sorted({"torch", "transformers", "xllamacpp"} & set(sys.modules)))
"""


def test_the_command_line_loads_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
