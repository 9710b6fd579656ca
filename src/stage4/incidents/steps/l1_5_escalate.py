"""L1.5: the escalation. Only L2's own act ends it; delivery, voicemail or L1's word do not."""

from __future__ import annotations

from dataclasses import dataclass

from stage4.incidents.incident import Answer, Incident, StepRecord
from stage4.incidents.steps.rule import Observation, Outcome, Scene, no_question


@dataclass(frozen=True, slots=True)
class Escalate:
    """Started and accepted by the ladder itself (see `escalation`)."""

    id: str = "L1.5"
    observes: bool = False
    repeat_is_safe: str = "it does nothing by itself"

    def observe(self, scene: Scene) -> Observation:
        return Observation()

    def judge(self, incident: Incident, seen: Observation) -> Outcome:
        return no_question(incident.step(self.id))

    def answered(self, incident: Incident, record: StepRecord, answer: Answer) -> Outcome:
        return no_question(record)
