"""Checks the claims of a pack, offline; trust comes from the auditor's own keys, never from the pack.

This version checks the seal, the model digest, the register, the ledger's chain and the accuracy that is claimed, by
judging every stored answer again. It does not run the model again and does not replay the training.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from cornue.audit.finding import Finding
from cornue.evaluate.score import by_stratum, compare_answerers, judge_all
from cornue.ledger.ledger import check_ledger
from cornue.pack.gather import stored_parts
from cornue.pack.open import Pack, open_pack
from cornue.records.digests import digest_json
from cornue.records.errors import BadInput, CheckFailed, CornueError
from cornue.records.samples import Prompt, Sample
from cornue.records.words import words
from cornue.seal.keys import KeyRing, trusted_folder
from cornue.seal.sign import verify_folder
from cornue.seal.tables import read_records
from cornue.verify.sql import SqlVerifier


def check_pack(folder: str | Path, ring: KeyRing | None = None) -> list[Finding]:
    """All findings of a pack; what cannot be read is a finding too.

    Args:
        ring: the keys that the auditor trusts; by default those in the user's own trusted folder.

    Raises:
        BadInput: there is no pack to check.
    """
    ring = ring or (KeyRing.read(trusted_folder()) if trusted_folder().is_dir() else KeyRing())
    seal = verify_folder(folder, ring)
    findings = [Finding(claim=words(en="seal", fr="sceau"), value=seal.value, reason=seal.reason)]
    pack = open_pack(folder, check=False)
    checks: tuple[Callable[[Pack], Finding], ...] = (_model_digest, _register, _ledger, _accuracy)
    for check in checks:
        try:
            findings.append(check(pack))
        except (CornueError, OSError, ValueError, KeyError) as error:
            what = error.message if isinstance(error, CornueError) else f"{type(error).__name__}: {error}"
            findings.append(Finding(claim=check.__doc__ or check.__name__, value="false", reason=what))
    return findings


def show_findings(findings: list[Finding]) -> str:
    """Findings as lines for people."""
    width = max(len(finding.claim) for finding in findings)
    return "\n".join(f"{finding.value:14} {finding.claim:{width}}  {finding.reason}" for finding in findings)


def _model_digest(pack: Pack) -> Finding:
    """model digest"""
    found = stored_parts(pack.folder) | {name: pack.facts.parts[name] for name in ("recipe", "curated")}
    differing = sorted(name for name, digest in found.items() if pack.facts.parts.get(name) != digest)
    whole = digest_json(pack.facts.parts) == pack.facts.model_digest
    good = not differing and whole
    reason = (
        words(en="weights, tokenizer and answers make up this digest", fr="poids, vocabulaire et réponses le composent")
        if good
        else words(en=f"does not follow from {', '.join(differing) or 'its parts'}", fr="ne découle pas de ses parties")
    )
    return Finding(claim=words(en="model digest", fr="empreinte"), value="verified" if good else "false", reason=reason)


def _register(pack: Pack) -> Finding:
    """register"""
    claim = words(en="register", fr="registre")
    table = pack.register()
    if table is None:
        return Finding(claim=claim, value="declared", reason=words(en="it has none", fr="il n'en a pas"))
    good = table.digest == pack.facts.table_digest
    return Finding(claim=claim, value="verified" if good else "false", reason=table.digest)


def _ledger(pack: Pack) -> Finding:
    """ledger"""
    problems = check_ledger(pack.folder / "ledger.jsonl")
    reason = problems[0] if problems else words(en="the chain holds", fr="la chaîne tient")
    return Finding(claim=words(en="ledger", fr="grand livre"), value="false" if problems else "verified", reason=reason)


def _accuracy(pack: Pack) -> Finding:
    """accuracy"""
    claim = words(en="accuracy", fr="exactitude")
    table = pack.register()
    if pack.facts.verify != "sql" or table is None:
        return Finding(
            claim=claim, value="not checkable", reason=words(en="judged by another verifier", fr="autre vérificateur")
        )
    folder = pack.folder / "evaluation"
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    prompts = list(read_records(folder / "prompts.parquet", Prompt))
    verdicts = {}
    for name, claimed in results["answerers"].items():
        samples = read_records(folder / f"answers-{name}.parquet", Sample)
        verdicts[name] = judge_all(SqlVerifier(table), prompts, samples)
        if by_stratum(prompts, verdicts[name]) != claimed:
            raise CheckFailed(words(en=f"“{name}” does not add up", fr=f"« {name} » ne tombe pas juste"))
    if compare_answerers(prompts, verdicts["student"], verdicts["teacher"]) != results["student_against_teacher"]:
        raise CheckFailed(words(en="the comparison does not add up", fr="la comparaison ne tombe pas juste"))
    if not prompts:
        raise BadInput(words(en="no questions", fr="aucune question"))
    return Finding(
        claim=claim,
        value="verified",
        reason=words(
            en=f"{len(prompts)} stored answers judged again", fr=f"{len(prompts)} réponses gardées jugées à nouveau"
        ),
    )
