"""What a right answer costs: student and teacher on the same held-out questions, on one machine, in one run.

Both answer through llama.cpp, one slot each, on the same threads, in alternating blocks; the teacher's schema and
examples stay in its cache, so that only the question is read anew. Core-seconds are the engine's own. It judges by the
verifier of the recipe and changes nothing in the run.

Run it with ``make bench-communes`` after ``make demo``; ``scripts/assemble_teacher.py`` fetches the teacher's file.
``--recipe`` names another recipe of the same job: its result goes under that recipe's name, without the demo's bars.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import results
from cornue.capture.teacher import instructed, read_instructions
from cornue.evaluate.statistics import paired, share
from cornue.job import Job
from cornue.models.engine import Engine, Request
from cornue.models.gguf_file import read_gguf
from cornue.pack.open import open_pack
from cornue.records.samples import Prompt, Sample
from cornue.seal.tables import read_records
from cornue.verify.run import make_verifier

TEACHER = "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf"
BLOCK = 10
DEMO = "communes"


def main() -> int:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--questions", type=int, default=100, help="how many held-out questions, half of them unseen forms"
    )
    parser.add_argument("--recipe", type=Path, default=results.ROOT / "recipes" / "communes.toml")
    parser.add_argument("--run", type=Path, help="the folder of a finished run; by default the recipe's own")
    options = parser.parse_args()
    job = Job.read(options.recipe)
    run = options.run or results.ROOT / "runs" / job.name
    pack = open_pack(run / "6-pack")
    prompts = read_records(pack.folder / "evaluation" / "prompts.parquet", Prompt)
    unseen = sorted((prompt for prompt in prompts if prompt.stratum == "unseen"), key=lambda prompt: prompt.id)
    chosen = unseen[: options.questions]
    register = job.register
    verifier = make_verifier(job.recipe.verify, job.base, register)
    schema = register.schema if register else ""
    instructions = read_instructions(job.file(job.recipe.teacher.instructions), schema)
    teacher_file = results.ROOT / ".cache" / "models" / TEACHER
    if not teacher_file.exists():
        parser.error(f"there is no {teacher_file.relative_to(results.ROOT)}; scripts/assemble_teacher.py fetches it")
    found: dict[str, list[bool]] = {"student": [], "teacher": []}
    spent = {"student": 0.0, "teacher": 0.0}
    tokens = {"student": 0, "teacher": 0}
    context = job.recipe.teacher.context
    with Engine(pack.served_file, slots=1, context=1024) as student, Engine(teacher_file, context=context) as teacher:
        warm = teacher.render(instructed(chosen[0], instructions))
        teacher.complete(warm, max_tokens=1)
        student.complete(student.render([{"role": "user", "content": "?"}]), max_tokens=1)
        for begin in range(0, len(chosen), BLOCK):
            for name, engine in (("student", student), ("teacher", teacher)):
                before = engine.cpu_seconds()
                for prompt in chosen[begin : begin + BLOCK]:
                    own = [message.model_dump() for message in prompt.messages]
                    messages = instructed(prompt, instructions) if name == "teacher" else own
                    answer = engine.ask(Request(engine.render(messages), max_tokens=120))
                    tokens[name] += answer.completion_tokens
                    sample = Sample(prompt_id=prompt.id, text=answer.text, finish=answer.finish)
                    found[name].append(verifier.judge(prompt, sample).value == "correct")
                spent[name] += engine.cpu_seconds() - before
            print(json.dumps({name: [sum(found[name]), round(spent[name], 1)] for name in found}), flush=True)
    sizes = read_gguf(pack.served_file).parameters, read_gguf(teacher_file).parameters
    examined = json.loads((run / "5-evaluate" / "results.json").read_text())
    return report(job.recipe.recipe.name, found, spent, tokens, sizes, examined)


def report(
    name: str,
    found: dict[str, list[bool]],
    spent: dict[str, float],
    tokens: dict[str, int],
    sizes: tuple[int, int],
    examined: dict[str, Any],
) -> int:
    """Tables, bars and files.

    Args:
        name: the recipe's; the bars are those of ``DEMO``.
        sizes: parameters of student and teacher.
        examined: what the run itself measured on all held-out questions.
    """
    rows: list[dict[str, Any]] = []
    for who, answers in found.items():
        right = sum(answers)
        rows.append(
            {
                "who": who,
                **share(right, len(answers)),
                "core_seconds": spent[who],
                "core_seconds_per_answer": spent[who] / len(answers),
                "core_seconds_per_right_answer": spent[who] / max(1, right),
                "completion_tokens": tokens[who],
            }
        )
    by_name = {row["who"]: row for row in rows}
    per_right = "core_seconds_per_right_answer"
    ratio = by_name["student"][per_right] / by_name["teacher"][per_right]
    right, pair = examined["answerers"], examined["student_against_teacher"]["unseen"]
    bars = [
        results.bar("unseen forms: student's accuracy / teacher's", pair["ratio"] or 0.0, 0.95),
        results.bar("free questions: answerable ones right", right["settled"]["free/answerable"]["share"], 0.6),
        results.bar("free questions: unanswerable ones declined", right["settled"]["free/declinable"]["share"], 0.75),
        results.bar(
            "unseen forms: teacher's lower bound / nearest question",
            right["teacher"]["unseen"]["low"] / right["nearest_question"]["unseen"]["share"],
            1,
        ),
        results.bar(
            "unseen forms: teacher's lower bound minus the untouched start's upper bound",
            right["teacher"]["unseen"]["low"] - right["start"]["unseen"]["high"],
            0,
        ),
        results.bar("core-seconds per right answer, student / teacher", ratio, 0.2, at_most=True),
        results.bar("parameters, student / teacher", sizes[0] / sizes[1], 0.2, at_most=True),
        results.bar("equal greedy answers, F16 / weights", examined["agreement"]["F16"]["share"], 0.98),
    ]
    figures = {
        "side_by_side": rows,
        "side_by_side_paired": paired(found["student"], found["teacher"]),
        "ratio": ratio,
        "parameters_ratio": sizes[0] / sizes[1],
        "right": [
            {"who": who, "questions": part, **row} for who, parts in right.items() for part, row in parts.items()
        ],
        "unseen_paired": pair,
        "agreement": [{"file": file, **row} for file, row in examined["agreement"].items()],
    }
    outcome = results.write(f"bench-{name}", figures, bars if name == DEMO else [])
    return 0 if all(one["holds"] for one in outcome["bars"]) else 1


if __name__ == "__main__":
    sys.exit(main())
