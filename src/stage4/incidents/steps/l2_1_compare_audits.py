"""L2.1: a fresh audit beside the earlier one; every warning needs a diagnosis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from stage4 import files
from stage4.errors import UsageError
from stage4.incidents.incident import Answer, Incident, StepRecord, StepState
from stage4.incidents.ports import Content
from stage4.incidents.steps.l1_2_audit import AUDIT_CODES
from stage4.incidents.steps.rule import Kept, Observation, Outcome, Scene, audit_verdict, kept_documents


@dataclass(frozen=True, slots=True)
class CompareAudits:
    """Accepted without a fail and with every warning diagnosed. The earlier report is never the fresh one itself."""

    id: str = "L2.1"
    observes: bool = True
    repeat_is_safe: str = "an audit changes nothing and writes its report into a directory of its own"

    def observe(self, scene: Scene) -> Observation:
        result = scene.run()
        kept = kept_documents(result, "report", "compliance.json")
        compared = _comparison(scene.earlier_audit, result.document)
        return Observation((result,), kept + compared, {"compared": bool(compared)})

    def judge(self, incident: Incident, seen: Observation) -> Outcome:
        verdict, warnings = audit_verdict(seen.commands[0])
        params = {"n": warnings}
        if verdict.failing:
            return Outcome(StepState.NOT_ACCEPTED, AUDIT_CODES[verdict], params, audit=verdict)
        if warnings:
            facts = {"diagnose": warnings}
            return Outcome(StepState.WAITING, "step.warnings_undiagnosed", params, facts, audit=verdict)
        return Outcome(StepState.ACCEPTED, AUDIT_CODES[verdict], params, audit=verdict)

    def answered(self, incident: Incident, record: StepRecord, answer: Answer) -> Outcome:
        if "diagnose" not in record.facts or not answer.text.strip():
            return Outcome(record.state, record.outcome or "step.no_question", record.params, record.facts)
        return Outcome(StepState.ACCEPTED, "step.warnings_diagnosed", {"n": record.facts["diagnose"]}, record.facts)


def _comparison(earlier: Mapping[str, object] | None, fresh: Mapping[str, object] | None) -> tuple[Kept, ...]:
    if earlier is None or fresh is None:
        return ()
    from stage4.audit.comparison import compare

    try:
        document = compare(earlier, fresh).document()
    except UsageError:
        return ()
    return (Kept("comparison", Content("comparison.json", files.json_bytes(document))),)
