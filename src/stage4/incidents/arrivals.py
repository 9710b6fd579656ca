"""Takes alerts, reports and audits in: what is new opens or joins an incident, what is known changes nothing.

Two paths tell of one alert, each with a start of its own. The last word counts, whichever path says it: an end clears
the alert under every start it began before, and the path that still fires says so again, which joins the incident.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from stage4 import ids
from stage4.clock import parse_instant
from stage4.errors import UsageError
from stage4.incidents import lifecycle
from stage4.incidents.core import Core, Unit
from stage4.incidents.incident import AlertState, Condition, Incident, Kind, State
from stage4.incidents.intake import ALERTMANAGER, Alert, cause_of, read_alertmanager, read_signal
from stage4.incidents.progress import audited, first_time
from stage4.incidents.rows import Told, instant, micros
from stage4.incidents.steps.rule import AuditVerdict, verdict_of_document

LIVE = (State.TRIGGERED, State.ACKNOWLEDGED, State.RESOLVED)
COMPLIANCE_SCHEMA = "stage4.audit/1"
QUARANTINE_BODY = 1 << 20
QUARANTINE_TOLD = "quarantine_told"
QUARANTINE_PAUSE = timedelta(minutes=5)
"""A sender that cannot be understood is one warning, not one for each delivery."""
OVERTAKEN = timedelta(seconds=2)
"""How long after an end Alertmanager's earlier word may still be on its way; a renewal comes later."""


@dataclass(frozen=True, slots=True)
class Received:
    """What a delivery led to: the incidents it concerns, how many alerts were new, and whether it was unreadable."""

    incidents: tuple[str, ...] = ()
    new: int = 0
    duplicates: int = 0
    quarantined: str | None = None


@dataclass(frozen=True, slots=True)
class Arrivals:
    """The intake of the engine. Raises Unavailable when nothing could be stored, so that the sender tries again."""

    core: Core
    playbook_digest: str
    scheduler: str = ""

    def alertmanager(self, body: bytes) -> Received:
        """A webhook delivery. A body that cannot be read is kept aside and acknowledged with a warning."""
        try:
            delivered = read_alertmanager(body)
        except UsageError as e:
            return self._quarantine("alertmanager", e, body)
        received = self._take(delivered.alerts)
        if not delivered.unread:
            return received
        return replace(received, quarantined=self._quarantine("alertmanager", delivered.unread[0], body).quarantined)

    def signal(self, body: bytes) -> Received:
        """A direct signal, as `alertmanager`."""
        try:
            alert = read_signal(body)
        except UsageError as e:
            return self._quarantine("signal", e, body)
        return self._take((alert,))

    def report(
        self, kind: Kind, title: str, by: str, *, reported_at: datetime | None, ticket: str | None, scheduler: str
    ) -> Incident:
        """A person's own report, of the only scheduler where none is named. It joins the open incident of its cause.

        In a new incident the state of the alert is unknown, so the clock runs.
        """
        with self.core.change() as unit:
            cause = cause_of(kind, scheduler or self.scheduler, None)
            alert = Alert(
                fingerprint=f"report-{ids.short_id()}",
                starts_at=min(reported_at or unit.now, unit.now),
                firing=False,
                name=title,
                kind=kind,
                source="report",
                severity="critical",
                cause=cause,
                ticket=ticket,
            )
            known = unit.tx.incidents(states=LIVE, cause=cause)
            if not known:
                return self._open(unit, alert, AlertState.UNKNOWN, by)
            change = lifecycle.reported(known[0], alert, by, unit.now, self.core.rules, unit.duties)
            return unit.apply(change)

    def audit(self, document: Mapping[str, object], by: str | None, incident_id: str | None) -> Incident | None:
        """An audit that anybody ran. A fail calls L2 and the Incident Manager, and opens an incident where none is.

        A what-if report (judged as of another instant) says nothing about now: it neither calls nor clears.
        """
        if document.get("what_if") is True:
            return None
        verdict, _ = verdict_of_document(document)
        with self.core.change(act_first=verdict.failing) as unit:
            if not first_time(unit, document):
                return None
            incident = unit.incident(incident_id) if incident_id else _concerned(unit)
            if incident is None and not verdict.failing:
                return None
            if incident is not None and not verdict.failing and not _clears(incident, document):
                return incident
            if incident is None:
                incident = self._open(unit, _audit_alert(unit.now, verdict), AlertState.UNKNOWN, by)
            rules = self.core.rules
            return unit.apply(audited(incident, verdict, unit, rules))

    def _take(self, alerts: Sequence[Alert]) -> Received:
        concerned: dict[str, None] = {}
        new = 0
        with self.core.change() as unit:
            for alert in alerts:
                if alert.heartbeat:
                    continue
                told = unit.tx.alert(alert.fingerprint, alert.starts_at)
                if told is not None and _is_known(alert, told, unit.now) and not _outlived(unit, alert, told):
                    if told.incident_id:
                        concerned[told.incident_id] = None
                    continue
                new += 1
                touched = self._fired(unit, alert) if alert.firing else self._ended(unit, alert, told)
                concerned |= dict.fromkeys(touched)
        return Received(tuple(concerned), new, len(alerts) - new)

    def _fired(self, unit: Unit, alert: Alert) -> tuple[str, ...]:
        if alert.l1_only:
            unit.tx.put_alert(alert, None, unit.now)
            unit.warn_l1(alert)
            return ()
        rules = self.core.rules
        known = unit.tx.incidents(states=LIVE, cause=alert.cause)
        if not known:
            incident = self._open(unit, alert, AlertState.FIRING, None)
        else:
            incident = known[0]
            unit.tx.put_alert(alert, incident.id, unit.now)
            change = lifecycle.alert_fired(incident, alert, unit.now, rules, unit.duties)
            if change != (incident, []):
                unit.apply(change)
        return (incident.id,)

    def _ended(self, unit: Unit, alert: Alert, told: Told | None) -> tuple[str, ...]:
        """The alert is over under every start before its end; what began later is another firing."""
        ended_at = max(alert.ends_at or unit.now, alert.starts_at)
        over = [each for each in unit.tx.standing(alert.fingerprint) if each.alert.starts_at <= ended_at]
        touched = dict.fromkeys(each.incident_id for each in over if each.incident_id)
        unit.tx.put_alert(alert, told.incident_id if told else next(iter(touched), None), unit.now)
        for each in over:
            unit.tx.put_alert(replace(alert, starts_at=each.alert.starts_at), each.incident_id, unit.now)
        for incident_id in touched:
            incident = unit.tx.incident(incident_id)
            if incident is not None and incident.open and unit.tx.firing(incident.id) == 0:
                change = lifecycle.alerts_cleared(incident, unit.now)
                if change != (incident, []):
                    unit.apply(change)
        return tuple(touched)

    def _open(self, unit: Unit, alert: Alert, state: AlertState, by: str | None) -> Incident:
        day = unit.now.date()
        number = unit.tx.next_number(f"incidents:{day.isoformat()}")
        incident_id = ids.incident_id(day, number)
        closed = unit.tx.incidents(states=(State.CLOSED,), cause=alert.cause, limit=1)
        unit.tx.put_alert(alert, incident_id, unit.now)
        change = lifecycle.opened(
            incident_id,
            alert,
            unit.now,
            self.core.rules,
            unit.duties,
            playbook_digest=self.playbook_digest,
            alert_state=state,
            by=by,
            linked=closed[0].id if closed else None,
        )
        return unit.apply(change)

    def _quarantine(self, source: str, error: UsageError, body: bytes) -> Received:
        with self.core.change() as unit:
            unit.tx.put_quarantine(unit.now, source, str(error), body[:QUARANTINE_BODY])
            told = unit.tx.fact(QUARANTINE_TOLD)
            if not told or unit.now - instant(told) >= QUARANTINE_PAUSE:
                unit.tx.set_fact(QUARANTINE_TOLD, micros(unit.now))
                unit.warn_unread(source, str(error))
        return Received(quarantined=str(error))


def _is_known(alert: Alert, told: Told, now: datetime) -> bool:
    """Whether a delivery says nothing that was not said under its start, or was overtaken by the end of it."""
    if told.alert.firing:
        return alert.firing
    if told.alert.source != alert.source:
        return False
    # Alertmanager speaks for several senders: what one of them ended, another may renew under the same start. A path
    # with one sender ends a start once.
    renewed = alert.firing and alert.source == ALERTMANAGER and now - told.received_at >= OVERTAKEN
    return not renewed


def _outlived(unit: Unit, alert: Alert, told: Told) -> bool:
    """Whether the alert still fires although the incident it belongs to has been closed: then a linked one opens."""
    incident = unit.tx.incident(told.incident_id) if told.incident_id else None
    return alert.firing and incident is not None and incident.state is State.CLOSED


def _concerned(unit: Unit) -> Incident | None:
    """The incident an audit of the whole installation belongs to: one an audit failed in before, else the newest."""
    live = unit.tx.incidents(states=LIVE)
    failed = [incident for incident in live if Condition.AUDIT_FAIL in incident.conditions]
    return next(iter(failed or live), None)


def _clears(incident: Incident, document: Mapping[str, object]) -> bool:
    """Whether a passing report is a later compliance audit; an old one, or another sort, clears no fail."""
    if document.get("schema") != COMPLIANCE_SCHEMA:
        return False
    checked_at = document.get("checked_at")
    if incident.audit_failed_at is None or not isinstance(checked_at, str):
        return True
    # Reports are written to the second.
    return parse_instant(checked_at) >= incident.audit_failed_at.replace(microsecond=0)


def _audit_alert(now: datetime, verdict: AuditVerdict) -> Alert:
    return Alert(
        fingerprint=f"audit-{ids.short_id()}",
        starts_at=now,
        firing=False,
        name=f"audit {verdict.value.replace('_', ' ')}",
        kind=Kind.RISK,
        source="audit",
        severity="critical",
        cause="risk|audit",
    )
