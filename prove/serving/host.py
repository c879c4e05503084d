"""The service that is proved: over a GGUF file, or over the pretend engine at a stated pace."""

from __future__ import annotations

import argparse
import threading
from collections import deque
from dataclasses import replace
from functools import partial
from pathlib import Path

from cornue.serve.offers import offer_of, while_loading
from cornue.serve.seen import Seen
from cornue.serve.settings import Launch, Offer, Settings
from cornue.sources.register import Register

CSV = "nom,departement,population\nVannes,Morbihan,54020\nAuray,Morbihan,14417\nQuimper,Finistère,63642\n"
WORKING = "La question demande {}.\n```sql\n{}\n```"
FIGURE = WORKING.format("un nombre", "SELECT COUNT(*) AS communes FROM communes WHERE population > 20000")
TABLE = WORKING.format("une liste", "SELECT nom, departement, population FROM communes ORDER BY population DESC")
NOWHERE = WORKING.format("un nombre", "SELECT population FROM communes WHERE nom = 'Atlantis'")


def speak(messages: list[dict[str, object]]) -> str:
    """What the pretend engine says."""
    text = str(messages[-1]["content"])
    if "Atlantis" in text:
        return NOWHERE
    if "?" in text:
        return FIGURE if "Combien" in text else TABLE
    return "word " * 9 + "word"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--gguf", type=Path, help="a GGUF file, or a pack")
    parser.add_argument("--sha256", default="")
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--think", default="")
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--waiting", type=int, default=64)
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--keys-only", type=int, default=0)
    parser.add_argument("--runs", type=Path)
    options = parser.parse_args()
    settings = Settings(
        data=options.data,
        slots=options.slots,
        context=1024,
        max_tokens=options.max_tokens,
        waiting=options.waiting,
        open_to_all=not options.keys_only,
        requests_per_minute=0,
        runs=options.runs,
    )
    seen = Seen(options.data)
    if options.gguf:
        # As the command does, which loads the rest while it checks.
        offer, file = while_loading(partial(offer_of, options.gguf, options.sha256, seen=seen))
        from cornue.serve.run import own_engine, serve

        upstream = own_engine(file, settings, options.threads)
        offer = replace(offer, name="proof")
    else:
        import uvicorn

        from cornue.serve.run import elsewhere, serve
        from pretend.engine import FakeEngine
        from serving.world import free_port

        options.data.mkdir(parents=True, exist_ok=True)
        table = options.data / "communes.csv"
        table.write_text(CSV, encoding="utf-8")
        examples = ("Combien de communes ont plus de 20 000 habitants ?", "Quelles sont les plus grandes communes ?")
        offer = Offer("proof", "Les communes", "fr", "Répondre.", "Rien d'autre.", "a@b.example", examples=examples)
        offer = replace(offer, table=Register.open(table))
        port = free_port()
        engine = FakeEngine(speak=speak, think=options.think, pause=options.pause, asked=deque(maxlen=1))
        run = threading.Thread(
            target=lambda: uvicorn.run(engine.app(), port=port, log_level="error", ws="none"), daemon=True
        )
        run.start()
        upstream = elsewhere(f"http://127.0.0.1:{port}")
    serve(offer, settings, upstream, Launch(port=options.port), seen)


if __name__ == "__main__":
    main()
