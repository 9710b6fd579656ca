"""From the first alert to the closed incident: who may change what, as pure rules.

The onset is the earliest of the alert's start, its receipt and L1's own report. A gap under five minutes does not
reset the clock; a re-fire joins the open incident; `resolved` may re-open, `closed` never does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from stage4.errors import Refused
from stage4.incidents.effects import Arm, Disarm, Duties, Effect, Post, Recorded, TimerKind
from stage4.incidents.escalation import Change, Rules, call_l1, call_l2, call_manager, confirmed_before, owned
from stage4.incidents.incident import AlertState, Condition, Incident, Kind, Reason, State, Tier
from stage4.incidents.intake import Alert

CONDITION_REASONS = {Condition.NO_SIGNALS: Reason.NO_SIGNALS, Condition.LOSS: Reason.LOSS}
ZERO = timedelta()


def opened(
    incident_id: str,
    alert: Alert,
    now: datetime,
    rules: Rules,
    duties: Duties,
    *,
    playbook_digest: str,
    alert_state: AlertState = AlertState.FIRING,
    by: str | None = None,
    linked: str | None = None,
) -> Change:
    """A new incident from its first alert (a person's report and a failed audit are alerts too)."""
    onset = min(alert.starts_at, now)
    incident = Incident(
        id=incident_id,
        kind=alert.kind,
        source=alert.source,
        cause=alert.cause,
        severity=alert.severity,
        title=alert.name,
        ticket=alert.ticket or incident_id,
        onset=onset,
        opened_at=now,
        clock_from=onset,
        playbook_digest=playbook_digest,
        alert_state=alert_state,
        linked=linked,
    )
    effects: list[Effect] = [
        Recorded("incident_opened", "triggered", by, {"kind": alert.kind.value, "source": alert.source}),
        Post("notice.incident_opened", {"kind": alert.kind.value, "title": alert.name}),
    ]
    incident, called = call_l1(incident, "notice.l1_called", now, rules, duties)
    effects += called
    if not incident.l2_called:
        effects.append(Arm(TimerKind.ESCALATE, _left(onset + rules.escalate_after, now)))
    if incident.kind is Kind.NO_SIGNALS:
        effects.append(Arm(TimerKind.NO_SIGNALS, _left(onset + rules.no_signals_after, now)))
    incident, more = _conditions(incident, alert, now, rules, duties)
    return incident, effects + more


def alert_fired(incident: Incident, alert: Alert, now: datetime, rules: Rules, duties: Duties) -> Change:
    """An alert of the same cause joins. Only the first of a storm, and a re-fire, change anything."""
    effects: list[Effect] = []
    started = min(alert.starts_at, now)
    sooner = started < incident.onset
    if sooner:
        incident = replace(incident, onset=started, clock_from=min(started, incident.clock_from))
    if incident.state is State.RESOLVED:
        incident, effects = reopened(incident, None, now, rules, duties, fired_at=started)
    elif incident.alert_state is not AlertState.FIRING:
        incident = replace(_after_gap(incident, started, rules), alert_state=AlertState.FIRING, cleared_at=None)
        effects = [Recorded("alert_fired_again", "firing", params={"alert": alert.name}), *_clock(incident, now, rules)]
    elif sooner:
        effects += _clock(incident, now, rules)
    incident, more = _conditions(incident, alert, now, rules, duties)
    return incident, effects + more


def reported(incident: Incident, alert: Alert, by: str, now: datetime, rules: Rules, duties: Duties) -> Change:
    """A person reports what is known already: the onset is the earliest of all, and what was quiet counts again."""
    started = min(alert.starts_at, now)
    effects: list[Effect] = [Recorded("problem_reported", "reported", by, {"text": alert.name})]
    if started < incident.onset:
        incident = replace(incident, onset=started, clock_from=min(started, incident.clock_from))
    if incident.state is State.RESOLVED:
        incident, more = reopened(incident, by, now, rules, duties, fired_at=started)
        return incident, effects + more
    if incident.alert_state is AlertState.CLEARED:
        incident = replace(_after_gap(incident, started, rules), alert_state=AlertState.UNKNOWN, cleared_at=None)
    return incident, [*effects, *_clock(incident, now, rules)]


def alerts_cleared(incident: Incident, now: datetime) -> Change:
    """The last firing alert of the incident is over. A loss past its limit stays: a new day never resolves it."""
    if incident.alert_state is AlertState.CLEARED or Condition.LOSS in incident.conditions:
        return incident, []
    cleared = replace(incident, alert_state=AlertState.CLEARED, cleared_at=now)
    return cleared, [
        Recorded("alert_cleared", "cleared"),
        Disarm(TimerKind.ESCALATE),
        Disarm(TimerKind.NO_SIGNALS),
    ]


def acknowledged(incident: Incident, by: str, now: datetime, rules: Rules) -> Change:
    """Somebody takes it. The five-minute clock goes on."""
    _must_be_open(incident)
    incident, effects = owned(incident, by, now, rules)
    return incident, [
        Recorded("incident_acknowledged", "acknowledged", by),
        Post("notice.acknowledged", {"person": by}),
        *effects,
    ]


def touched(incident: Incident, by: str, now: datetime, rules: Rules) -> Change:
    """An act of the owner renews the acknowledgement."""
    if not incident.open or incident.owner != by:
        return incident, []
    return owned(incident, by, now, rules)


def resolved(incident: Incident, by: str, roles: frozenset[str], now: datetime) -> Change:
    """The problem is over; what remains is evidence and signatures. A call that nobody confirmed holds it open.

    While an alert fires, L1 cannot end the five-minute clock by calling the problem over.
    """
    _must_be_open(incident)
    for tier in (Tier.L2, Tier.INCIDENT_MANAGER):
        if incident.pending(tier):
            raise Refused("incident.call_pending", incident=incident.id, tier=tier.value)
    if incident.owner is None:
        raise Refused("incident.not_acknowledged", incident=incident.id)
    if incident.alert_state is AlertState.FIRING and not roles & {"l2", "incident_manager"}:
        raise Refused("incident.still_firing", incident=incident.id)
    incident = replace(incident, state=State.RESOLVED, resolved_at=now)
    alert_state = incident.alert_state.value
    return incident, [
        Recorded("incident_resolved", "resolved", by, {"alert_state": alert_state}),
        Post("notice.resolved", {"person": by}),
        *(Disarm(kind) for kind in TimerKind),
    ]


def reopened(
    incident: Incident,
    by: str | None,
    now: datetime,
    rules: Rules,
    duties: Duties,
    *,
    fired_at: datetime | None = None,
) -> Change:
    """Back to work: the clock and the calls start as they would for a new alert.

    `fired_at` is when the alert behind it began again; without one, nothing is known of an alert, and the clock runs.
    """
    if incident.state is State.CLOSED:
        raise Refused("incident.closed", incident=incident.id)
    if incident.open:
        raise Refused("incident.already_open", incident=incident.id)
    known = AlertState.UNKNOWN if incident.alert_state is AlertState.CLEARED else incident.alert_state
    incident = replace(
        _after_gap(incident, fired_at or now, rules),
        state=State.TRIGGERED,
        alert_state=AlertState.FIRING if fired_at else known,
        cleared_at=None,
        owner=None,
        resolved_at=None,
        reopened_at=now,
    )
    reopening: list[Effect] = [Recorded("incident_reopened", "triggered", by)]
    incident, effects = call_l1(incident, "notice.reopened", now, rules, duties)
    effects += _clock(incident, now, rules)
    if incident.l2_confirmed:
        incident, more = call_l2(incident, Reason.LAPSED, now, rules, duties)
        effects += more
    return incident, reopening + effects


def closed(incident: Incident, by: str, now: datetime) -> Change:
    """Terminal. Whether the evidence is there has been judged by `closing` before."""
    if incident.state is not State.RESOLVED:
        raise Refused("incident.not_resolved", incident=incident.id)
    return replace(incident, state=State.CLOSED, closed_at=now), [
        Recorded("incident_closed", "closed", by),
        Post("notice.closed", {"person": by}),
        *(Disarm(kind) for kind in TimerKind),
    ]


def _conditions(incident: Incident, alert: Alert, now: datetime, rules: Rules, duties: Duties) -> Change:
    if alert.condition is None:
        return incident, []
    return call_manager(incident, CONDITION_REASONS[alert.condition], alert.condition, now, rules, duties)


def _after_gap(incident: Incident, began: datetime, rules: Rules) -> Incident:
    """The clock starts anew only when it had been quiet for five minutes as the trouble began again."""
    quiet_since = incident.cleared_at or incident.resolved_at
    if quiet_since is None or began - quiet_since < rules.escalate_after:
        return incident
    return replace(incident, clock_from=began)


def _clock(incident: Incident, now: datetime, rules: Rules) -> Sequence[Effect]:
    effects: list[Effect] = []
    if not incident.clock_runs:
        return effects
    if not incident.l2_called:
        effects.append(Arm(TimerKind.ESCALATE, _left(incident.clock_from + rules.escalate_after, now)))
    called = Condition.NO_SIGNALS in incident.conditions and not confirmed_before(incident, Condition.NO_SIGNALS)
    if incident.kind is Kind.NO_SIGNALS and not called:
        effects.append(Arm(TimerKind.NO_SIGNALS, _left(incident.clock_from + rules.no_signals_after, now)))
    return effects


def _left(due: datetime, now: datetime) -> timedelta:
    return max(ZERO, due - now)


def _must_be_open(incident: Incident) -> None:
    if incident.state is State.CLOSED:
        raise Refused("incident.closed", incident=incident.id)
    if not incident.open:
        raise Refused("incident.not_open", incident=incident.id)
