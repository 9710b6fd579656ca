"""What the rim calls: every act on an incident, with the roles it needs, and the tick that drives time.

The engine fails towards people: automatic escalation acts before the log answers; what a person does is refused when
it cannot be recorded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Literal

from stage4 import files
from stage4.errors import Refused, Stage4Error, UsageError
from stage4.incidents import escalation, lifecycle
from stage4.incidents.arrivals import Arrivals, Received
from stage4.incidents.audit_watch import AuditWatch
from stage4.incidents.checklist import Playbook
from stage4.incidents.commands import document_of
from stage4.incidents.core import Core, Unit
from stage4.incidents.effects import Effect, Recorded
from stage4.incidents.escalation import Change
from stage4.incidents.evidence import EvidenceStore
from stage4.incidents.incident import Answer, Incident, Kind, Reason, Scalar, State, StepState, Tier
from stage4.incidents.pager import Pager
from stage4.incidents.ports import Content, Register
from stage4.incidents.progress import Progress, concluded, keep
from stage4.incidents.signing import Signing
from stage4.incidents.signoff import SignOff
from stage4.incidents.steps import STEPS, l2_5_roll_back
from stage4.incidents.steps.rule import AUDIT_SCHEMAS, Kept
from stage4.incidents.stopping import Stopping
from stage4.incidents.view import IncidentView, view_of

OPERATORS = ("l1", "l2", "incident_manager")
STOPPERS = ("l2", "incident_manager")
ATTACHMENT_LIMIT = 64 << 20


@dataclass(frozen=True, slots=True)
class Engine:
    """The incident engine of one installation. Its methods may be called from several threads.

    Acts take `by`, the id of a person whom the caller has authenticated, and raise Refused for a role or state that
    says no, Unavailable when storage or log do not answer (then nothing happened).
    """

    core: Core
    arrivals: Arrivals
    audits: AuditWatch
    progress: Progress
    stopping: Stopping
    signing: Signing
    pager: Pager
    register: Register
    playbook: Playbook
    evidence: EvidenceStore

    def start(self) -> None:
        """Before the first act: tables, entries that never came into force, steps and notices a crash interrupted."""
        self.core.store.migrate()
        self.core.reconcile()
        with self.core.store.write() as tx:
            tx.release_leases()
        self.progress.recover()

    def tick(self) -> None:
        """Does what is due. A part that fails holds up none of the others; the first failure is raised at the end."""
        failures = []
        for part in (
            self.fire_timers,
            self.pager.drain,
            self.core.catch_up,
            self.audits.look,
            self.progress.advance,
            self.stopping.follow,
            self.pager.drain,
        ):
            try:
                part()
            except Stage4Error as e:
                failures.append(e)
        if failures:
            raise failures[0]

    def fire_timers(self) -> int:
        """Fires due timers, never early, each once; returns how many."""
        clock, fired = self.core.clock, 0
        while True:
            now, boot_id, boottime_ns = clock.now(), clock.boot_id(), clock.boottime_ns()
            with self.core.view() as tx:
                if not tx.timers_wait(now, boot_id, boottime_ns):
                    return fired
            with self.core.change(act_first=True) as unit:
                for timer in unit.tx.claim_due(now, boot_id, boottime_ns):
                    incident = unit.incident(timer.incident_id)
                    change = escalation.on_timer(incident, timer.kind, unit.now, self.core.rules, unit.duties)
                    if change != (incident, []):
                        unit.apply(change)
                    fired += 1

    # what comes in

    def receive_alertmanager(self, body: bytes) -> Received:
        """A webhook delivery of Alertmanager, version 4."""
        return self.arrivals.alertmanager(body)

    def receive_signal(self, body: bytes) -> Received:
        """A direct signal, `stage4.signal/1`."""
        return self.arrivals.signal(body)

    def open_manual(
        self,
        kind: Kind,
        title: str,
        by: str,
        *,
        reported_at: datetime | None = None,
        ticket: str | None = None,
        scheduler: str = "",
    ) -> Incident:
        """A person reports a problem; `reported_at` is when it was noticed."""
        self._need(by, OPERATORS)
        if not title.strip():
            raise UsageError("incident.title_missing")
        return self.arrivals.report(
            kind, title.strip(), by, reported_at=reported_at, ticket=ticket, scheduler=scheduler
        )

    def record_audit_result(
        self, document: dict[str, object], *, by: str | None = None, incident_id: str | None = None
    ) -> Incident | None:
        """An audit somebody ran; None where it changes nothing. The same document twice counts once."""
        return self.arrivals.audit(document, by, incident_id)

    # acts of people

    def acknowledge(self, incident_id: str, by: str) -> Incident:
        """Takes the incident; where the person's own tier is being called, this is their answer to the call too."""
        roles = self.register.roles(by)

        def act(incident: Incident, unit: Unit) -> Change:
            incident, effects = lifecycle.acknowledged(incident, by, unit.now, self.core.rules)
            if any(incident.pending(tier) and tier.value in roles for tier in (Tier.L2, Tier.INCIDENT_MANAGER)):
                incident, more = escalation.confirm(incident, by, roles, unit.now, self.core.rules)
                effects = effects + more
            record = incident.step("L1.1")
            if record.state is StepState.WAITING:
                answer = Answer("yes", "", by, unit.now)
                incident = incident.with_step("L1.1", replace(record, answer=answer))
                outcome = STEPS["L1.1"].answered(incident, incident.step("L1.1"), answer)
                incident, more = concluded(incident, "L1.1", outcome, unit, by)
                effects = effects + more
            return incident, effects

        return self._act(incident_id, by, OPERATORS, act)

    def note(self, incident_id: str, text: str, by: str) -> Incident:
        if not text.strip():
            raise UsageError("incident.note_empty")
        return self._act(
            incident_id, by, None, lambda incident, _: (incident, [Recorded("note_added", "noted", by, {"text": text})])
        )

    def confirm_escalation(self, incident_id: str, by: str) -> Incident:
        """L2's, or the Incident Manager's, own act: it ends the calling of their tier."""
        roles = self.register.roles(by)
        return self._act(
            incident_id, by, None, lambda it, unit: escalation.confirm(it, by, roles, unit.now, self.core.rules)
        )

    def escalate(self, incident_id: str, by: str, to: Literal["l2", "incident_manager"], reason: str = "") -> Incident:
        """A person calls the next tier; it acts first, as every escalation."""

        def act(incident: Incident, unit: Unit) -> Change:
            if not incident.open:
                raise Refused("incident.not_open", incident=incident_id)
            rules, duties, now = self.core.rules, unit.duties, unit.now
            if to == "l2":
                incident, effects = escalation.call_l2(incident, Reason.PERSON, now, rules, duties)
            else:
                incident, effects = escalation.call_manager(incident, Reason.PERSON, None, now, rules, duties)
            return incident, [Recorded("escalation_requested", "requested", by, {"to": to, "why": reason}), *effects]

        return self._act(incident_id, by, OPERATORS, act, act_first=True)

    def resolve(self, incident_id: str, by: str) -> Incident:
        roles = self.register.roles(by)
        return self._act(incident_id, by, OPERATORS, lambda it, unit: lifecycle.resolved(it, by, roles, unit.now))

    def reopen(self, incident_id: str, by: str) -> Incident:
        return self._act(
            incident_id,
            by,
            OPERATORS,
            lambda it, unit: lifecycle.reopened(it, by, unit.now, self.core.rules, unit.duties),
        )

    # steps

    def run_step(self, incident_id: str, step_id: str, by: str) -> bool:
        """Runs a machine's step again; False when it is under way already."""
        step = self.playbook.step(step_id)
        self._need(by, OPERATORS if step.tier == "l1" else STOPPERS)
        if not STEPS[step_id].observes:
            raise Refused("incident.step_of_a_person", step=step_id)
        return self.progress.begin(incident_id, step_id, by)

    def answer_step(self, incident_id: str, step_id: str, by: str, *, choice: str = "", text: str = "") -> Incident:
        """A person's answer to the step that waits for one; the step itself judges what it means."""
        step = self.playbook.step(step_id)
        if step_id == "L1.1":
            return self.acknowledge(incident_id, by)
        if step.choices and choice not in step.choices:
            raise UsageError("incident.unknown_choice", step=step_id, choice=choice, known=", ".join(step.choices))
        if step_id == "L2.5":
            return self._answer_stop(incident_id, by, choice, text)
        reviewed = step.follow_up and choice == "reviewed"
        roles = ("product_owner",) if reviewed else OPERATORS if step.tier == "l1" else STOPPERS

        def act(incident: Incident, unit: Unit) -> Change:
            if incident.state is State.CLOSED and not step.follow_up:
                raise Refused("incident.closed", incident=incident_id)
            waits = step.follow_up or incident.step(step_id).state is StepState.WAITING
            if not (step.question and waits and text.strip()):
                raise Refused("incident.nothing_asked", step=step_id)
            answer = Answer(choice, text.strip(), by, unit.now)
            outcome = STEPS[step_id].answered(incident, incident.step(step_id), answer)
            incident = incident.with_step(step_id, replace(incident.step(step_id), answer=answer))
            incident, effects = concluded(incident, step_id, outcome, unit, by)
            params: dict[str, Scalar] = {"step": step_id, "choice": choice, "text": answer.text}
            return incident, [Recorded("step_answered", outcome.state.value, by, params), *effects]

        return self._act(incident_id, by, roles, act, stage=step_id)

    def stop(self, incident_id: str, reason: str, by: str) -> Incident:
        """Stops the scheduler at any time, whatever steps are open. The deed comes before its record."""
        self._need(by, STOPPERS)
        return self.stopping.stop(incident_id, reason, by)

    def complete_rollback(self, incident_id: str, by: str) -> Incident:
        """After the scheduler was enabled again by its own two-person order: `rollback_completed`."""
        self._need(by, STOPPERS)
        return self.stopping.complete(incident_id, by)

    def _answer_stop(self, incident_id: str, by: str, choice: str, text: str) -> Incident:
        if choice == l2_5_roll_back.DISABLE:
            return self.stop(incident_id, text, by)
        self._need(by, STOPPERS)
        return self.stopping.not_needed(incident_id, text, by)

    # evidence, signatures, closing

    def attach(self, incident_id: str, path: Path, by: str) -> Incident:
        """Keeps a copy of a file by digest; an audit's document also counts as an audit."""
        body = files.read_limited(path, ATTACHMENT_LIMIT)
        document = document_of(body)

        def act(incident: Incident, unit: Unit) -> Change:
            if incident.state is State.CLOSED:
                raise Refused("incident.closed", incident=incident_id)
            kept = Kept("attachment", Content(path.name, body, "application/octet-stream"))
            artefact = keep(self.evidence, incident_id, "attached", kept, unit)
            unit.tx.put_artefact(artefact)
            params: dict[str, Scalar] = {"name": path.name, "sha256": artefact.sha256}
            return incident, [Recorded("artefact_attached", "attached", by, params)]

        incident = self._act(incident_id, by, OPERATORS, act)
        if document is not None and document.get("schema") in AUDIT_SCHEMAS:
            return self.arrivals.audit(document, by, incident_id) or incident
        return incident

    def statement(self, incident_id: str, role: str, by: str) -> bytes:
        """The canonical bytes to sign with `ssh-keygen -Y sign -n stage4-signoff`."""
        return self.signing.statement(incident_id, role, by)

    def sign(self, incident_id: str, role: str, armored: str, by: str) -> SignOff:
        """The signature over the statement last given out to `by` in `role`."""
        return self.signing.sign(incident_id, role, armored, by)

    def not_applicable(self, incident_id: str, reason: str, by: str) -> Incident:
        """Why the L2 items do not apply to an incident that was never escalated."""
        return self.signing.not_applicable(incident_id, reason, by)

    def close(self, incident_id: str, by: str) -> Incident:
        """Closes for good, or Refused `closing.missing` with every missing item."""
        return self.signing.close(incident_id, by)

    # looking

    def view(self, incident_id: str) -> IncidentView:
        with self.core.view() as tx:
            incident = tx.incident(incident_id)
            if incident is None:
                raise Refused("incident.unknown", incident=incident_id)
            return view_of(tx, incident, self.playbook)

    def list(self, *, closed: bool = True) -> list[Incident]:
        """Newest first."""
        states = tuple(State) if closed else tuple(state for state in State if state is not State.CLOSED)
        with self.core.view() as tx:
            return tx.incidents(states=states)

    def _act(
        self,
        incident_id: str,
        by: str,
        roles: tuple[str, ...] | None,
        act: Callable[[Incident, Unit], Change],
        *,
        act_first: bool = False,
        stage: str | None = None,
    ) -> Incident:
        self._need(by, roles)
        with self.core.change(act_first=act_first) as unit:
            incident, effects = act(unit.incident(incident_id), unit)
            incident, more = lifecycle.touched(incident, by, unit.now, self.core.rules)
            return unit.apply((incident, _merged(effects, more)), stage=stage)

    def _need(self, by: str, roles: tuple[str, ...] | None) -> None:
        held = self.register.roles(by)
        if roles is not None and not held.intersection(roles):
            raise Refused("incident.role_needed", person=by, role=" / ".join(roles))


def _merged(effects: list[Effect], more: list[Effect]) -> list[Effect]:
    return effects + [each for each in more if each not in effects]
