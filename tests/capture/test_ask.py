"""Captures are resumable, complete, and never a mixture."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cornue.capture.ask import run_capture
from cornue.capture.reader import open_capture
from cornue.capture.teacher import Ask, Sampling, Teacher, instructed, read_instructions, seed_of
from cornue.capture.teacher_replay import ReplayTeacher
from cornue.records.errors import BadInput, OutsideFailure
from cornue.records.recipe import Capture
from cornue.records.samples import Message, Prompt, Sample


class Parrot(Teacher):
    """A teacher that repeats the question, breaks after some answers, and remembers what it was asked."""

    def __init__(self, breaks_after: int = 10**9, name: str = "parrot") -> None:
        self.asked: list[Ask] = []
        self.heat: dict[str, float] = {}
        self.breaks_after = breaks_after
        self.name = name

    def identity(self) -> dict[str, Any]:
        return {"kind": "parrot", "name": self.name}

    def sample(self, asks: Iterable[Ask], sampling: Sampling) -> Iterator[Sample]:
        for ask in asks:
            if len(self.asked) == self.breaks_after:
                raise OutsideFailure("The parrot flew away.", boundary="engine")
            self.asked.append(ask)
            self.heat[ask.prompt.id] = sampling.temperature
            text = f"{ask.prompt.messages[-1].content} {ask.index}"
            yield Sample(prompt_id=ask.prompt.id, index=ask.index, text=text, completion_tokens=2)

    def most_prompt_tokens(self, prompt: Prompt) -> int:
        return 1

    def close(self) -> None:
        pass


def question(text: str, **rest: Any) -> Prompt:
    return Prompt.make((Message(role="user", content=text),), **rest)


PROMPTS = [question(f"question {number}") for number in range(20)]
PARTIAL = "1-capture.partial"


def test_a_capture_holds_every_answer_in_the_order_of_the_prompts(tmp_path: Path) -> None:
    capture = run_capture(Parrot(), PROMPTS, Capture(samples=2), tmp_path / "1-capture")
    expected = [(prompt.id, index) for prompt in PROMPTS for index in range(2)]
    assert [(sample.prompt_id, sample.index) for sample in capture.samples()] == expected
    assert list(capture.prompts()) == PROMPTS
    assert capture.counts["samples"] == 40
    assert not (tmp_path / PARTIAL).exists()


def test_prompts_that_measure_are_answered_once_and_greedily(tmp_path: Path) -> None:
    prompts = [question(f"{split} {number}", split=split) for split in ("train", "heldout") for number in range(3)]
    teacher = Parrot()
    capture = run_capture(teacher, prompts, Capture(samples=2, temperature=0.7), tmp_path / "1-capture")
    assert [teacher.heat[prompt.id] for prompt in prompts] == [0.7] * 3 + [0.0] * 3
    assert len(capture.samples()) == 3 * 2 + 3


def test_measured_answers_do_not_depend_on_how_training_answers_are_drawn(tmp_path: Path) -> None:
    prompts = [question("measured", split="heldout")]
    greedy = run_capture(Parrot(), prompts, Capture(), tmp_path / "greedy")
    drawn = run_capture(Parrot(), prompts, Capture(samples=3, temperature=1.0), tmp_path / "drawn")
    assert greedy.about["answers"] == drawn.about["answers"]


def test_after_a_break_only_the_missing_answers_are_asked(tmp_path: Path) -> None:
    with pytest.raises(OutsideFailure):
        run_capture(Parrot(breaks_after=7), PROMPTS, Capture(), tmp_path / "1-capture")
    second = Parrot()
    capture = run_capture(second, PROMPTS, Capture(), tmp_path / "1-capture")
    assert len(second.asked) == 13
    assert len(capture.samples()) == 20


def test_broken_and_unbroken_captures_hold_the_same_answers(tmp_path: Path) -> None:
    whole = run_capture(Parrot(), PROMPTS, Capture(), tmp_path / "whole")
    with pytest.raises(OutsideFailure):
        run_capture(Parrot(breaks_after=3), PROMPTS, Capture(), tmp_path / "broken")
    again = run_capture(Parrot(), PROMPTS, Capture(), tmp_path / "broken")
    assert whole.about["answers"] == again.about["answers"]


def test_a_finished_capture_is_not_asked_again(tmp_path: Path) -> None:
    run_capture(Parrot(), PROMPTS, Capture(), tmp_path / "1-capture")
    idle = Parrot()
    run_capture(idle, PROMPTS, Capture(), tmp_path / "1-capture")
    assert idle.asked == []


def test_a_torn_last_line_is_dropped_counted_and_asked_again(tmp_path: Path) -> None:
    with pytest.raises(OutsideFailure):
        run_capture(Parrot(breaks_after=7), PROMPTS, Capture(), tmp_path / "1-capture")
    shard = next((tmp_path / PARTIAL).glob("samples-*"))
    shard.write_bytes(shard.read_bytes()[:-10])
    second = Parrot()
    capture = run_capture(second, PROMPTS, Capture(), tmp_path / "1-capture")
    assert len(second.asked) == 14
    assert capture.about["record"]["torn_lines"] == 1


def test_a_damaged_line_in_the_middle_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutsideFailure):
        run_capture(Parrot(breaks_after=7), PROMPTS, Capture(), tmp_path / "1-capture")
    shard = next((tmp_path / PARTIAL).glob("samples-*"))
    lines = shard.read_bytes().split(b"\n")
    shard.write_bytes(b"\n".join([lines[0], b"{", *lines[2:]]))
    with pytest.raises(BadInput, match=r"samples-0000.*2"):
        run_capture(Parrot(), PROMPTS, Capture(), tmp_path / "1-capture")


@pytest.mark.parametrize(
    ("teacher", "section", "seed"),
    [
        (Parrot(name="another"), Capture(), 1),
        (Parrot(), Capture(temperature=0.5), 1),
        (Parrot(), Capture(max_tokens=7), 1),
        (Parrot(), Capture(), 2),
    ],
)
def test_another_teacher_or_setting_never_joins_a_capture(
    tmp_path: Path, teacher: Parrot, section: Capture, seed: int
) -> None:
    with pytest.raises(OutsideFailure):
        run_capture(Parrot(breaks_after=7), PROMPTS, Capture(), tmp_path / "1-capture")
    with pytest.raises(BadInput, match="another capture|autre capture"):
        run_capture(teacher, PROMPTS, section, tmp_path / "1-capture", seed=seed)
    run_capture(Parrot(), PROMPTS, Capture(), tmp_path / "1-capture")
    with pytest.raises(BadInput):
        run_capture(teacher, PROMPTS, section, tmp_path / "1-capture", seed=seed)


def test_a_corrected_truth_costs_no_new_answers(tmp_path: Path) -> None:
    with pytest.raises(OutsideFailure):
        run_capture(Parrot(breaks_after=7), PROMPTS, Capture(), tmp_path / "1-capture")
    corrected = [question(prompt.messages[0].content, truth={"answer": 1}) for prompt in PROMPTS]
    second = Parrot()
    capture = run_capture(second, corrected, Capture(), tmp_path / "1-capture")
    assert len(second.asked) == 13
    assert [sample.prompt_id for sample in capture.samples()] == [prompt.id for prompt in corrected]


def test_prompts_that_stand_there_twice_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=PROMPTS[0].id):
        run_capture(Parrot(), [*PROMPTS, PROMPTS[0]], Capture(), tmp_path / "1-capture")


def test_an_altered_capture_is_refused_by_the_name_of_the_file(tmp_path: Path) -> None:
    run_capture(Parrot(), PROMPTS, Capture(), tmp_path / "1-capture")
    shard = tmp_path / "1-capture" / "samples.parquet"
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    with pytest.raises(BadInput, match=r"samples\.parquet"):
        open_capture(tmp_path / "1-capture")


def test_a_capture_is_found_by_digest(tmp_path: Path) -> None:
    capture = run_capture(Parrot(), PROMPTS, Capture(), tmp_path / "1-capture")
    assert open_capture(capture.folder, capture.digest).digest == capture.digest
    with pytest.raises(BadInput, match="sha256:0"):
        open_capture(capture.folder, "sha256:0")


def test_a_finished_capture_replays(tmp_path: Path) -> None:
    first = run_capture(Parrot(), PROMPTS, Capture(), tmp_path / "first")
    replay = run_capture(ReplayTeacher(first.folder), PROMPTS, Capture(), tmp_path / "second")
    assert replay.about["answers"] == first.about["answers"]
    assert replay.identity["of"] == first.identity


def test_a_recording_answers_and_says_what_it_lacks(tmp_path: Path) -> None:
    recording = tmp_path / "answers.jsonl"
    recording.write_text(Sample(prompt_id=PROMPTS[0].id, text="yes").model_dump_json() + "\n")
    capture = run_capture(ReplayTeacher(recording), PROMPTS[:2], Capture(), tmp_path / "1-capture")
    first, second = capture.samples()
    assert first.text == "yes"
    assert second.finish == "error" and second.error.startswith("recording")


def test_a_damaged_recording_names_the_line(tmp_path: Path) -> None:
    recording = tmp_path / "answers.jsonl"
    recording.write_text(Sample(prompt_id="a", text="yes").model_dump_json() + "\n" + json.dumps({"text": 1}) + "\n")
    with pytest.raises(BadInput, match="2"):
        ReplayTeacher(recording)


def test_seeds_differ_by_index_and_question_and_not_by_truth() -> None:
    seeds = {seed_of(1, prompt, index) for prompt in PROMPTS for index in range(3)}
    assert len(seeds) == 60
    assert seed_of(1, question("a"), 0) == seed_of(1, question("a", truth={"x": 1}), 0)


def test_instructions_take_the_schema_and_leave_other_braces(tmp_path: Path) -> None:
    (tmp_path / "teacher.md").write_text("Tables: {schema}\nAnswer {in braces}.\n")
    assert read_instructions(tmp_path / "teacher.md", "t(a)") == "Tables: t(a)\nAnswer {in braces}."
    with pytest.raises(BadInput, match="schema"):
        read_instructions(tmp_path / "teacher.md")


def test_instructions_stand_before_the_prompts_own_system_message() -> None:
    prompt = Prompt.make((Message(role="system", content="be kind"), Message(role="user", content="hello")))
    assert instructed(prompt, "be brief") == [
        {"role": "system", "content": "be brief\n\nbe kind"},
        {"role": "user", "content": "hello"},
    ]


def test_a_larger_capture_asks_only_what_the_former_one_lacks(tmp_path: Path) -> None:
    former = run_capture(Parrot(), PROMPTS[:12], Capture(), tmp_path / "former")
    teacher = Parrot()
    larger = run_capture(teacher, PROMPTS, Capture(), tmp_path / "1-capture", former=former)
    alone = run_capture(Parrot(), PROMPTS, Capture(), tmp_path / "alone")
    assert [ask.prompt for ask in teacher.asked] == PROMPTS[12:]
    assert larger.about["answers"] == alone.about["answers"]
    tokens = {"prompt_tokens": 0, "completion_tokens": former.counts["completion_tokens"]}
    assert larger.kept == {"capture": former.digest, "answers": 12, **tokens}


def test_answers_of_another_teacher_are_not_kept(tmp_path: Path) -> None:
    former = run_capture(Parrot(name="magpie"), PROMPTS, Capture(), tmp_path / "former")
    with pytest.raises(BadInput, match="another teacher"):
        run_capture(Parrot(), PROMPTS, Capture(), tmp_path / "1-capture", former=former)
