"""The one way in which an incident changes: state, timers, notices and decisions in one transaction with the log.

    BEGIN, state, timers, outbox, decisions, append to the log and flush, COMMIT, and only then a reply.

If the append fails, nothing happened and the caller is refused. What must not wait for the log (an automatic
escalation, a stop) commits first, with its decisions marked unlogged until `catch_up` has appended them. An entry whose
decision never reached SQL gets a `void` entry. Everything fails towards calling people twice rather than never.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from stage4 import ids
from stage4.clock import Clock
from stage4.decisionlog.entry import INCIDENT_CATEGORY, VOID, Draft
from stage4.decisionlog.reconcile import void_draft
from stage4.errors import Refused, Stage4Error
from stage4.incidents.effects import Arm, Disarm, Duties, Effect, Page, Post, Recorded
from stage4.incidents.escalation import Rules
from stage4.incidents.evidence import Artefact
from stage4.incidents.incident import Incident, Scalar
from stage4.incidents.intake import Alert
from stage4.incidents.ports import Log, LogReader, Roster
from stage4.incidents.rows import Decision, Event
from stage4.incidents.store_sql import Store
from stage4.incidents.timers import armed
from stage4.incidents.transaction import Transaction
from stage4.notify import Notice

ENGINE = "stage4.incidents"
RECONCILED = "reconciled_seq"


@dataclass(slots=True)
class Unit:
    """One change under way: what it does to the incident is carried out here, in its own transaction."""

    tx: Transaction
    now: datetime
    clock: Clock
    duties: Duties
    notifiers: tuple[str, ...]
    channel: str
    decisions: list[Decision] = field(default_factory=list)

    def incident(self, incident_id: str) -> Incident:
        incident = self.tx.incident(incident_id)
        if incident is None:
            raise Refused("incident.unknown", incident=incident_id)
        return incident

    def apply(
        self, change: tuple[Incident, Sequence[Effect]], artefacts: Sequence[Artefact] = (), stage: str | None = None
    ) -> Incident:
        """Saves the incident and carries out its effects; `artefacts` go into the entries by digest."""
        incident, effects = change
        notices = [effect for effect in effects if isinstance(effect, Page | Post)]
        for place, notice in enumerate(notices, incident.notices + 1):
            self._send(incident, notice, place)
        incident = self.tx.save(replace(incident, notices=incident.notices + len(notices)))
        for artefact in artefacts:
            self.tx.put_artefact(artefact)
        for effect in effects:
            match effect:
                case Arm(kind, after):
                    self.tx.arm(armed(incident.id, kind, after, 0, self.clock))
                case Disarm(kind):
                    self.tx.disarm(incident.id, kind)
                case Recorded():
                    self._record(incident, effect, artefacts, stage)
                case _:
                    continue
        return incident

    def warn_l1(self, alert: Alert) -> None:
        """Tells L1 of an alert that opens no incident."""
        self._warn("notice.l1_warned", {"kind": alert.kind.value, "title": alert.name})

    def warn_unread(self, source: str, reason: str) -> None:
        """Tells L1 that a delivery could not be read: a sender that nobody understands is an alarm that is off."""
        self._warn("notice.delivery_unread", {"source": source, "reason": reason[:200]})

    def _warn(self, code: str, params: Mapping[str, Scalar]) -> None:
        person = self.duties.on("l1")
        target = "l1" if person else self.channel
        notice = Notice(f"warn/{ids.short_id()}", target, code, params, self.now, person_id=person)
        for notifier in self.notifiers:
            self.tx.put_notice(notifier, notice, self.now)

    def _send(self, incident: Incident, effect: Page | Post, place: int) -> None:
        page = effect if isinstance(effect, Page) else None
        notice = Notice(
            key=f"{incident.id}/{place:05d}",
            target=page.rung if page else self.channel,
            code=effect.code,
            params=dict(effect.params),
            at=self.now,
            incident_id=incident.id,
            person_id=page.person if page else None,
            urgency="high" if effect.urgent else "normal",
        )
        for notifier in self.notifiers:
            self.tx.put_notice(notifier, notice, self.now)

    def _record(self, incident: Incident, effect: Recorded, artefacts: Sequence[Artefact], stage: str | None) -> None:
        params = {**effect.params, "status": effect.status}
        self.tx.put_event(Event(incident.id, self.now, effect.kind, effect.by, params))
        decision_id = ids.short_id()
        draft = Draft(
            kind=effect.kind,
            category=INCIDENT_CATEGORY,
            stage=stage or incident.tier.value,
            status=effect.status,
            artefacts={f"{each.step}/{each.role}/{each.name}": each.sha256 for each in artefacts},
            metadata={
                **_present(effect.params),
                "incident_id": incident.id,
                "ticket": incident.ticket,
                "incident_state": incident.state.value,
                "decision_id": decision_id,
                "engine": ENGINE,
                **({"by": effect.by} if effect.by else {}),
            },
            timestamp=self.now,
        )
        self.decisions.append(Decision(decision_id, incident.id, self.now, draft))


@dataclass(slots=True)
class Core:
    """Store, log and clock joined; changes of one process happen one after the other."""

    store: Store
    log: Log
    reader: LogReader
    clock: Clock
    rules: Rules
    roster: Roster
    notifiers: tuple[str, ...]
    channel: str = "#ops-trading"
    doubtful: bool = False
    _turn: threading.RLock = field(default_factory=threading.RLock)

    @contextlib.contextmanager
    def change(self, *, act_first: bool = False) -> Iterator[Unit]:
        """One change in the order above. Raises Unavailable when log or storage do not answer: nothing happened."""
        with self._turn:
            now = self.clock.now()
            duties = self.roster.duties(now)
            appended = False
            try:
                with self.store.write() as tx:
                    unit = Unit(tx, now, self.clock, duties, self.notifiers, self.channel)
                    yield unit
                    for decision in unit.decisions:
                        tx.put_decision(decision)
                    if unit.decisions and not act_first:
                        appended = True
                        self._append(tx, unit.decisions)
                appended = False
            finally:
                # An entry may stand in the log whose decision SQL does not know.
                self.doubtful = self.doubtful or appended
            if act_first:
                self.catch_up()

    @contextlib.contextmanager
    def view(self) -> Iterator[Transaction]:
        with self.store.read() as tx:
            yield tx

    def catch_up(self) -> bool:
        """Appends what was acted upon before it was logged, and voids what was logged but never came into force."""
        with self._turn:
            try:
                if self.doubtful:
                    self.reconcile()
                    self.doubtful = False
                with self.view() as tx:
                    waiting = tx.unlogged()
                if waiting:
                    with self.store.write() as tx:
                        self._append(tx, waiting)
            except Stage4Error:
                self.doubtful = True
                return False
            return True

    def reconcile(self) -> int:
        """Compares the log with SQL, as at start-up; returns how many entries were voided. Raises Unavailable."""
        with self._turn, self.store.write() as tx:
            after = tx.fact(RECONCILED) - 1
            entries = self.reader.entries(after)
            voided = {entry.metadata.get("decision_id") for entry in entries if entry.kind == VOID}
            unlogged = {decision.id for decision in tx.unlogged()}
            voids = []
            for entry in entries:
                decision_id = entry.metadata.get("decision_id")
                ours = entry.metadata.get("engine") == ENGINE and entry.kind != VOID
                if not ours or not isinstance(decision_id, str):
                    continue
                if decision_id in unlogged:
                    tx.set_seq(decision_id, entry.seq)
                elif not tx.decision_known(decision_id) and decision_id not in voided:
                    voids.append(void_draft(entry, decision_id, ENGINE))
            if voids:
                self.log.append_many(voids)
            if entries:
                tx.set_fact(RECONCILED, entries[-1].seq + 1)
            return len(voids)

    def _append(self, tx: Transaction, decisions: Sequence[Decision]) -> None:
        receipts = self.log.append_many([decision.draft for decision in decisions])
        for decision, receipt in zip(decisions, receipts, strict=True):
            tx.set_seq(decision.id, receipt.seq)


def _present(params: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in params.items() if value is not None}
