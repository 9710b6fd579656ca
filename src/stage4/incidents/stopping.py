"""Stops the scheduler for an incident and follows its word until it is where it must be.

The stop is done before anything is written about it: it needs no database and no log, and it is never taken back
because its record failed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from stage4.decisionlog.canonical import canonical
from stage4.decisionlog.entry import INCIDENT_CATEGORY, Draft
from stage4.errors import Refused, Unavailable
from stage4.incidents import lifecycle
from stage4.incidents.core import Core
from stage4.incidents.effects import Effect, Post, Recorded
from stage4.incidents.evidence import EvidenceStore
from stage4.incidents.incident import Answer, Incident, Scalar, State, StepRecord, StepState, Stop
from stage4.incidents.ports import Content, SchedulerSwitch, SchedulerWord, StopFacts, StopOrder
from stage4.incidents.progress import LIVE, concluded, keep
from stage4.incidents.steps import l2_2_load_test, l2_5_roll_back
from stage4.incidents.steps.rule import Kept

STEP = "L2.5"


@dataclass(frozen=True, slots=True)
class Stopping:
    core: Core
    evidence: EvidenceStore
    switch: SchedulerSwitch

    def stop(self, incident_id: str, reason: str, by: str) -> Incident:
        """Stops all strategies in the name of the incident.

        Raises Unavailable when not even that was possible; `incident.stopped_unrecorded` and Refused
        `incident.stopped_unknown` say that the stop stands, and what of its record does not.
        """
        order = StopOrder(incident_id, incident_id, reason or incident_id, by)
        facts = self.switch.stop(order)
        try:
            return self._record(order, facts)
        except Unavailable as e:
            raise Unavailable("incident.stopped_unrecorded", incident=incident_id, reason=str(e)) from e

    def _record(self, order: StopOrder, facts: StopFacts) -> Incident:
        incident_id, reason, by = order.incident_id, order.reason, order.requested_by
        with self.core.view() as tx:
            known = tx.incident(incident_id)
        if known is None:
            metadata = {"ticket": order.ticket, "reason": reason, "by": by, "digest": facts.digest}
            draft = Draft("scheduler_stop_requested", INCIDENT_CATEGORY, STEP, "requested", metadata=metadata)
            self.core.log.append_many((draft,))
            raise Refused("incident.stopped_unknown", incident=incident_id)
        with self.core.change(act_first=True) as unit:
            incident = unit.incident(incident_id)
            params: dict[str, Scalar] = {"reason": reason, "digest": facts.digest, "already": facts.already}
            effects: list[Effect] = [
                Recorded("scheduler_stop_requested", "requested", by, params),
                Post("notice.stop_requested", {"person": by}, urgent=True),
            ]
            if incident.state is State.CLOSED:
                return unit.apply((incident, effects), stage=STEP)
            incident = replace(incident, stop=Stop(facts.digest, by, unit.now))
            record = replace(
                incident.step(STEP),
                state=StepState.WAITING,
                started_at=unit.now,
                outcome="step.scheduler_silent",
                facts={"expected": "disabled"},
                answer=Answer(l2_5_roll_back.DISABLE, reason, by, unit.now),
            )
            incident = incident.with_step(STEP, record)
            incident, renewed = lifecycle.touched(incident, by, unit.now, self.core.rules)
            effects += renewed
            load_test = incident.step("L2.2")
            if load_test.state is StepState.NOT_ACCEPTED and load_test.facts.get("beyond"):
                incident, more = concluded(incident, "L2.2", l2_2_load_test.disabled(incident), unit, by)
                effects += more
            artefact = keep(self.evidence, incident_id, STEP, Kept("override", facts.content), unit)
            return unit.apply((incident, effects), (artefact,), STEP)

    def not_needed(self, incident_id: str, reason: str, by: str) -> Incident:
        """The decision that no stop is needed; accepted when the scheduler itself says that it runs."""
        word = self.switch.word()
        with self.core.change() as unit:
            incident = unit.incident(incident_id)
            record = StepRecord(
                StepState.WAITING,
                started_at=unit.now,
                facts={"expected": l2_5_roll_back.expected(incident)},
                answer=Answer(l2_5_roll_back.NOT_NEEDED, reason, by, unit.now),
            )
            incident = incident.with_step(STEP, record)
            outcome = l2_5_roll_back.judged(incident, word)
            return unit.apply(concluded(incident, STEP, outcome, unit, by), stage=STEP)

    def follow(self) -> int:
        """Looks whether the scheduler has come to where it is expected; returns how many steps that accepted."""
        with self.core.view() as tx:
            waiting = [each.id for each in tx.incidents(states=LIVE) if _waits(each)]
        if not waiting:
            return 0
        word = self.switch.word()
        return sum(self._judge(incident_id, word) for incident_id in waiting)

    def complete(self, incident_id: str, by: str) -> Incident:
        """The return to service: the scheduler says `enabled`, and the rollback is recorded with its duration."""
        word = self.switch.word()
        with self.core.change() as unit:
            incident = unit.incident(incident_id)
            if incident.state is State.CLOSED:
                raise Refused("incident.closed", incident=incident_id)
            if incident.stop is None or incident.stop.enabled_at is not None:
                raise Refused("incident.nothing_to_roll_back", incident=incident_id)
            if word.state != "enabled":
                raise Refused("incident.scheduler_not_enabled", incident=incident_id, state=word.state)
            stop = replace(incident.stop, enabled_at=unit.now)
            duration = int((unit.now - stop.requested_at).total_seconds())
            incident = replace(incident, stop=stop)
            summary = {
                "schema": "stage4.rollback/1",
                "incident_id": incident_id,
                "ticket": incident.ticket,
                "stop_sha256": stop.digest,
                "requested_by": stop.requested_by,
                "completed_by": by,
                "duration_seconds": duration,
            }
            kept = Kept("rollback", Content("rollback_summary.json", canonical(summary)))
            artefact = keep(self.evidence, incident_id, STEP, kept, unit)
            incident, effects = concluded(incident, STEP, l2_5_roll_back.judged(incident, word), unit, by)
            params: dict[str, Scalar] = {"summary_sha256": artefact.sha256, "duration_seconds": duration}
            effects.append(Recorded("rollback_completed", "completed", by, params))
            effects.append(Post("notice.rollback_completed", {"person": by}))
            return unit.apply((incident, effects), (artefact,), STEP)

    def _judge(self, incident_id: str, word: SchedulerWord) -> bool:
        with self.core.view() as tx:
            incident = tx.incident(incident_id)
        if incident is None or l2_5_roll_back.judged(incident, word).state is not StepState.ACCEPTED:
            return False
        with self.core.change() as unit:
            incident = unit.incident(incident_id)
            outcome = l2_5_roll_back.judged(incident, word)
            if not _waits(incident) or outcome.state is not StepState.ACCEPTED:
                return False
            if incident.stop is not None:
                incident = replace(incident, stop=replace(incident.stop, confirmed_at=unit.now))
            state = keep(self.evidence, incident_id, STEP, _state_content(word.facts), unit)
            unit.apply(concluded(incident, STEP, outcome, unit, None), (state,), STEP)
            return True


def _state_content(facts: Mapping[str, object]) -> Kept:
    from stage4.files import json_bytes

    return Kept("scheduler_state", Content("state.json", json_bytes(dict(facts))))


def _waits(incident: Incident) -> bool:
    record = incident.step(STEP)
    return record.state is StepState.WAITING and "expected" in record.facts
