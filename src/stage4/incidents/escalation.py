"""Who is called, when, and what makes it stop: the ladder of the playbook as pure rules.

Calling L2: the primary at once and every two minutes, the deputy too at five, the Incident Manager with the bridge at
ten. Nothing but an act of L2 itself ends it. Where nobody is on duty the next rung is called at once, with a warning.
Escalation fails open: called twice is better than never.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import TypeAlias

from stage4.errors import Refused
from stage4.incidents.effects import Arm, Disarm, Duties, Effect, Page, Post, Recorded, Rung, TimerKind
from stage4.incidents.incident import (
    Call,
    Condition,
    Incident,
    Reason,
    Scalar,
    State,
    StepRecord,
    StepState,
    Tier,
)

RUNG_OF: dict[Tier, Rung] = {Tier.L1: "l1", Tier.L2: "l2", Tier.INCIDENT_MANAGER: "incident_manager"}
L2_TIMERS = (TimerKind.L2_REPEAT, TimerKind.L2_DEPUTY, TimerKind.L2_MANAGER)


@dataclass(frozen=True, slots=True)
class Rules:
    """The durations of the playbook."""

    escalate_after: timedelta = timedelta(minutes=5)
    primary_repeat: timedelta = timedelta(minutes=2)
    deputy_after: timedelta = timedelta(minutes=5)
    incident_manager_after: timedelta = timedelta(minutes=10)
    ack_reminder: timedelta = timedelta(minutes=10)
    ack_lapse: timedelta = timedelta(minutes=15)
    no_signals_after: timedelta = timedelta(minutes=15)

    def scaled(self, factor: float) -> Rules:
        """The same ladder in a shorter time, for demo and drill."""
        return Rules(**{each.name: getattr(self, each.name) * factor for each in fields(self)})


Change: TypeAlias = tuple[Incident, list[Effect]]


def call_l2(incident: Incident, reason: Reason, now: datetime, rules: Rules, duties: Duties) -> Change:
    """Starts to call L2. A call that is pending goes on as it is; a confirmed L2 is only told."""
    if incident.pending(Tier.L2):
        return incident, []
    if incident.l2_confirmed and reason is not Reason.LAPSED:
        person = duties.on("l2")
        return incident, [_page("l2", person, f"notice.l2_told_{reason}", incident)] if person else []
    incident = incident.with_call(Call(Tier.L2, reason, now))
    if not incident.l2_confirmed:
        incident = incident.with_step("L1.5", StepRecord(StepState.RUNNING, 1, now, outcome="step.l2_called"))
    effects: list[Effect] = [
        Recorded("l2_called", "called", params={"reason": reason.value}),
        Post(f"notice.l2_called_{reason}", _facts(incident), urgent=True),
        Arm(TimerKind.L2_REPEAT, rules.primary_repeat),
        Arm(TimerKind.L2_DEPUTY, rules.deputy_after),
        Arm(TimerKind.L2_MANAGER, rules.incident_manager_after),
        Disarm(TimerKind.ESCALATE),
    ]
    return _then(_call_primary(incident, now, rules, duties), before=effects)


def call_manager(
    incident: Incident, reason: Reason, condition: Condition | None, now: datetime, rules: Rules, duties: Duties
) -> Change:
    """Starts to call the Incident Manager; he is called again until he confirms himself.

    A condition that lasts calls him once. What he confirmed before the trouble came back confirms nothing now.
    """
    known = condition is not None and condition in incident.conditions
    past = confirmed_before(incident, condition)
    if known and not past and reason is not Reason.AUDIT_FAIL and incident.call(Tier.INCIDENT_MANAGER):
        return incident, []
    if condition is not None:
        incident = incident.with_condition(condition)
    if past or incident.call(Tier.INCIDENT_MANAGER) is None:
        incident = incident.with_call(Call(Tier.INCIDENT_MANAGER, reason, now))
    effects: list[Effect] = [Recorded("incident_manager_called", "called", params={"reason": reason.value})]
    if incident.pending(Tier.INCIDENT_MANAGER):
        effects.append(Arm(TimerKind.MANAGER_REPEAT, rules.primary_repeat))
    return incident, effects + _page_manager(incident, reason, duties)


def confirmed_before(incident: Incident, condition: Condition | None) -> bool:
    """Whether the Incident Manager's confirmation belongs to trouble that was over, or to an earlier call of L2."""
    call = incident.call(Tier.INCIDENT_MANAGER)
    if call is None or call.pending:
        return False
    begun = max(incident.clock_from, incident.reopened_at or incident.clock_from)
    l2 = incident.call(Tier.L2)
    if condition is Condition.L2_UNCONFIRMED and l2 is not None:
        begun = l2.started_at
    return call.started_at < begun


def audit_failed(incident: Incident, now: datetime, rules: Rules, duties: Duties) -> Change:
    """An audit that says fail, or cannot tell, calls L2 and the Incident Manager together.

    Until an audit passes, further ones that fail are the same failure; after one that passed it is a new one.
    """
    failed, clean = incident.audit_failed_at, incident.audit_clean_at
    passed = failed is not None and clean is not None and failed < clean
    known = Condition.AUDIT_FAIL in incident.conditions and incident.l2_called and not passed
    incident = replace(incident, audit_failed_at=now)
    if known and not confirmed_before(incident, Condition.AUDIT_FAIL):
        return incident, []
    incident, effects = call_l2(incident, Reason.AUDIT_FAIL, now, rules, duties)
    return _then(call_manager(incident, Reason.AUDIT_FAIL, Condition.AUDIT_FAIL, now, rules, duties), before=effects)


def confirm(incident: Incident, by: str, roles: frozenset[str], now: datetime, rules: Rules) -> Change:
    """A person of the called tier confirms by an act of their own; Refused when it is not theirs to confirm."""
    effects: list[Effect] = []
    for tier, timers in ((Tier.L2, L2_TIMERS), (Tier.INCIDENT_MANAGER, (TimerKind.MANAGER_REPEAT,))):
        call = incident.pending(tier)
        if call is None or tier.value not in roles:
            continue
        incident = incident.with_newest_call(replace(call, confirmed_at=now, confirmed_by=by))
        if tier is Tier.L2 and incident.step("L1.5").state is StepState.RUNNING:
            accepted = replace(
                incident.step("L1.5"),
                state=StepState.ACCEPTED,
                ended_at=now,
                outcome="step.l2_confirmed",
                params={"person": by},
            )
            incident = incident.with_step("L1.5", accepted)
        effects += [Disarm(timer) for timer in timers]
        effects.append(Recorded("escalation_confirmed", "confirmed", by, {"tier": tier.value}))
        effects.append(Post("notice.escalation_confirmed", {"tier": tier.value, "person": by}))
    if not effects:
        raise Refused("escalation.nothing_to_confirm", incident=incident.id, person=by)
    incident, more = owned(incident, by, now, rules)
    return incident, effects + more


def owned(incident: Incident, by: str, now: datetime, rules: Rules) -> Change:
    """Somebody has it: acknowledged, reminded after ten minutes without an act, lapsing after fifteen."""
    incident = replace(
        incident,
        state=State.ACKNOWLEDGED,
        owner=by,
        acknowledged_at=incident.acknowledged_at or now,
        acknowledged_by=incident.acknowledged_by or by,
        last_act_at=now,
    )
    return incident, [
        Disarm(TimerKind.L1_REPEAT),
        Arm(TimerKind.ACK_REMINDER, rules.ack_reminder),
        Arm(TimerKind.ACK_LAPSE, rules.ack_lapse),
    ]


def call_l1(incident: Incident, code: str, now: datetime, rules: Rules, duties: Duties) -> Change:
    """Pages L1, and L2 at once where nobody is on duty in L1."""
    person = duties.on("l1")
    again = Arm(TimerKind.L1_REPEAT, rules.primary_repeat)
    if person is not None:
        return incident, [_page("l1", person, code, incident), again]
    warning: list[Effect] = [_nobody("l1"), again]
    return _then(call_l2(incident, Reason.NOBODY_ON_DUTY, now, rules, duties), before=warning)


def on_timer(incident: Incident, kind: TimerKind, now: datetime, rules: Rules, duties: Duties) -> Change:
    """What a due timer does. A timer that no longer applies does nothing."""
    if not incident.open:
        return incident, []
    match kind:
        case TimerKind.ESCALATE if incident.clock_runs and not incident.l2_called:
            return call_l2(incident, Reason.LASTS, now, rules, duties)
        case TimerKind.NO_SIGNALS if incident.clock_runs:
            return call_manager(incident, Reason.NO_SIGNALS, Condition.NO_SIGNALS, now, rules, duties)
        case TimerKind.L1_REPEAT if incident.owner is None:
            return call_l1(incident, "notice.l1_called_again", now, rules, duties)
        case TimerKind.L2_REPEAT if incident.pending(Tier.L2):
            again: list[Effect] = [
                Recorded("l2_called_again", "called"),
                Arm(TimerKind.L2_REPEAT, rules.primary_repeat),
            ]
            return _then(_call_primary(incident, now, rules, duties), before=again)
        case TimerKind.L2_DEPUTY if incident.pending(Tier.L2):
            return _call_deputy(incident, now, rules, duties)
        case TimerKind.L2_MANAGER if incident.pending(Tier.L2):
            return call_manager(incident, Reason.L2_UNCONFIRMED, Condition.L2_UNCONFIRMED, now, rules, duties)
        case TimerKind.MANAGER_REPEAT if call := incident.pending(Tier.INCIDENT_MANAGER):
            again = [
                Recorded("incident_manager_called_again", "called"),
                Arm(TimerKind.MANAGER_REPEAT, rules.primary_repeat),
            ]
            return incident, again + _page_manager(incident, call.reason, duties)
        case TimerKind.ACK_REMINDER if incident.owner is not None:
            return incident, [Page(_rung_of(incident, incident.owner), incident.owner, "notice.ack_reminder")]
        case TimerKind.ACK_LAPSE if incident.owner is not None:
            return _lapse(incident, now, rules, duties)
        case _:
            return incident, []


def _lapse(incident: Incident, now: datetime, rules: Rules, duties: Duties) -> Change:
    lapsed: list[Effect] = [Recorded("acknowledgement_lapsed", "lapsed", params={"person": incident.owner})]
    incident = replace(incident, state=State.TRIGGERED, owner=None, last_act_at=None)
    incident, effects = call_l1(incident, "notice.ack_lapsed", now, rules, duties)
    if incident.l2_confirmed:
        return _then(call_l2(incident, Reason.LAPSED, now, rules, duties), before=lapsed + effects)
    return incident, lapsed + effects


def _call_primary(incident: Incident, now: datetime, rules: Rules, duties: Duties) -> Change:
    call = incident.call(Tier.L2)
    assert call is not None
    person = duties.on("l2")
    if person is None:
        return _then(_call_deputy(incident, now, rules, duties), before=[_nobody("l2")])
    effects: list[Effect] = [_page("l2", person, f"notice.l2_called_{call.reason}", incident)]
    deputy = duties.on("l2_deputy")
    if call.deputy_called and deputy is not None:
        effects.append(_page("l2_deputy", deputy, f"notice.l2_called_{call.reason}", incident))
    return incident, effects


def _call_deputy(incident: Incident, now: datetime, rules: Rules, duties: Duties) -> Change:
    call = incident.call(Tier.L2)
    assert call is not None
    first = not call.deputy_called
    incident = incident.with_newest_call(replace(call, deputy_called=True))
    person = duties.on("l2_deputy")
    if person is None:
        manager = call_manager(incident, Reason.NOBODY_ON_DUTY, Condition.L2_UNCONFIRMED, now, rules, duties)
        return _then(manager, before=[_nobody("l2_deputy")])
    effects: list[Effect] = [_page("l2_deputy", person, f"notice.l2_called_{call.reason}", incident)]
    if first:
        effects.append(Recorded("l2_deputy_called", "called", params={"person": person}))
    return incident, effects


def hand_over_warnings(incident: Incident, number: int, duties: Duties) -> list[Effect]:
    """Takes an audit's warnings to L2, or the next rung that somebody is on, with an entry that says to whom."""
    facts: dict[str, Scalar] = {"n": number, "title": incident.title}
    effects: list[Effect] = []
    rungs: tuple[Rung, ...] = ("l2", "l2_deputy", "incident_manager")
    for rung in rungs:
        if person := duties.on(rung):
            handed = Recorded("warnings_handed_over", "handed", params={"n": number, "person": person, "rung": rung})
            return [*effects, Page(rung, person, "notice.audit_warnings", facts, urgent=False), handed]
        effects.append(_nobody(rung))
    return [*effects, Post("notice.audit_warnings", facts)]


def _page_manager(incident: Incident, reason: Reason, duties: Duties) -> list[Effect]:
    code, facts = f"notice.manager_called_{reason}", {**_facts(incident), "bridge": duties.bridge}
    post = Post(code, facts, urgent=True)
    person = duties.on("incident_manager")
    if person is None:
        return [_nobody("incident_manager"), post]
    return [Page("incident_manager", person, code, facts), post]


def _rung_of(incident: Incident, person: str) -> Rung:
    confirmed = (call.tier for call in reversed(incident.calls) if call.confirmed_by == person)
    return RUNG_OF[next(confirmed, Tier.L1)]


def _nobody(rung: Rung) -> Recorded:
    return Recorded("nobody_on_duty", "warning", params={"rung": rung})


def _page(rung: Rung, person: str, code: str, incident: Incident) -> Page:
    return Page(rung, person, code, _facts(incident))


def _facts(incident: Incident) -> dict[str, Scalar]:
    return {"kind": incident.kind.value, "title": incident.title}


def _then(change: Change, *, before: list[Effect]) -> Change:
    incident, effects = change
    return incident, before + effects
