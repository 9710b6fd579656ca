"""L1.3: the four panels. The machine draws and judges them; a person comments."""

from __future__ import annotations

from dataclasses import dataclass

from stage4.errors import Unavailable
from stage4.incidents.incident import Answer, Incident, Reason, Scalar, StepRecord, StepState
from stage4.incidents.steps.rule import Kept, Observation, Outcome, Scene

PANELS = ("avg_abs_zscore", "allocation_error_pct", "spread_capture_bps", "secondary_delay_ms")
GOOD = ("green", "yellow")


@dataclass(frozen=True, slots=True)
class LookAtPanels:
    """Accepted when all are green or yellow and a person said so; red, stale, no data or a missing panel escalates."""

    id: str = "L1.3"
    observes: bool = True
    repeat_is_safe: str = "it only reads; new pictures stand beside the old ones"

    def observe(self, scene: Scene) -> Observation:
        try:
            board = scene.panels.board()
        except Unavailable as e:
            return Observation(facts={"source": None, "reason": str(e)})
        return Observation(
            kept=tuple(Kept("panel", panel.content) for panel in board.panels),
            facts={"source": board.source, **{panel.name: panel.state for panel in board.panels}},
        )

    def judge(self, incident: Incident, seen: Observation) -> Outcome:
        bad = {name: state for name in PANELS if (state := str(seen.facts.get(name, "no_data"))) not in GOOD}
        shown = ", ".join(f"{name}: {state}" for name, state in (bad or seen.facts).items() if name in PANELS)
        facts: dict[str, Scalar] = {"panels": shown, "source": seen.facts.get("source"), "escalates": bool(bad)}
        if bad:
            return Outcome(StepState.WAITING, "step.panels_escalate", {"panels": shown}, facts, escalate=Reason.PANELS)
        return Outcome(StepState.WAITING, "step.panels_wait", {"panels": shown}, facts)

    def answered(self, incident: Incident, record: StepRecord, answer: Answer) -> Outcome:
        if "escalates" not in record.facts or not answer.text.strip():
            return Outcome(record.state, record.outcome or "step.panels_undrawn", record.params, record.facts)
        params = {"panels": record.facts["panels"]}
        if record.facts["escalates"]:
            return Outcome(StepState.ESCALATED, "step.panels_escalated", params, record.facts)
        return Outcome(StepState.ACCEPTED, "step.panels_good", params, record.facts)
