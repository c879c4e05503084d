"""What it costs to keep a teacher's distributions, and what is lost: bytes a token, gradient bias, speed of scoring.

Real teachers score what they wrote at temperature 1, the hardest that a capture holds. Size and bias are measured on
whole distributions, for several numbers of draws and for the 128 likeliest entries; speed against a plain forward pass
that makes all logits, in alternating pairs on the same batch. It trains nothing. What was measured of a model is kept
in ``.cache/`` until the code changes, so the bench can be stopped and run again.

Run it with ``make bench-capture``; ``--models`` names folders or GGUF files.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

import results
from cornue.capture.fidelity import REPLICATES, certificate, measure
from cornue.capture.packing import Form, Rows, Shape, encode
from cornue.capture.sparse import DenseScorer, comb, draw, join_rows, top
from cornue.capture.teacher import Text
from cornue.models.load import load_model, load_tokenizer
from cornue.models.packed import pack
from cornue.models.sample import generate

MODELS = ("SmolLM2-135M-Instruct.Q4_1.gguf", "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf")
MODELS_FOLDER = results.ROOT / ".cache" / "models"
CHOSEN: tuple[Form, int] = ("sampled", 80)
FORMS: tuple[tuple[Form, int], ...] = (("sampled", 12), ("sampled", 32), ("sampled", 48), CHOSEN, ("top", 12))
BYTES = 40.0
SPEED = 0.90
LARGE = 100_000
GIVEN, WRITTEN, TIMED = 32, 128, 2
WORK = results.ROOT / ".cache" / "bench-capture"
MEASURED = ("capture", "models", "bench")
TEXTS = ("docs", "recipes/communes")


def main() -> int:
    """Measure every model that is at hand and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, nargs="*", default=[MODELS_FOLDER / name for name in MODELS])
    parser.add_argument("--tokens", type=int, default=1000, help="tokens on which size and bias are measured")
    parser.add_argument("--pairs", type=int, default=30, help="pairs of timed passes")
    parser.add_argument("--trial", action="store_true", help="print only")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    speeds: list[dict[str, Any]] = []
    bars, missing = [], []
    for path in options.models:
        if not path.exists():
            missing.append({"name": path.stem, "reason": f"{path.name} is not at hand"})
            continue
        found = once(
            f"{path.stem}-{options.tokens}-{options.pairs}",
            partial(measured, path, options.tokens, options.pairs),
        )
        rows += found["kept"]
        speeds.append(found["scoring"])
        chosen = next(row for row in found["kept"] if (row["form"], row["width"]) == CHOSEN)
        bars += bars_of(path.stem, chosen, found["scoring"]["median"])
    results.write(
        "bench-capture",
        {"kept": rows, "scoring": speeds},
        bars,
        missing,
        folder=None if options.trial else results.RESULTS,
    )
    return 0 if all(bar["holds"] for bar in bars) else 1


def measured(path: Path, tokens: int, pairs: int) -> dict[str, Any]:
    """Everything about one model."""
    scorer, texts, model = open_model(path, tokens)
    speed = speed_of(scorer, model, texts[:TIMED], pairs)
    return {"kept": kept(path.stem, scorer, texts), "scoring": {"model": path.stem, **vars(speed)}}


def once(name: str, work: Callable[[], Any]) -> Any:
    """What was found before with the same code, or what the work finds now."""
    sources = [
        *sorted((results.ROOT / "src/cornue").glob("*/*.py")),
        *sorted(Path(__file__).parent.glob("capture*.py")),
    ]
    code = hashlib.sha256(b"".join(path.read_bytes() for path in sources if path.parent.name in MEASURED)).hexdigest()
    path = WORK / f"{name}-{code[:12]}.json"
    if not path.exists():
        found = work()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found))
    return json.loads(path.read_text())


def bars_of(name: str, row: dict[str, Any], speed: float) -> list[dict[str, Any]]:
    """The bars for one model."""
    bars = [
        results.bar(f"{name}: bytes a token", row["bytes_a_token"], BYTES, at_most=True),
        results.bar(
            f"{name}: upper bound of the bias, against the 128 likeliest's lower",
            row["bias2_high"],
            row["top128_bias2_low"],
            at_most=True,
        ),
        results.bar(f"{name}: scoring against a plain forward pass", speed, SPEED),
    ]
    return bars if row["vocabulary"] > LARGE else bars[1:]


def open_model(path: Path, tokens: int) -> tuple[DenseScorer, list[Text], Any]:
    """A model with texts that it wrote itself at temperature 1, each after a few given words."""
    tokenizer, model = load_tokenizer(path), load_model(path)
    count = -(-tokens // WRITTEN)
    beginnings = [tokenizer(text, add_special_tokens=False)["input_ids"][:GIVEN] for text in islice(pieces(), count)]
    written = generate(
        model, beginnings, stop=set(), max_tokens=WRITTEN, temperature=1.0, seeds=list(range(count)), slots=count
    )
    texts = [Text(tuple(given), tuple(one.ids)) for given, one in zip(beginnings, written, strict=True)]
    return DenseScorer(model, tokenizer), texts, model


def pieces() -> Iterator[str]:
    """Prose, tables and code that were written by people, a page of each file."""
    files = [
        path
        for folder in TEXTS
        for path in sorted((results.ROOT / folder).rglob("*"))
        if path.suffix in (".md", ".toml")
    ]
    for path in [*files, *sorted((results.ROOT / "src").rglob("*.py"))]:
        if len(text := path.read_text(encoding="utf-8")) > 1500:
            yield text


def kept(name: str, scorer: DenseScorer, texts: Sequence[Text]) -> list[dict[str, Any]]:
    """Size and fidelity of every form, from one pass over the texts."""
    vocabulary = len(scorer.tokens)
    shapes = [Shape(form=form, width=width, vocabulary=vocabulary) for form, width in FORMS]
    errors: list[list[Any]] = [[] for _ in shapes]
    parts: list[dict[int, list[Rows]]] = [defaultdict(list) for _ in shapes]
    combs = [[comb(time, vocabulary) for time in range(REPLICATES)] for _ in shapes]
    for place, _, whole_RV in scorer.whole(texts):
        p_RV = torch.from_numpy(whole_RV)
        for number, shape in enumerate(shapes):
            if shape.form == "sampled":
                rows = [draw(p_RV, shape.width, comb_V) for comb_V in combs[number]]
            else:
                rows = [top(p_RV.log(), shape.width)]
            errors[number].append(measure(whole_RV, rows, shape))
            parts[number][place].append(rows[0])
    tokens = sum(len(text.completion) for text in texts)
    lines = []
    for shape, found, packed in zip(shapes, errors, parts, strict=True):
        sizes = [
            len(encode(join_rows(of_text), np.array(texts[place].completion), shape))
            for place, of_text in packed.items()
        ]
        lines.append({"model": name, **line(certificate(found, shape), shape, tokens, sum(sizes))})
    return lines


def line(found: dict[str, Any], shape: Shape, tokens: int, size: int) -> dict[str, Any]:
    """One form as a line of the table."""
    return {
        "vocabulary": shape.vocabulary,
        "form": shape.form,
        "width": shape.width,
        "tokens": tokens,
        "above_one_nat": found["tokens_above_one_nat"],
        "entropy": found["entropy"],
        "bytes_a_token": round(size / tokens, 2),
        "bias2": found["kept"]["gradient_bias2"],
        "bias2_low": found["kept"]["gradient_bias2_interval"][0],
        "bias2_high": found["kept"]["gradient_bias2_interval"][1],
        "rms_error": found["kept"]["rms_error"],
        "divergence": found["kept"]["divergence"],
        "top128_bias2_low": found["beside"]["gradient_bias2_interval"][0],
        "top128_rms_error": found["beside"]["rms_error"],
        "top128_divergence": found["beside"]["divergence"],
    }


def speed_of(scorer: DenseScorer, model: Any, texts: Sequence[Text], pairs: int) -> results.Ratios:
    """Scoring as a multiple of the speed of a plain forward pass over the same tokens."""
    shape = Shape(form="sampled", width=CHOSEN[1], vocabulary=len(scorer.tokens))
    packed = pack([(*text.prompt, *text.completion[:-1]) for text in texts])

    def score() -> None:
        for place, rows in scorer.score(texts, shape):
            encode(rows, np.array(texts[place].completion), shape)

    @torch.inference_mode()
    def forward() -> None:
        model(
            input_ids=packed.ids_N[None],
            position_ids=packed.positions_N[None],
            use_cache=False,
            groups=packed.groups,
            pairs=None,
        )

    return results.alternate(score, forward, pairs)


if __name__ == "__main__":
    sys.exit(main())
