"""L2.6: the lessons. A follow-up that never holds the closing."""

from __future__ import annotations

from dataclasses import dataclass

from stage4.incidents.incident import Answer, Incident, StepRecord, StepState
from stage4.incidents.steps.rule import Observation, Outcome, Scene


@dataclass(frozen=True, slots=True)
class Lessons:
    """Waits for the product owner's review once somebody has written down what changed."""

    id: str = "L2.6"
    observes: bool = False
    repeat_is_safe: str = "it does nothing by itself"

    def observe(self, scene: Scene) -> Observation:
        return Observation()

    def judge(self, incident: Incident, seen: Observation) -> Outcome:
        return Outcome(StepState.WAITING, "step.lessons_wait")

    def answered(self, incident: Incident, record: StepRecord, answer: Answer) -> Outcome:
        if answer.choice == "reviewed":
            return Outcome(StepState.ACCEPTED, "step.lessons_reviewed", {"person": answer.by})
        return Outcome(StepState.WAITING, "step.lessons_written", {"person": answer.by})
