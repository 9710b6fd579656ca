"""Trouble that comes back: who was called before is called again, and the clock knows what a gap is."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from stage4.incidents.incident import AlertState, State
from support.world import World

CALLS_THE_MANAGER = {"escalate": "incident_manager"}


def failed_audit(number: int) -> dict[str, object]:
    return {"schema": "stage4.audit/1", "status": "fail", "warnings": [], "by": f"night watch {number}"}


def passed_audit(number: int) -> dict[str, object]:
    return {"schema": "stage4.audit/1", "status": "ok", "warnings": [], "by": f"night watch {number}"}


def test_the_manager_is_called_again_when_l2_lets_a_second_call_pass(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        incident = w.opened()
        w.fast_forward(minutes=15)
        w.expect_notice("l2", times=6)
        w.expect_notice("l2_deputy", times=4)
        w.expect_notice("incident_manager", "manager_called_l2_unconfirmed")
        w.engine.confirm_escalation(incident, "im-jan")
        w.engine.confirm_escalation(incident, "l2-marek")
        w.inbox.received.clear()
        w.fast_forward(minutes=15)
        w.expect_notice("l2", "l2_called_lapsed")
        w.inbox.received.clear()
        w.fast_forward(minutes=10)
        w.expect_notice("incident_manager", "manager_called_l2_unconfirmed")
        w.fast_forward(minutes=2)
        w.expect_notice("incident_manager", "manager_called_l2_unconfirmed")
        w.inbox.received.clear()


def test_nobody_in_l2_at_a_second_call_is_the_managers_at_once(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        incident = w.opened("no_signals", **CALLS_THE_MANAGER)
        w.expect_notice("incident_manager", "manager_called_no_signals")
        w.engine.confirm_escalation(incident, "im-jan")
        w.duty.people["l2"] = w.duty.people["l2_deputy"] = None
        w.fast_forward(minutes=5)
        w.expect_notice("incident_manager", "manager_called_nobody_on_duty")
        w.engine.confirm_escalation(incident, "im-jan")
        w.fast_forward(minutes=4)
        w.expect_nobody_called()


def test_an_audit_that_fails_when_the_only_incident_is_resolved_opens_it_again_and_calls_both(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        incident = w.escalated()
        w.complete(incident)
        w.engine.record_audit_result(failed_audit(1))
        w.engine.tick()
        w.expect_notice("l1", "reopened")
        w.expect_notice("l2", "l2_called_lapsed")
        w.expect_notice("incident_manager", "manager_called_audit_fail")
        assert w.incident(incident).state is State.TRIGGERED


def test_an_audit_that_fails_after_one_that_passed_is_told_to_both_again(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        incident = w.escalated()
        w.engine.record_audit_result(failed_audit(1))
        w.engine.tick()
        w.expect_notice("l2", "l2_told_audit_fail")
        w.expect_notice("incident_manager", "manager_called_audit_fail")
        w.engine.confirm_escalation(incident, "im-jan")
        w.engine.record_audit_result(failed_audit(2))
        w.engine.tick()
        w.expect_nobody_called()
        w.clock.advance(seconds=1)
        w.engine.record_audit_result(passed_audit(3))
        w.clock.advance(seconds=1)
        w.engine.record_audit_result(failed_audit(4))
        w.engine.tick()
        w.expect_notice("l2", "l2_told_audit_fail")
        w.expect_notice("incident_manager", "manager_called_audit_fail")


def test_a_second_drought_after_a_long_pause_calls_the_manager_again(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        started = w.clock.now()
        incident = w.opened("no_signals")
        w.fast_forward(minutes=5)
        w.engine.confirm_escalation(incident, "l2-marek")
        w.fast_forward(minutes=10)
        w.expect_notice("incident_manager", "manager_called_no_signals")
        w.engine.confirm_escalation(incident, "im-jan")
        w.inbox.received.clear()
        w.alert("no_signals", firing=False, starts_at=started)
        w.fast_forward(minutes=6)
        w.alert("no_signals")
        w.engine.note(incident, "again", "im-jan")
        w.fast_forward(minutes=8)
        w.engine.note(incident, "still", "im-jan")
        w.fast_forward(minutes=6, seconds=59)
        w.expect_nobody_called()
        w.fast_forward(seconds=1)
        w.expect_notice("incident_manager", "manager_called_no_signals")


def test_a_gap_is_measured_by_when_the_alert_began_again_not_by_when_it_was_told(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        started = w.clock.now()
        incident = w.opened()
        w.fast_forward(minutes=1)
        w.alert(firing=False, starts_at=started)
        w.fast_forward(minutes=6)
        w.alert(starts_at=w.clock.now() - timedelta(minutes=2))
        w.engine.tick()
        w.expect_notice("l2", "l2_called_lasts")
        assert w.incident(incident).clock_from == started


def test_an_alert_that_began_before_its_return_was_told_keeps_its_own_start(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        started = w.clock.now()
        incident = w.opened()
        w.fast_forward(minutes=1)
        w.alert(firing=False, starts_at=started)
        w.fast_forward(minutes=8)
        again = w.clock.now() - timedelta(minutes=1)
        w.alert(starts_at=again)
        assert w.incident(incident).clock_from == again
        w.engine.note(incident, "it is back", "l1-anna")
        w.fast_forward(minutes=3, seconds=59)
        w.expect_nobody_called()
        w.fast_forward(seconds=1)
        w.expect_notice("l2", "l2_called_lasts")


def test_a_person_who_reopens_an_incident_starts_its_clock(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        started = w.clock.now()
        incident = w.opened()
        w.fast_forward(minutes=1)
        w.alert(firing=False, starts_at=started)
        w.engine.resolve(incident, "l1-anna")
        w.fast_forward(minutes=10)
        w.engine.reopen(incident, "l1-anna")
        assert w.incident(incident).alert_state is AlertState.UNKNOWN
        w.engine.acknowledge(incident, "l1-anna")
        w.engine.tick()
        w.expect_notice("l1", "reopened")
        w.fast_forward(minutes=5)
        w.expect_notice("l2", "l2_called_lasts")
