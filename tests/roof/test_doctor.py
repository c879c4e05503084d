"""The doctor finds nothing in a sound subject, and each seeded bug by the name of its class."""

from __future__ import annotations

from pathlib import Path

import pytest

from cornue.doctor.examine import CHECKS, examine_subject, show
from cornue.doctor.subject import Subject

from .doctor_bugs import BUGS, STAGES, Bug, Drawn, capture, granite, subject

UNBUILT = {25}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return subject(tmp_path_factory.mktemp("sound"))


def test_a_sound_subject_passes_every_check_whose_feature_exists(sound: Subject) -> None:
    found = {finding.number: finding for finding in examine_subject(sound)}
    values = {number: finding.value for number, finding in found.items()}
    assert values == {number: "not applicable" if number in UNBUILT else "passed" for number in range(1, 29)}
    assert all(finding.reason for finding in found.values())


def test_a_family_that_scales_its_logits_passes(tmp_path: Path) -> None:
    found = examine_subject(granite(tmp_path), (4, 5, 9, 16, 20, 28))
    assert {finding.value for finding in found} == {"passed"}


def test_drawn_rows_which_add_up_to_one_on_average_pass(tmp_path: Path) -> None:
    found = examine_subject(capture(Drawn, entries=0)(subject(tmp_path)), (8, 11, 12, 17, 23, 24))
    assert [finding.reason for finding in found if finding.value == "failed"] == []


@pytest.mark.parametrize("bug", BUGS, ids=str)
def test_a_seeded_bug_is_caught_by_name(bug: Bug, sound: Subject, tmp_path: Path) -> None:
    (finding,) = examine_subject(bug.plant(subject(tmp_path)), (bug.number,))
    assert (finding.number, finding.name) == (bug.number, CHECKS[bug.number - 1].name)
    assert finding.value == "failed", finding.reason
    assert "broke down" not in finding.reason


def test_every_class_whose_feature_exists_has_a_bug() -> None:
    assert {bug.number for bug in BUGS} == set(range(1, 29)) - UNBUILT


def test_what_no_stage_uses_is_not_applicable(tmp_path: Path) -> None:
    found = examine_subject(subject(tmp_path, STAGES[:1]), (1, 2, 3, 6, 10, 11, 12, 13, 14, 17, 22, 23, 24))
    assert {finding.value for finding in found} == {"not applicable"}


def test_findings_are_shown_one_a_line_with_their_count(sound: Subject) -> None:
    found = [vars(finding) for finding in examine_subject(sound, (4, 25))]
    lines = show(found).splitlines()
    assert len(lines) == 4 and found[0]["reason"] in lines[1]
