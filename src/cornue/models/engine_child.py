"""The process in which llama.cpp runs: it builds the server, reports its address, and dies with its parent.

Started by ``cornue.models.engine`` and by nobody else. It reads one line of JSON (the settings) from standard input and
writes one line of JSON to standard output: ``{"address": …}`` when the model is loaded, ``{"error": …}`` when it cannot
be. Standard input stays open as a life line. It imports no other part of Cornue and never answers a request itself.
"""

from __future__ import annotations

import json
import os
import select
import sys
from typing import Any

WATCH_SECONDS = 1.0


def main() -> int:
    """Serves until the life line closes; returns the exit code."""
    parent = os.getppid()
    # llama.cpp may write to file descriptor 1, so the channel to the parent is moved out of its way.
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    settings = json.loads(sys.stdin.readline())
    try:
        server = start(settings)
    except (RuntimeError, ValueError, ImportError) as problem:
        print(json.dumps({"error": str(problem)}), file=channel, flush=True)
        return 1
    print(json.dumps({"address": server.listening_address}), file=channel, flush=True)
    while os.getppid() == parent:
        readable, _, _ = select.select([0], [], [], WATCH_SECONDS)
        if readable and not os.read(0, 1):
            break
    # Requests may still be running; nothing is left to save, so their end is not waited for.
    os._exit(0)


def start(settings: dict[str, Any]) -> Any:
    """llama.cpp's server on a free loopback port, closed to whoever does not hold the key.

    Args:
        settings: ``path``, ``slots``, ``context`` (tokens in all), ``threads``, ``key``, ``kv_unified``.
    """
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = settings["path"]
    # Without an alias every answer would carry the file's full path.
    params.model_alias = {"engine"}
    params.n_parallel = settings["slots"]
    params.n_ctx = settings["context"]
    params.kv_unified = settings["kv_unified"]
    params.cpuparams.n_threads = settings["threads"]
    params.cpuparams_batch.n_threads = settings["threads"]
    params.warmup = False
    params.verbosity = 1
    params.fit_params = False
    close_doors(params, settings["key"])
    # A second copy of prompts in memory helps no one here: each slot keeps the last prompt that it saw.
    params.cache_ram_mib = 0
    return xllamacpp.Server(params)


def close_doors(params: Any, key: str) -> None:
    """No page, no tools, no other origin, no network, and nothing without the key.

    llama.cpp's defaults open all of these.
    """
    params.api_keys = [key]
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.cors_origins = "http://127.0.0.1"
    params.cors_credentials = False
    params.offline = True
    params.ui = False
    params.ui_mcp_proxy = False
    params.server_tools = []
    params.endpoint_slots = False
    params.endpoint_props = False


if __name__ == "__main__":
    sys.exit(main())
