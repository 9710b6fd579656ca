"""Carries the machine's steps out: intent, deed, result. A crash repeats at most the step that was under way.

The deed is done without any lock, in a thread of its own where the service gives one. Its result is recorded in one
change with what follows from it: an audit that fails, or a panel that is red, calls people in the same transaction.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

from stage4.errors import Refused, Stage4Error, Unavailable
from stage4.incidents import escalation, lifecycle
from stage4.incidents.checklist import Playbook, Step
from stage4.incidents.commands import command_log, fill
from stage4.incidents.core import Core, Unit
from stage4.incidents.earlier import KeptAudit, earlier_report, no_kept_audit
from stage4.incidents.effects import Effect, Recorded
from stage4.incidents.evidence import Artefact, EvidenceStore
from stage4.incidents.incident import Incident, Reason, State, StepRecord, StepState
from stage4.incidents.ports import AlertSource, CommandRunner, PanelSource
from stage4.incidents.rows import micros
from stage4.incidents.steps import STEPS
from stage4.incidents.steps.rule import AUDIT_SCHEMAS, AuditVerdict, Kept, Observation, Outcome, Scene

LIVE = (State.TRIGGERED, State.ACKNOWLEDGED, State.RESOLVED)


def at_once(work: Callable[[], None]) -> None:
    """Runs the work in the caller's thread."""
    work()


@dataclass(slots=True)
class Progress:
    """Runs steps for the engine. `spawn` decides where; `time_scale` shortens watches together with the timers."""

    core: Core
    root: Path
    playbook: Playbook
    evidence: EvidenceStore
    runner: CommandRunner
    alerts: AlertSource
    panels: PanelSource
    time_limit: timedelta
    time_scale: float = 1.0
    spawn: Callable[[Callable[[], None]], None] = at_once
    kept_audit: KeptAudit = no_kept_audit
    _under_way: set[tuple[str, str]] = field(default_factory=set)
    _unrecorded: dict[tuple[str, str], Observation] = field(default_factory=dict)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def recover(self) -> None:
        """After a restart: what was under way in the process that died starts again."""
        with self.core.view() as tx:
            incidents = tx.incidents(states=LIVE)
        for incident in incidents:
            for step_id, rule in STEPS.items():
                record = incident.step(step_id)
                if record.state is StepState.RUNNING and rule.observes:
                    with self.core.change() as unit:
                        fresh = unit.incident(incident.id)
                        unit.apply((fresh.with_step(step_id, replace(record, state=StepState.NOT_STARTED)), []))

    def advance(self) -> int:
        """Starts every step that is due to start and records what could not be recorded before; how many started."""
        with self.core.view() as tx:
            incidents = tx.incidents(states=LIVE)
        started = 0
        for incident in incidents:
            for tier in ("l1", "l2"):
                step = next_step(incident, self.playbook, tier)
                if step is not None and self.begin(incident.id, step.id):
                    started += 1
        for incident_id, step_id in list(self._unrecorded):
            self._record(incident_id, step_id, self._unrecorded[incident_id, step_id])
        return started

    def begin(self, incident_id: str, step_id: str, by: str | None = None) -> bool:
        """Writes the intent and spawns the deed; False when the step is under way already."""
        key = (incident_id, step_id)
        with self._guard:
            if key in self._under_way:
                return False
            self._under_way.add(key)
        try:
            with self.core.change() as unit:
                incident = unit.incident(incident_id)
                if incident.state is State.CLOSED:
                    raise Refused("incident.closed", incident=incident_id)
                record = incident.step(step_id)
                running = StepRecord(StepState.RUNNING, record.attempt + 1, unit.now, answer=None)
                effects: list[Effect] = [Recorded("step_repeated", "running", by, {"step": step_id})] if by else []
                incident = incident.with_step(step_id, running)
                if by:
                    incident, renewed = lifecycle.touched(incident, by, unit.now, self.core.rules)
                    effects += renewed
                incident = unit.apply((incident, effects))
        except Stage4Error:
            with self._guard:
                self._under_way.discard(key)
            raise
        self.spawn(lambda: self._carry_out(incident, step_id))
        return True

    def _carry_out(self, incident: Incident, step_id: str) -> None:
        try:
            self._record(incident.id, step_id, self._observe(incident, step_id))
        finally:
            # Whatever went wrong, a person can start the step again; what only waits to be recorded stays under way.
            if (incident.id, step_id) not in self._unrecorded:
                with self._guard:
                    self._under_way.discard((incident.id, step_id))

    def _observe(self, incident: Incident, step_id: str) -> Observation:
        step = self.playbook.step(step_id)
        with self.core.view() as tx:
            fingerprints = tuple(alert.fingerprint for alert in tx.alerts_of(incident.id))
            artefacts = tx.artefacts_of(incident.id)
        places = {"incident": incident.id, "ticket": incident.ticket}
        scene = Scene(
            incident=incident,
            step=step,
            commands=tuple(fill(argv, places, self.time_scale) for argv in step.commands),
            fingerprints=fingerprints,
            time_limit=self.time_limit,
            runner=self.runner,
            alerts=self.alerts,
            panels=self.panels,
            earlier_audit=earlier_report(self.kept_audit, self.evidence, artefacts, incident.onset),
        )
        return STEPS[step_id].observe(scene)

    def _record(self, incident_id: str, step_id: str, seen: Observation) -> None:
        key = (incident_id, step_id)
        try:
            self._result(incident_id, step_id, seen)
        except Unavailable:
            # The deed is done; only its record waits for the log or the disk. The next tick tries again.
            self._unrecorded[key] = seen
            return
        if self._unrecorded.pop(key, None) is not None:
            with self._guard:
                self._under_way.discard(key)

    def _result(self, incident_id: str, step_id: str, seen: Observation) -> None:
        with self.core.view() as tx:
            before = tx.incident(incident_id)
        assert before is not None
        outcome = STEPS[step_id].judge(before, seen)
        urgent = outcome.escalate is not None or (outcome.audit is not None and outcome.audit.failing)
        with self.core.change(act_first=urgent) as unit:
            incident = unit.incident(incident_id)
            outcome = STEPS[step_id].judge(incident, seen)
            for result in seen.commands:
                if result.document is not None and result.document.get("schema") in AUDIT_SCHEMAS:
                    first_time(unit, result.document)
            artefacts = self._keep(incident, self.playbook.step(step_id), seen, unit)
            unit.apply(self._judged(incident, step_id, outcome, unit), artefacts, stage=step_id)

    def _judged(self, incident: Incident, step_id: str, outcome: Outcome, unit: Unit) -> tuple[Incident, list[Effect]]:
        incident, effects = concluded(incident, step_id, outcome, unit, by=None)
        rules, duties, now = self.core.rules, unit.duties, unit.now
        more: list[Effect] = []
        if outcome.audit is not None:
            incident, more = audited(incident, outcome.audit, unit, rules)
            effects += more
        if outcome.escalate is Reason.PANELS and incident.open:
            incident, more = escalation.call_l2(incident, Reason.PANELS, now, rules, duties)
            effects += more
        if step_id == "L1.2" and outcome.warnings:
            effects += escalation.hand_over_warnings(incident, outcome.warnings, duties)
        return incident, effects

    def _keep(self, incident: Incident, step: Step, seen: Observation, unit: Unit) -> list[Artefact]:
        kept = list(seen.kept)
        for result in seen.commands:
            content = command_log(result)
            script = result.argv[1].rpartition("/")[2] if len(result.argv) > 1 else result.argv[0]
            kept.append(Kept("command_log", replace(content, name=f"{script}.{content.name}")))
        return [keep(self.evidence, incident.id, step.id, each, unit) for each in kept]


def next_step(incident: Incident, playbook: Playbook, tier: str) -> Step | None:
    """The step the machine starts next in a tier's list: one after the other, L2's once L2 has confirmed."""
    if tier == "l2" and not incident.l2_confirmed:
        return None
    own = [step for step in playbook.steps if step.tier == tier and step.id in STEPS and STEPS[step.id].observes]
    if any(incident.step(step.id).state is StepState.RUNNING for step in own):
        return None
    return next((step for step in own if incident.step(step.id).state is StepState.NOT_STARTED), None)


def concluded(
    incident: Incident, step_id: str, outcome: Outcome, unit: Unit, by: str | None
) -> tuple[Incident, list[Effect]]:
    """The step's record after a judgement, with its entry."""
    record = replace(
        incident.step(step_id),
        state=outcome.state,
        ended_at=unit.now,
        outcome=outcome.code,
        params=dict(outcome.params),
        facts=dict(outcome.facts),
    )
    params = {"step": step_id, "outcome": outcome.code, **outcome.params}
    return incident.with_step(step_id, record), [Recorded("step_result", outcome.state.value, by, params)]


def audited(
    incident: Incident, verdict: AuditVerdict, unit: Unit, rules: escalation.Rules
) -> tuple[Incident, list[Effect]]:
    """What an audit means for the incident, whoever ran it."""
    if not verdict.failing:
        return replace(incident, audit_clean_at=unit.now), []
    if incident.state is State.CLOSED:
        return replace(incident, audit_failed_at=unit.now), []
    if incident.open:
        return escalation.audit_failed(incident, unit.now, rules, unit.duties)
    incident, reopening = lifecycle.reopened(incident, None, unit.now, rules, unit.duties)
    incident, calls = escalation.audit_failed(incident, unit.now, rules, unit.duties)
    return incident, reopening + calls


def keep(evidence: EvidenceStore, incident_id: str, step_id: str, kept: Kept, unit: Unit) -> Artefact:
    """Keeps one content and describes it; the bytes are on the disk before anything names them."""
    body = kept.content.body
    return Artefact(
        incident_id, step_id, kept.role, kept.content.name, evidence.keep(body), len(body), kept.content.media, unit.now
    )


def first_time(unit: Unit, document: Mapping[str, object]) -> bool:
    """Whether this audit document has not been judged before; it is marked as judged."""
    text = json.dumps(document, sort_keys=True, default=str)
    name = f"audit:{hashlib.sha256(text.encode()).hexdigest()[:48]}"
    if unit.tx.fact(name):
        return False
    unit.tx.set_fact(name, micros(unit.now))
    return True
