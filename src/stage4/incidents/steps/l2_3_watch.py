"""L2.3: the metrics stream, its headers, and avg_abs_zscore."""

from __future__ import annotations

from dataclasses import dataclass

from stage4.incidents.incident import Answer, Incident, StepRecord, StepState
from stage4.incidents.steps.rule import Observation, Outcome, Scene, kept_documents, no_question


@dataclass(frozen=True, slots=True)
class WatchMetrics:
    """Accepted when the watch itself says so; a watch that saw nothing accepts nothing."""

    id: str = "L2.3"
    observes: bool = True
    repeat_is_safe: str = "it only listens and replaces its own report"

    def observe(self, scene: Scene) -> Observation:
        result = scene.run()
        return Observation((result,), kept_documents(result, "output", "watch_metrics_stream.py.json"))

    def judge(self, incident: Incident, seen: Observation) -> Outcome:
        result = seen.commands[0]
        judged = result.document is not None and result.document.get("schema") == "stage4.watch/1"
        if judged and result.exit_code == 0:
            return Outcome(StepState.ACCEPTED, "step.watch_good")
        if judged and result.exit_code == 1:
            return Outcome(StepState.NOT_ACCEPTED, "step.watch_bad")
        return Outcome(StepState.NOT_ACCEPTED, "step.watch_not_judged", {"exit_code": result.exit_code})

    def answered(self, incident: Incident, record: StepRecord, answer: Answer) -> Outcome:
        return no_question(record)
