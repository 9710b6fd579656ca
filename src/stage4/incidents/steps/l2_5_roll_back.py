"""L2.5: stop the scheduler where it must be stopped. Its own word accepts the step, not ours."""

from __future__ import annotations

from dataclasses import dataclass

from stage4.incidents.incident import Answer, Incident, StepRecord, StepState
from stage4.incidents.ports import SchedulerWord
from stage4.incidents.steps.rule import Observation, Outcome, Scene

DISABLE, NOT_NEEDED = "disable", "not_needed"


@dataclass(frozen=True, slots=True)
class RollBack:
    """Waits for the decision; then for the scheduler to be in the state that was decided."""

    id: str = "L2.5"
    observes: bool = False
    repeat_is_safe: str = "a stop that stands already is left as it is"

    def observe(self, scene: Scene) -> Observation:
        return Observation()

    def judge(self, incident: Incident, seen: Observation) -> Outcome:
        return Outcome(StepState.WAITING, "step.stop_undecided")

    def answered(self, incident: Incident, record: StepRecord, answer: Answer) -> Outcome:
        return Outcome(StepState.WAITING, "step.scheduler_silent", facts={"expected": expected(incident)})


def expected(incident: Incident) -> str:
    """The state the scheduler must be in: stopped by this incident and not yet enabled again, or running."""
    stopped = incident.stop is not None and incident.stop.enabled_at is None
    return "disabled" if stopped else "enabled"


def judged(incident: Incident, word: SchedulerWord) -> Outcome:
    """Compares the scheduler's own word with what is expected; a `disabled` counts only for this incident's stop."""
    wanted = expected(incident)
    facts = {"expected": wanted, "reported": word.state}
    ours = wanted == "enabled" or (incident.stop is not None and word.override_digest == incident.stop.digest)
    if word.state == wanted and ours:
        return Outcome(StepState.ACCEPTED, f"step.scheduler_{wanted}", facts=facts)
    return Outcome(StepState.NOT_ACCEPTED, "step.scheduler_not_there", facts, facts)
