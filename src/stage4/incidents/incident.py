"""The incident: its facts, its states and how they change.

Everything here is pure. A change takes the incident and the instant, and returns the new incident with the effects that
must happen in the same transaction (see `effects`). Who is called when stands in `escalation`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

Scalar: TypeAlias = str | int | bool | None


class State(StrEnum):
    """How far the incident is; tier, owner and deadline are separate from it."""

    TRIGGERED = "triggered"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"
    CLOSED = "closed"


class Tier(StrEnum):
    """The highest tier that has been called."""

    L1 = "l1"
    L2 = "l2"
    INCIDENT_MANAGER = "incident_manager"


TIER_ORDER = (Tier.L1, Tier.L2, Tier.INCIDENT_MANAGER)


class Kind(StrEnum):
    PNL = "pnl"
    RISK = "risk"
    LATENCY = "latency"
    NO_SIGNALS = "no_signals"


class AlertState(StrEnum):
    """What is known of the alerts behind the incident. Unknown counts as firing for the clock."""

    FIRING = "firing"
    CLEARED = "cleared"
    UNKNOWN = "unknown"


class Condition(StrEnum):
    """Facts that call the Incident Manager by themselves."""

    NO_SIGNALS = "no_signals"
    LOSS = "loss"
    AUDIT_FAIL = "audit_fail"
    L2_UNCONFIRMED = "l2_unconfirmed"


class Reason(StrEnum):
    """Why a tier is called."""

    LASTS = "lasts"
    AUDIT_FAIL = "audit_fail"
    PANELS = "panels"
    PERSON = "person"
    NOBODY_ON_DUTY = "nobody_on_duty"
    LAPSED = "lapsed"
    NO_SIGNALS = "no_signals"
    LOSS = "loss"
    L2_UNCONFIRMED = "l2_unconfirmed"


class StepState(StrEnum):
    NOT_STARTED = "not_started"
    RUNNING = "running"
    WAITING = "waiting"
    ACCEPTED = "accepted"
    NOT_ACCEPTED = "not_accepted"
    ESCALATED = "escalated"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a person answered to a step's question, with name and time."""

    choice: str
    text: str
    by: str
    at: datetime


@dataclass(frozen=True, slots=True)
class StepRecord:
    """What one step of the checklist has come to. `facts` keep what a later answer is judged with."""

    state: StepState = StepState.NOT_STARTED
    attempt: int = 0
    started_at: datetime | None = None
    ended_at: datetime | None = None
    outcome: str | None = None
    params: Mapping[str, Scalar] = field(default_factory=dict)
    facts: Mapping[str, Scalar] = field(default_factory=dict)
    answer: Answer | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One climb: a tier is called until one of its own people confirms."""

    tier: Tier
    reason: Reason
    started_at: datetime
    deputy_called: bool = False
    confirmed_at: datetime | None = None
    confirmed_by: str | None = None

    @property
    def pending(self) -> bool:
        return self.confirmed_at is None


@dataclass(frozen=True, slots=True)
class Stop:
    """A stop of the scheduler that this incident asked for, and what the scheduler answered."""

    digest: str
    requested_by: str
    requested_at: datetime
    confirmed_at: datetime | None = None
    enabled_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class NotApplicable:
    """The Incident Manager's reason why the L2 items do not apply; his signature covers it."""

    reason: str
    by: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Incident:
    """One thing people work on. `onset` starts the clock; `clock_from` moves only after a gap of five minutes."""

    id: str
    kind: Kind
    source: str
    cause: str
    severity: str
    title: str
    ticket: str
    onset: datetime
    opened_at: datetime
    clock_from: datetime
    playbook_digest: str
    state: State = State.TRIGGERED
    tier: Tier = Tier.L1
    owner: str | None = None
    alert_state: AlertState = AlertState.FIRING
    cleared_at: datetime | None = None
    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None
    last_act_at: datetime | None = None
    resolved_at: datetime | None = None
    reopened_at: datetime | None = None
    closed_at: datetime | None = None
    conditions: tuple[Condition, ...] = ()
    calls: tuple[Call, ...] = ()
    steps: Mapping[str, StepRecord] = field(default_factory=dict)
    audit_failed_at: datetime | None = None
    audit_clean_at: datetime | None = None
    stop: Stop | None = None
    not_applicable: NotApplicable | None = None
    linked: str | None = None
    revision: int = 0
    notices: int = 0

    @property
    def open(self) -> bool:
        """Somebody still has to work on it."""
        return self.state in (State.TRIGGERED, State.ACKNOWLEDGED)

    @property
    def clock_runs(self) -> bool:
        """The five-minute clock runs while the alert fires or its state is unknown, acknowledged or not."""
        return self.open and self.alert_state is not AlertState.CLEARED

    def call(self, tier: Tier) -> Call | None:
        """The newest call of `tier`."""
        return next((call for call in reversed(self.calls) if call.tier is tier), None)

    def pending(self, tier: Tier) -> Call | None:
        call = self.call(tier)
        return call if call is not None and call.pending else None

    @property
    def l2_called(self) -> bool:
        return self.call(Tier.L2) is not None

    @property
    def l2_confirmed(self) -> bool:
        return any(call.tier is Tier.L2 and not call.pending for call in self.calls)

    def step(self, step_id: str) -> StepRecord:
        return self.steps.get(step_id, StepRecord())

    def with_step(self, step_id: str, record: StepRecord) -> Incident:
        return replace(self, steps={**self.steps, step_id: record})

    def raised_to(self, tier: Tier) -> Incident:
        """The tier never goes down while the incident lives."""
        return replace(self, tier=max(self.tier, tier, key=TIER_ORDER.index))

    def with_call(self, call: Call) -> Incident:
        return replace(self, calls=(*self.calls, call)).raised_to(call.tier)

    def with_newest_call(self, call: Call) -> Incident:
        """Replaces the newest call of the same tier."""
        index = max(place for place, known in enumerate(self.calls) if known.tier is call.tier)
        return replace(self, calls=(*self.calls[:index], call, *self.calls[index + 1 :]))

    def with_condition(self, condition: Condition) -> Incident:
        if condition in self.conditions:
            return self
        return replace(self, conditions=(*self.conditions, condition))
