"""L1.1: the alerts as their source lists them are stored; a person acknowledges."""

from __future__ import annotations

from dataclasses import dataclass

from stage4.errors import Unavailable
from stage4.incidents.incident import Answer, Incident, StepRecord, StepState
from stage4.incidents.steps.rule import Kept, Observation, Outcome, Scene


@dataclass(frozen=True, slots=True)
class ConfirmAlert:
    """Accepted when the alerts were read and the incident is acknowledged."""

    id: str = "L1.1"
    observes: bool = True
    repeat_is_safe: str = "it only reads"

    def observe(self, scene: Scene) -> Observation:
        try:
            log = scene.alerts.alerts(scene.incident.id, scene.fingerprints)
        except Unavailable as e:
            return Observation(facts={"source": None, "reason": str(e)})
        return Observation(kept=(Kept("alerts", log.content),), facts={"source": log.source, "firing": log.firing})

    def judge(self, incident: Incident, seen: Observation) -> Outcome:
        if seen.facts.get("source") is None:
            return Outcome(StepState.NOT_ACCEPTED, "step.alerts_unread", {"reason": seen.facts.get("reason")})
        params = {"source": seen.facts["source"], "n": seen.facts["firing"]}
        if incident.acknowledged_by is None:
            return Outcome(StepState.WAITING, "step.alert_waits", params, params)
        return Outcome(
            StepState.ACCEPTED, "step.alert_confirmed", {**params, "person": incident.acknowledged_by}, params
        )

    def answered(self, incident: Incident, record: StepRecord, answer: Answer) -> Outcome:
        if "source" not in record.facts:
            return Outcome(record.state, record.outcome or "step.alert_waits", record.params, record.facts)
        params = {**record.facts, "person": answer.by}
        return Outcome(StepState.ACCEPTED, "step.alert_confirmed", params, record.facts)
