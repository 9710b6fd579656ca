"""L1.4: the incident's signed entry in the decision log."""

from __future__ import annotations

from dataclasses import dataclass

from stage4.incidents.incident import Answer, Incident, StepRecord, StepState
from stage4.incidents.steps.rule import Observation, Outcome, Scene, kept_documents, no_question


@dataclass(frozen=True, slots=True)
class RecordIncident:
    """Accepted when the printed entry is of category `stage4_incident` and has this ticket and a timestamp."""

    id: str = "L1.4"
    observes: bool = True
    repeat_is_safe: str = "a second summary is one more entry; the log loses nothing by it"

    def observe(self, scene: Scene) -> Observation:
        result = scene.run()
        return Observation((result,), kept_documents(result, "entry", "summary.json"))

    def judge(self, incident: Incident, seen: Observation) -> Outcome:
        result = seen.commands[0]
        entry = result.document.get("entry") if result.document else None
        if result.exit_code != 0 or not isinstance(entry, dict):
            return Outcome(StepState.NOT_ACCEPTED, "step.entry_not_written", {"exit_code": result.exit_code})
        metadata = entry.get("metadata")
        ticket = metadata.get("ticket") if isinstance(metadata, dict) else None
        if entry.get("category") != "stage4_incident" or ticket != incident.ticket or not entry.get("timestamp"):
            return Outcome(StepState.NOT_ACCEPTED, "step.entry_incomplete", {"ticket": incident.ticket})
        seq = entry.get("seq")
        params = {"seq": seq if isinstance(seq, int) else None, "ticket": incident.ticket}
        return Outcome(StepState.ACCEPTED, "step.entry_written", params)

    def answered(self, incident: Incident, record: StepRecord, answer: Answer) -> Outcome:
        return no_question(record)
