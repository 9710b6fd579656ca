"""L2.2: the load test. Out of its limits, only a decision to disable the scheduler accepts it.

In an incident the command also judges the running scheduler's last ten minutes (`--attach`); the worse verdict is its
exit code, and where the running one cannot be reached nothing was judged.
"""

from __future__ import annotations

from dataclasses import dataclass

from stage4.incidents.incident import Answer, Incident, StepRecord, StepState
from stage4.incidents.steps.rule import Observation, Outcome, Scene, kept_documents, no_question


@dataclass(frozen=True, slots=True)
class LoadTest:
    id: str = "L2.2"
    observes: bool = True
    repeat_is_safe: str = "it drives a private scheduler and replaces its own report"

    def observe(self, scene: Scene) -> Observation:
        result = scene.run(more=("--attach",))
        return Observation((result,), kept_documents(result, "output", "load_test_scheduler.py.json"))

    def judge(self, incident: Incident, seen: Observation) -> Outcome:
        result = seen.commands[0]
        judged = result.document is not None and result.document.get("schema") == "stage4.load_test/1"
        if judged and result.exit_code == 0:
            return Outcome(StepState.ACCEPTED, "step.load_within_limits")
        if judged and result.exit_code == 1:
            if incident.stop is not None:
                return disabled(incident)
            return Outcome(StepState.NOT_ACCEPTED, "step.load_beyond_limits", facts={"beyond": True})
        return Outcome(StepState.NOT_ACCEPTED, "step.load_not_judged", {"exit_code": result.exit_code})

    def answered(self, incident: Incident, record: StepRecord, answer: Answer) -> Outcome:
        return no_question(record)


def disabled(incident: Incident) -> Outcome:
    """The limits were passed and somebody decided to stop the scheduler."""
    assert incident.stop is not None
    return Outcome(StepState.ACCEPTED, "step.load_disabled", {"person": incident.stop.requested_by}, {"beyond": True})
