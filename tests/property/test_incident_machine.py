"""Whatever people, alerts and time do: timers are never early, and an open incident always has somebody or a timer."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from stage4.errors import Refused
from stage4.incidents import escalation, lifecycle
from stage4.incidents.effects import Arm, Disarm, Duties, Effect, Page, Recorded, TimerKind
from stage4.incidents.escalation import Rules
from stage4.incidents.incident import Condition, Incident, Kind, State, Tier
from stage4.incidents.intake import Alert, cause_of
from support.world import World

START = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
RULES = Rules()
PEOPLE = {"l1": "anna", "l2": "marek", "l2_deputy": "ewa", "incident_manager": "jan"}


def alert_of(kind: Kind, starts_at: datetime, condition: Condition | None = None) -> Alert:
    cause = cause_of(kind, "core", condition)
    return Alert("f1", starts_at, True, "Stage4X", kind, "alertmanager", "critical", cause, condition)


class IncidentMachine(RuleBasedStateMachine):
    """One incident, its timers as instants, and a clock that only goes forward."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.timers: dict[TimerKind, datetime] = {}
        self.on_duty: dict[str, str | None] = dict(PEOPLE)
        self.incident: Incident
        self.pages: list[tuple[datetime, Page]] = []
        self.l2_called_at: datetime | None = None
        self.confirmed_l2 = False

    @property
    def duties(self) -> Duties:
        return Duties(self.on_duty, "bridge")  # type: ignore[arg-type]

    def apply(self, change: tuple[Incident, Sequence[Effect]]) -> None:
        self.incident, effects = change
        for effect in effects:
            match effect:
                case Arm(kind, after):
                    assert after >= timedelta(0)
                    self.timers[kind] = self.now + after
                case Disarm(kind):
                    self.timers.pop(kind, None)
                case Page():
                    self.pages.append((self.now, effect))
                case Recorded(kind="l2_called"):
                    self.l2_called_at = self.now
                case _:
                    pass

    def tell(self, change: tuple[Incident, Sequence[Effect]] | None) -> None:
        if change is not None:
            self.apply(change)

    @initialize(
        kind=st.sampled_from(list(Kind)),
        age=st.integers(0, 900),
        l1=st.booleans(),
        condition=st.sampled_from([None, Condition.LOSS, Condition.NO_SIGNALS]),
    )
    def open(self, kind: Kind, age: int, l1: bool, condition: Condition | None) -> None:
        if not l1:
            self.on_duty["l1"] = None
        alert = alert_of(kind, self.now - timedelta(seconds=age), condition)
        self.apply(lifecycle.opened("INC-20261123-0001", alert, self.now, RULES, self.duties, playbook_digest="0" * 64))

    @rule(seconds=st.integers(1, 400))
    def time_goes_by(self, seconds: int) -> None:
        until = self.now + timedelta(seconds=seconds)
        while due := sorted((at, kind) for kind, at in self.timers.items() if at <= until):
            at, kind = due[0]
            self.now = max(self.now, at)
            del self.timers[kind]
            self.apply(escalation.on_timer(self.incident, kind, self.now, RULES, self.duties))
        self.now = until

    @rule(by=st.sampled_from(["anna", "marek", "jan"]))
    def somebody_acknowledges(self, by: str) -> None:
        self._try(lambda: lifecycle.acknowledged(self.incident, by, self.now, RULES))

    @rule(role=st.sampled_from(["l1", "l2", "incident_manager"]))
    def somebody_confirms(self, role: str) -> None:
        pending = self.incident.pending(Tier.L2)
        self._try(lambda: escalation.confirm(self.incident, role, frozenset({role}), self.now, RULES))
        if pending and role != "l2":
            assert self.incident.pending(Tier.L2), "only L2's own act confirms"

    @rule()
    def the_alert_clears(self) -> None:
        if self.incident.open:
            self.apply(lifecycle.alerts_cleared(self.incident, self.now))

    @precondition(lambda self: self.incident.state is not State.CLOSED)
    @rule(age=st.integers(0, 60))
    def the_alert_fires_again(self, age: int) -> None:
        alert = alert_of(self.incident.kind, self.now - timedelta(seconds=age))
        self.apply(lifecycle.alert_fired(self.incident, alert, self.now, RULES, self.duties))

    @precondition(lambda self: self.incident.open)
    @rule()
    def an_audit_fails(self) -> None:
        self.apply(escalation.audit_failed(self.incident, self.now, RULES, self.duties))
        assert self.incident.call(Tier.L2)
        assert self.incident.call(Tier.INCIDENT_MANAGER)

    @rule(rung=st.sampled_from(list(PEOPLE)), there=st.booleans())
    def a_shift_changes(self, rung: str, there: bool) -> None:
        self.on_duty[rung] = PEOPLE[rung] if there else None

    @rule()
    def somebody_resolves(self) -> None:
        self._try(lambda: lifecycle.resolved(self.incident, "anna", frozenset({"l2"}), self.now))

    @rule()
    def the_manager_closes(self) -> None:
        self._try(lambda: lifecycle.closed(self.incident, "jan", self.now))

    @invariant()
    def an_open_incident_has_somebody_or_a_timer(self) -> None:
        if hasattr(self, "incident") and self.incident.open:
            assert self.incident.owner is not None or self.timers
            assert self.timers, "even an owner is reminded"

    @invariant()
    def what_is_over_is_quiet(self) -> None:
        if hasattr(self, "incident") and not self.incident.open:
            assert not self.timers

    @invariant()
    def a_pending_call_is_always_repeated(self) -> None:
        if hasattr(self, "incident") and self.incident.open:
            if self.incident.pending(Tier.L2):
                assert TimerKind.L2_REPEAT in self.timers
            if self.incident.pending(Tier.INCIDENT_MANAGER):
                assert TimerKind.MANAGER_REPEAT in self.timers

    @invariant()
    def the_clock_is_never_early(self) -> None:
        if hasattr(self, "incident"):
            for at, page in self.pages:
                if page.code == "notice.l2_called_lasts":
                    assert at >= self.incident.onset + RULES.escalate_after

    @invariant()
    def a_firing_alert_is_with_l2_after_five_minutes(self) -> None:
        if hasattr(self, "incident") and self.incident.clock_runs and not self.incident.l2_called:
            assert self.now < self.incident.clock_from + RULES.escalate_after or (
                self.timers[TimerKind.ESCALATE] <= self.now
            )

    def _try(self, change: object) -> None:
        try:
            self.apply(change())  # type: ignore[operator]
        except Refused:
            return


IncidentMachine.TestCase.settings = settings(
    max_examples=80, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestIncidentMachine = IncidentMachine.TestCase

deliveries = st.lists(st.tuples(st.integers(1, 3), st.booleans(), st.integers(0, 2)), min_size=1, max_size=8)


@settings(max_examples=8, deadline=None)
@given(story=deliveries, repeats=st.lists(st.integers(0, 7), max_size=8))
def test_a_delivery_that_is_repeated_changes_nothing(story: list[tuple[int, bool, int]], repeats: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        w = World(Path(folder))

        def deliver(number: int, firing: bool, age: int) -> None:
            w.engine.receive_alertmanager(
                w.webhook(
                    "latency",
                    name="Stage4X",
                    fingerprint=f"f{number}",
                    firing=firing,
                    starts_at=START - timedelta(seconds=age),
                    scheduler="core",
                )
            )

        for each in story:
            deliver(*each)
        before = [w.engine.view(incident.id).document() for incident in w.engine.list()]
        entries = len(w.log.entries())
        # A repeat of the last word about each alert, and of any that an end has overtaken.
        last = {(number, age): (number, firing, age) for number, firing, age in story}
        for place in repeats:
            deliver(*last[story[place % len(story)][0], story[place % len(story)][2]])
        assert [w.engine.view(incident.id).document() for incident in w.engine.list()] == before
        assert len(w.log.entries()) == entries
        for store in w._stores:
            store.dispose()
