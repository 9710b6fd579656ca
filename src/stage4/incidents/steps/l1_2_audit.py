"""L1.2: the compliance audit."""

from __future__ import annotations

from dataclasses import dataclass

from stage4.incidents.incident import Answer, Incident, StepRecord, StepState
from stage4.incidents.steps.rule import (
    AuditVerdict,
    Observation,
    Outcome,
    Scene,
    audit_verdict,
    kept_documents,
    no_question,
)

AUDIT_CODES = {
    AuditVerdict.OK: "step.audit_ok",
    AuditVerdict.WARN: "step.audit_warns",
    AuditVerdict.FAIL: "step.audit_fails",
    AuditVerdict.CANNOT_TELL: "step.audit_cannot_tell",
}


@dataclass(frozen=True, slots=True)
class RunAudit:
    """Accepted without a fail. A fail, or an audit that cannot tell, calls L2 and the Incident Manager."""

    id: str = "L1.2"
    observes: bool = True
    repeat_is_safe: str = "an audit changes nothing and writes its report into a directory of its own"

    def observe(self, scene: Scene) -> Observation:
        result = scene.run()
        return Observation((result,), kept_documents(result, "report", "compliance.json"))

    def judge(self, incident: Incident, seen: Observation) -> Outcome:
        verdict, warnings = audit_verdict(seen.commands[0])
        state = StepState.NOT_ACCEPTED if verdict.failing else StepState.ACCEPTED
        return Outcome(state, AUDIT_CODES[verdict], {"n": warnings}, audit=verdict, warnings=warnings)

    def answered(self, incident: Incident, record: StepRecord, answer: Answer) -> Outcome:
        return no_question(record)
