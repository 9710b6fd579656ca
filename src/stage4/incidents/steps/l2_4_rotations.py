"""L2.4: rotations by the compliance audit, RBAC keys by the security baseline. The worse of the two counts."""

from __future__ import annotations

from dataclasses import dataclass

from stage4.incidents.incident import Answer, Incident, StepRecord, StepState
from stage4.incidents.steps.l1_2_audit import AUDIT_CODES
from stage4.incidents.steps.rule import (
    AuditVerdict,
    Observation,
    Outcome,
    Scene,
    audit_verdict,
    kept_documents,
    no_question,
)

WORSE = (AuditVerdict.OK, AuditVerdict.WARN, AuditVerdict.CANNOT_TELL, AuditVerdict.FAIL)


@dataclass(frozen=True, slots=True)
class JudgeRotations:
    id: str = "L2.4"
    observes: bool = True
    repeat_is_safe: str = "audits change nothing and write their reports into directories of their own"

    def observe(self, scene: Scene) -> Observation:
        compliance, baseline = scene.run(0), scene.run(1)
        kept = kept_documents(compliance, "report", "compliance.json")
        return Observation(
            (compliance, baseline), kept + kept_documents(baseline, "output", "audit_security_baseline.py.json")
        )

    def judge(self, incident: Incident, seen: Observation) -> Outcome:
        verdicts = [audit_verdict(result) for result in seen.commands]
        worst = max((verdict for verdict, _ in verdicts), key=WORSE.index)
        warnings = sum(count for _, count in verdicts)
        state = StepState.NOT_ACCEPTED if worst.failing else StepState.ACCEPTED
        return Outcome(state, AUDIT_CODES[worst], {"n": warnings}, audit=worst)

    def answered(self, incident: Incident, record: StepRecord, answer: Answer) -> Outcome:
        return no_question(record)
