"""L2.1: a fresh audit beside the earlier one; every warning needs a diagnosis, its author and an owner."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from stage4 import files
from stage4.clock import format_instant
from stage4.errors import UsageError
from stage4.incidents.incident import Answer, Incident, Scalar, StepRecord, StepState
from stage4.incidents.ports import Content
from stage4.incidents.steps.l1_2_audit import AUDIT_CODES
from stage4.incidents.steps.rule import Kept, Observation, Outcome, Scene, audit_verdict, kept_documents
from stage4.incidents.wording import CHANGES

_OWNER: Final = re.compile(r"\b(?:owner|w[łl]a[śs]ciciel(?:ka|em|ką)?)\b\s*[:=–-]?\s*([\w.@-]*\w)", re.IGNORECASE)
# How much of names and diagnoses stands in the record; whole they are in the report and in the entries of the answers.
_NAMED: Final = 5
_DIAGNOSIS: Final = 200
_DIAGNOSES: Final = 8000


@dataclass(frozen=True, slots=True)
class CompareAudits:
    """
    Accepted without a fail and with every warning diagnosed. The earlier report is never the fresh one itself.

    A diagnosis is a line `CONTROL [SUBJECT]: what it is; owner: who sees to it`, its author is who answers. The part
    before the colon may hold `*`, and may be left out while only one warning waits.
    """

    id: str = "L2.1"
    observes: bool = True
    repeat_is_safe: str = "an audit changes nothing and writes its report into a directory of its own"

    def observe(self, scene: Scene) -> Observation:
        result = scene.run()
        kept = kept_documents(result, "report", "compliance.json")
        compared, facts = _comparison(scene.earlier_audit, result.document)
        return Observation((result,), kept + compared, {"compared": bool(compared), **facts})

    def judge(self, incident: Incident, seen: Observation) -> Outcome:
        verdict, warnings = audit_verdict(seen.commands[0])
        params: dict[str, Scalar] = {"n": warnings, **_changes(seen.facts)}
        if verdict.failing:
            return Outcome(StepState.NOT_ACCEPTED, AUDIT_CODES[verdict], params, audit=verdict)
        if warnings:
            names = _names(seen.commands[0].document)
            facts: dict[str, Scalar] = {"diagnose": warnings, "waiting": "\n".join(names), "diagnoses": ""}
            params["which"] = _listed(names)
            return Outcome(StepState.WAITING, "step.warnings_undiagnosed", params, facts, audit=verdict)
        return Outcome(StepState.ACCEPTED, AUDIT_CODES[verdict], params, audit=verdict)

    def answered(self, incident: Incident, record: StepRecord, answer: Answer) -> Outcome:
        if "diagnose" not in record.facts or not answer.text.strip():
            return Outcome(record.state, record.outcome or "step.no_question", record.params, record.facts)
        waiting = str(record.facts.get("waiting", "?")).splitlines()
        diagnoses = str(record.facts.get("diagnoses", "")).splitlines()
        ownerless = False
        for line in filter(None, map(str.strip, answer.text.splitlines())):
            meant = _meant(line, waiting)
            owner = _OWNER.search(line)
            ownerless = ownerless or (bool(meant) and owner is None)
            if meant and owner is not None:
                waiting = [name for name in waiting if name not in meant]
                diagnoses.append(f"{line[:_DIAGNOSIS]} ({answer.by}, {format_instant(answer.at)})")
        facts: dict[str, Scalar] = {
            **record.facts,
            "waiting": "\n".join(waiting),
            "diagnoses": "\n".join(diagnoses)[:_DIAGNOSES],
        }
        if waiting:
            code = "step.diagnosis_without_owner" if ownerless else "step.warnings_undiagnosed"
            left: dict[str, Scalar] = {"n": len(waiting), "which": _listed(waiting), **_changes(record.params)}
            return Outcome(StepState.WAITING, code, left, facts)
        told = " | ".join(diagnoses)[:_DIAGNOSES]
        params: dict[str, Scalar] = {"n": facts["diagnose"], "diagnoses": told, **_changes(record.params)}
        return Outcome(StepState.ACCEPTED, "step.warnings_diagnosed", params, facts)


def _names(report: Mapping[str, object] | None) -> list[str]:
    """Each warning as `CONTROL SUBJECT`, on one line."""
    listed = (report or {}).get("warnings")
    named = []
    for warning in listed if isinstance(listed, list) else []:
        of = warning if isinstance(warning, Mapping) else {}
        named.append(" ".join(f"{of.get('check', '?')} {of.get('subject', '')}".split()))
    return named


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (" …" if len(names) > _NAMED else "")


def _meant(line: str, waiting: Sequence[str]) -> set[str]:
    """The waiting warnings that the line is about: by name, by control, by pattern, or the only one."""
    # A subject may hold colons itself, so every one of them may be the end of the name.
    for end in (place for place, letter in enumerate(line) if letter == ":"):
        pattern = " ".join(line[:end].split())
        found = {name for name in waiting if fnmatchcase(name, pattern) or name.partition(" ")[0] == pattern}
        if found:
            return found
    return set(waiting) if len(waiting) == 1 else set()


def _changes(known: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """What changed since the earlier report, which the step's outcome says first."""
    return {name: value for name, value in known.items() if name.startswith(CHANGES)}


def _comparison(
    earlier: Mapping[str, object] | None, fresh: Mapping[str, object] | None
) -> tuple[tuple[Kept, ...], dict[str, Scalar]]:
    if earlier is None or fresh is None:
        return (), {}
    from stage4.audit.comparison import compare

    try:
        found = compare(earlier, fresh)
    except UsageError:
        return (), {}
    facts: dict[str, Scalar] = {f"{CHANGES}{name}": count for name, count in found.counts.items()}
    facts[f"{CHANGES}since"] = found.since
    return (Kept("comparison", Content("comparison.json", files.json_bytes(found.document()))),), facts
