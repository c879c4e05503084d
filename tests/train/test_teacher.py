"""A teacher that is asked in the step is named like one that is captured."""

from __future__ import annotations

import json
from pathlib import Path

from cornue.models.student import Student
from cornue.models.tiny import tiny_model, tiny_tokenizer
from cornue.records.recipe import Teacher
from cornue.records.samples import Message
from cornue.seal.manifest import write_manifest
from cornue.train.teacher import LoadedTeacher


def test_the_student_of_a_pack_teaches_in_the_step(tmp_path: Path) -> None:
    pack, student = tmp_path / "6-pack", Student(tiny_model(), tiny_tokenizer())
    pack.mkdir()
    student.save(pack / "student")
    (pack / "pack.json").write_text(json.dumps({"serve": "student-Q8_0.gguf"}))
    write_manifest(pack, "pack", {})
    teacher = LoadedTeacher(Teacher(kind="transformers", model="pack:6-pack"), tmp_path)
    messages = (Message(role="user", content="town?"),)
    assert list(teacher.prompt_ids(messages)) == student.prompt_ids(messages)
