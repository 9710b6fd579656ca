"""PLAYBOOK "Escalation": who is called, when, and by what it stops."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from stage4.incidents.incident import AlertState, Condition, State, Tier
from support.world import World

CALLS_THE_MANAGER = {"escalate": "incident_manager"}


@pytest.mark.playbook("escalation.no_signals", accepted=True)
def test_no_signals_for_more_than_fifteen_minutes_calls_the_incident_manager(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        incident = w.alert("no_signals", name="Stage4NoSignals", **CALLS_THE_MANAGER)
        assert incident
        w.expect_notice("l1")
        called = w.expect_notice("incident_manager", "manager_called_no_signals")
        assert called.params["bridge"] == "https://meet.example/bridge"
        assert w.incident(incident).conditions == (Condition.NO_SIGNALS,)


@pytest.mark.playbook("escalation.no_signals", accepted=True)
def test_an_early_no_signals_alert_calls_the_manager_fifteen_minutes_after_its_onset(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        since = w.clock.now() - timedelta(minutes=4)
        incident = w.alert("no_signals", name="Stage4NoSignals", starts_at=since)
        assert incident
        w.expect_notice("l1")
        w.engine.acknowledge(incident, "l1-anna")
        w.fast_forward(minutes=1)
        w.expect_notice("l2")
        w.engine.confirm_escalation(incident, "l2-marek")
        w.fast_forward(minutes=9, seconds=59)
        w.expect_nobody_called()
        w.fast_forward(seconds=1)
        w.expect_notice("incident_manager", "manager_called_no_signals")
        w.expect_notice("l2", "ack_reminder")


@pytest.mark.playbook("escalation.no_signals", accepted=False)
def test_signals_that_come_back_in_time_call_nobody(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        started = w.clock.now()
        incident = w.opened("no_signals")
        w.fast_forward(minutes=3)
        w.alert("no_signals", firing=False, starts_at=started)
        w.fast_forward(minutes=6)
        w.engine.note(incident, "signals are back", "l1-anna")
        w.fast_forward(minutes=7)
        w.expect_nobody_called()


@pytest.mark.playbook("escalation.no_signals", accepted=False)
def test_a_drought_of_actionable_signals_warns_l1_only(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        assert w.alert("no_signals", name="Stage4NoActionableSignals", escalate="never") is None
        w.expect_notice("l1", "l1_warned")
        w.fast_forward(minutes=20)
        w.expect_nobody_called()
        assert w.engine.list() == []


@pytest.mark.playbook("escalation.loss", accepted=True)
def test_a_loss_past_its_limit_opens_an_incident_of_its_own_that_a_new_day_never_resolves(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        drawdown = w.alert("pnl", name="Stage4PnlDrawdownHigh", fingerprint="f1")
        w.expect_notice("l1")
        started = w.clock.now()
        loss = w.alert("pnl", name="Stage4DailyLossHigh", fingerprint="f2", **CALLS_THE_MANAGER)
        assert loss
        assert loss != drawdown
        w.expect_notice("l1")
        w.expect_notice("incident_manager", "manager_called_loss")
        w.alert(
            "pnl",
            name="Stage4DailyLossHigh",
            fingerprint="f2",
            firing=False,
            starts_at=started,
            **CALLS_THE_MANAGER,
        )
        assert w.incident(loss).alert_state is AlertState.FIRING
        assert w.incident(loss).state is State.TRIGGERED


@pytest.mark.playbook("escalation.loss", accepted=False)
def test_a_loss_inside_the_limit_follows_the_ordinary_clock(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        w.opened("pnl", name="Stage4PnlDrawdownHigh")
        w.fast_forward(minutes=4)
        w.expect_nobody_called()


@pytest.mark.playbook("escalation.audit_fail", accepted=True)
def test_an_audit_that_fails_outside_an_incident_opens_one_and_calls_both_at_once(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        document: dict[str, object] = {"schema": "stage4.audit/1", "status": "fail", "verdict": "fail", "at": 1}
        w.commands.answers["audit_stage4_compliance.py"] = (0, {"status": "ok", "warnings": []})
        opened = w.engine.record_audit_result(document)
        assert opened is not None
        w.fast_forward(seconds=1)
        w.expect_notice("l1")
        w.expect_notice("l2", "l2_called_audit_fail")
        w.expect_notice("incident_manager", "manager_called_audit_fail")
        assert (opened.kind.value, opened.source) == ("risk", "audit")
        assert w.engine.record_audit_result(document) is None, "the same report counts once"
        assert len(w.engine.list()) == 1


@pytest.mark.playbook("escalation.audit_fail", accepted=True)
def test_an_audit_that_fails_is_acted_upon_although_the_log_is_full(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        w.log.full = True
        opened = w.engine.record_audit_result({"schema": "stage4.audit/1", "status": "fail"})
        assert opened is not None
        w.engine.pager.drain()
        w.expect_notice("l1")
        w.expect_notice("l2")
        w.expect_notice("incident_manager")
        assert w.engine.view(opened.id).unlogged > 0
        w.log.full = False
        w.fast_forward(seconds=1)
        assert w.engine.view(opened.id).unlogged == 0


@pytest.mark.playbook("escalation.audit_fail", accepted=False)
def test_an_audit_that_only_warns_opens_nothing_and_calls_nobody(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        document: dict[str, object] = {"schema": "stage4.audit/1", "status": "warn", "warnings": [{"control": "X"}]}
        assert w.engine.record_audit_result(document) is None
        w.fast_forward(seconds=1)
        w.expect_nobody_called()


@pytest.mark.playbook("escalation.audit_fail", accepted=False)
def test_an_audit_as_of_another_instant_answers_a_question_and_calls_nobody(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        document: dict[str, object] = {"schema": "stage4.audit/1", "status": "fail", "what_if": True}
        assert w.engine.record_audit_result(document) is None
        w.fast_forward(seconds=1)
        w.expect_nobody_called()


@pytest.mark.playbook("escalation.l2_unconfirmed", accepted=True)
def test_l2_that_does_not_confirm_is_called_by_the_whole_ladder_without_end(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        incident = w.opened()
        w.fast_forward(minutes=5)
        w.expect_notice("l2")
        w.fast_forward(minutes=4)
        w.expect_notice("l2", times=2)
        w.expect_nobody_called()
        w.fast_forward(minutes=1)
        w.expect_notice("l2_deputy")
        w.expect_notice("l1", "ack_reminder")
        w.fast_forward(minutes=4, seconds=59)
        w.expect_notice("l2", times=2)
        w.expect_notice("l2_deputy", times=2)
        w.expect_nobody_called()
        w.fast_forward(seconds=1)
        w.expect_notice("incident_manager", "manager_called_l2_unconfirmed")
        assert w.incident(incident).tier is Tier.INCIDENT_MANAGER
        w.inbox.received.clear()
        w.engine.confirm_escalation(incident, "im-jan")
        w.fast_forward(minutes=2)
        w.expect_notice("l2")
        w.expect_notice("l2_deputy")
        w.engine.confirm_escalation(incident, "l2-ewa")
        w.fast_forward(minutes=9)
        w.expect_nobody_called()


@pytest.mark.playbook("escalation.l2_unconfirmed", accepted=False)
def test_l2_that_confirms_in_time_spares_the_deputy_and_the_manager(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        incident = w.opened()
        w.fast_forward(minutes=9)
        w.expect_notice("l2", times=3)
        w.engine.confirm_escalation(incident, "l2-marek")
        w.fast_forward(minutes=9)
        w.expect_nobody_called()


def test_nobody_on_duty_means_the_next_rung_at_once_with_a_warning(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        w.duty.people |= {"l2": None, "l2_deputy": None}
        incident = w.opened()
        w.fast_forward(minutes=5)
        w.expect_notice("incident_manager", "manager_called_nobody_on_duty")
        warned = [each.params["rung"] for each in w.engine.view(incident).timeline if each.kind == "nobody_on_duty"]
        assert warned == ["l2", "l2_deputy"]


def test_nobody_in_l1_calls_l2_at_once(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        w.duty.people["l1"] = None
        w.alert()
        w.expect_notice("l2", "l2_called_nobody_on_duty")


def test_a_gap_under_five_minutes_does_not_reset_the_clock(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        started = w.clock.now()
        incident = w.opened()
        w.fast_forward(minutes=2)
        w.alert(firing=False, starts_at=started)
        w.fast_forward(minutes=4)
        w.expect_nobody_called()
        again = w.alert()
        assert again == incident
        w.expect_notice("l2", "l2_called_lasts")


def test_a_gap_of_five_minutes_starts_the_clock_anew(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        started = w.clock.now()
        incident = w.opened()
        w.fast_forward(minutes=2)
        w.alert(firing=False, starts_at=started)
        w.fast_forward(minutes=5)
        assert w.alert() == incident
        w.engine.note(incident, "again", "l1-anna")
        w.fast_forward(minutes=4, seconds=59)
        w.expect_nobody_called()
        w.fast_forward(seconds=1)
        w.expect_notice("l2")


def test_the_clock_runs_from_the_alerts_own_start(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        incident = w.alert(starts_at=w.clock.now() - timedelta(minutes=7))
        assert incident
        w.expect_notice("l1")
        w.expect_notice("l2", "l2_called_lasts")


def test_a_report_by_a_person_runs_the_clock_too(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        from stage4.incidents.incident import Kind

        incident = w.engine.open_manual(Kind.RISK, "odd positions", "l1-anna", ticket="OPS-17")
        w.engine.acknowledge(incident.id, "l1-anna")
        w.fast_forward(minutes=5)
        w.expect_notice("l1")
        w.expect_notice("l2")
        assert w.incident(incident.id).ticket == "OPS-17"


def test_an_acknowledgement_is_reminded_and_lapses(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        started = w.clock.now()
        incident = w.opened()
        w.alert(firing=False, starts_at=started)
        w.fast_forward(minutes=10)
        w.expect_notice("l1", "ack_reminder")
        w.fast_forward(minutes=5)
        w.expect_notice("l1", "ack_lapsed")
        assert w.incident(incident).state is State.TRIGGERED
        assert w.incident(incident).owner is None
        w.fast_forward(minutes=2)
        w.expect_notice("l1", "l1_called_again")


def test_a_storm_of_one_cause_is_one_incident_and_one_call(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        incidents = {w.alert(fingerprint=f"f{n}") for n in range(50)}
        assert len(incidents) == 1
        w.expect_notice("l1")
        w.expect_nobody_called()
        assert w.alert("risk", fingerprint="other") not in incidents
        w.expect_notice("l1")


def test_timers_survive_a_restart_and_a_reboot_and_a_clock_that_was_set_back(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        incident = w.opened()
        w.fast_forward(minutes=3)
        w.restart()
        w.clock.step_wall(timedelta(hours=-1))
        w.fast_forward(minutes=1, seconds=59)
        w.expect_nobody_called()
        w.fast_forward(seconds=1)
        w.expect_notice("l2")
        w.clock.reboot("boot-2")
        w.clock.step_wall(timedelta(hours=1))
        w.restart()
        w.fast_forward(seconds=15)
        assert w.incident(incident).pending(Tier.L2)
        w.inbox.received.clear()
