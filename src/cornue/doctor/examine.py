"""The 28 classes of mistakes in their order, and what the doctor says of each.

A check that a room refuses (for an unusable template, say) has failed with that room's sentence, and so has one that
breaks down. Nothing is repaired.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from cornue.doctor import arithmetic, divergences, outside, rows, texts
from cornue.doctor.finding import Absent, Check, Finding, Ill
from cornue.doctor.subject import Subject
from cornue.records.errors import CornueError
from cornue.records.words import words

CHECKS = (
    Check(1, "labels hidden in the divergence", "étiquettes dans la divergence", divergences.no_hidden_labels),
    Check(2, "wrong temperature", "mauvaise température", divergences.temperature),
    Check(3, "teacher without effect", "enseignant sans effet", divergences.teacher_matters),
    Check(4, "head's transform ignored", "transformation de la tête ignorée", arithmetic.head_is_the_models),
    Check(5, "labels off by one", "étiquettes décalées d'un rang", rows.labels_follow_their_rows),
    Check(6, "teacher's rows misaligned", "lignes de l'enseignant décalées", rows.teacher_rows_match),
    Check(7, "end of turn not learnt", "fin de tour non apprise", rows.end_of_turn_is_learnt),
    Check(8, "prompt or padding learnt", "question ou remplissage appris", rows.only_completions_are_learnt),
    Check(9, "divided by the wrong count", "division par le mauvais nombre", rows.parts_add_up),
    Check(10, "cut sum clamped at zero", "somme tronquée écrêtée à zéro", divergences.no_clamped_sum),
    Check(11, "tail renormalised away", "queue renormalisée", divergences.tail_is_kept),
    Check(12, "entries clipped before the sum", "termes écrêtés avant la somme", divergences.no_clipped_entries),
    Check(13, "divergence of another name", "divergence d'un autre nom", divergences.direction),
    Check(14, "reward blind to its token", "récompense aveugle au jeton", arithmetic.policy_sees_its_token),
    Check(15, "gradient into a target", "gradient dans une cible", arithmetic.targets_are_still),
    Check(16, "padded vocabulary has mass", "masse sur des jetons de remplissage", arithmetic.padded_rows_are_empty),
    Check(17, "another tokenizer of the same size", "autre tokenizer de même taille", texts.same_tokens),
    Check(18, "template differs", "gabarit différent", texts.template_round_trip),
    Check(19, "too few digits", "trop peu de chiffres", arithmetic.enough_digits),
    Check(20, "gradient not a number", "gradient qui n'est pas un nombre", arithmetic.gradients_are_finite),
    Check(21, "clamp without its gradient", "écrêtage sans son gradient", arithmetic.clamps_agree),
    Check(22, "teacher not repeatable", "enseignant non répétable", outside.teacher_repeats_itself),
    Check(23, "cache joined to another text", "cache joint à un autre texte", rows.cache_joins_its_text),
    Check(24, "cached values at another temperature", "cache à une autre température", divergences.one_temperature),
    Check(25, "spans misaligned", "segments mal alignés", texts.spans),
    Check(26, "grader wrong", "correcteur fautif", outside.verifier_is_right),
    Check(27, "exported model is another", "modèle exporté différent", outside.exported_is_the_same),
    Check(28, "two losses drifted apart", "deux pertes divergentes", arithmetic.paths_agree),
)  # fmt: skip
# What a mistake in batches, shapes or ids makes torch and numpy say.
BREAKDOWNS = (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError)
MARKS = {"passed": "✓", "failed": "✗", "not applicable": "–"}


def examine(recipe: Path) -> list[dict[str, Any]]:
    """Look for all 28 classes of mistakes in what a recipe will use.

    Returns:
        ``name``, ``number``, ``value`` ("passed", "failed" or "not applicable") and ``reason`` of each.

    Raises:
        BadInput: the recipe or a file of it cannot be used.
    """
    from cornue.doctor.admit import admit

    with tempfile.TemporaryDirectory() as folder:
        return [vars(finding) for finding in examine_subject(admit(recipe, Path(folder)))]


def examine_subject(subject: Subject, numbers: tuple[int, ...] = ()) -> list[Finding]:
    """The findings on a subject, of all classes or of some."""
    return [_look(check, subject) for check in CHECKS if not numbers or check.number in numbers]


def show(findings: list[dict[str, Any]]) -> str:
    """Findings for people, one line each."""
    titles = {check.number: check.shown() for check in CHECKS}
    lines = [f"{MARKS[f['value']]} {f['number']:2} {titles[f['number']]}: {f['reason']}" for f in findings]
    values = [finding["value"] for finding in findings]
    failed, passed, absent = (values.count(value) for value in ("failed", "passed", "not applicable"))
    summary = words(
        en=f"{failed} failed, {passed} passed, {absent} not applicable",
        fr=f"{failed} en échec, {passed} réussis, {absent} sans objet",
    )
    heading = words(
        en="mistakes that were looked for (✓ not there, ✗ there, – cannot be made here)",
        fr="fautes recherchées (✓ absente, ✗ présente, – impossible ici)",
    )
    return "\n".join([heading, *lines, summary])


def _look(check: Check, subject: Subject) -> Finding:
    try:
        return Finding(check.name, check.number, "passed", check.look(subject))
    except Absent as absence:
        return Finding(check.name, check.number, "not applicable", str(absence))
    except Ill as ill:
        return Finding(check.name, check.number, "failed", str(ill))
    except CornueError as error:
        return Finding(check.name, check.number, "failed", error.message)
    except BREAKDOWNS as error:
        said = words(en="it broke down", fr="cela s'est effondré")
        return Finding(check.name, check.number, "failed", f"{said}: {type(error).__name__}: {error}")
