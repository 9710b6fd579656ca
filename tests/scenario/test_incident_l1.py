"""PLAYBOOK L1.1–L1.5: each row accepted, and refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from stage4.errors import Refused
from stage4.incidents.incident import State, StepState, Tier
from support.world import World


@pytest.mark.playbook("L1.1", accepted=True)
def test_l1_1_is_accepted_when_the_alert_is_acknowledged_and_its_answer_stored(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        incident = w.alert("latency")
        assert incident == "INC-20261123-0001"
        w.expect_notice("l1", "l1_called")
        assert w.posted("incident_opened")
        assert w.step(incident, "L1.1").state is StepState.WAITING
        w.engine.acknowledge(incident, "l1-anna")
        assert w.step(incident, "L1.1").state is StepState.ACCEPTED
        assert w.incident(incident).state is State.ACKNOWLEDGED
        assert w.incident(incident).owner == "l1-anna"
        assert w.roles_kept(incident, "L1.1") == ["alerts"]


@pytest.mark.playbook("L1.1", accepted=False)
def test_l1_1_is_not_accepted_when_the_alerts_cannot_be_read(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        w.alerts.silent = True
        incident = w.alert("latency")
        assert incident
        w.expect_notice("l1")
        w.engine.acknowledge(incident, "l1-anna")
        assert w.step(incident, "L1.1").state is StepState.NOT_ACCEPTED
        w.alerts.silent = False
        w.engine.run_step(incident, "L1.1", "l1-anna")
        assert w.step(incident, "L1.1").state is StepState.ACCEPTED


@pytest.mark.playbook("L1.2", accepted=True)
def test_l1_2_is_accepted_without_fail_and_hands_warnings_to_l2(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        warnings = [{"control": "ROT-02"}, {"control": "FS-01"}]
        w.commands.answers["audit_stage4_compliance.py"] = (0, {"status": "warn", "warnings": warnings})
        incident = w.opened()
        assert w.step(incident, "L1.2").state is StepState.ACCEPTED
        assert w.step(incident, "L1.2").params == {"n": 2}
        assert w.expect_notice("l2", "audit_warnings").params["n"] == 2
        assert sorted(w.roles_kept(incident, "L1.2")) == ["command_log", "report"]


@pytest.mark.playbook("L1.2", accepted=False)
@pytest.mark.parametrize(
    ("exit_code", "document", "outcome"),
    [
        (1, {"status": "fail", "verdict": "fail", "warnings": []}, "step.audit_fails"),
        (1, {"status": "fail", "verdict": "cannot tell", "warnings": []}, "step.audit_cannot_tell"),
        (70, None, "step.audit_cannot_tell"),
        (None, None, "step.audit_cannot_tell"),
        (0, None, "step.audit_cannot_tell"),
    ],
    ids=["fail", "cannot tell", "crashed", "timed out", "said nothing"],
)
def test_l1_2_is_not_accepted_when_the_audit_fails_or_cannot_tell(
    tmp_path: Path, exit_code: int | None, document: dict[str, object] | None, outcome: str
) -> None:
    with World(tmp_path) as w:
        w.commands.answers["audit_stage4_compliance.py"] = (exit_code, document)
        incident = w.opened()
        assert w.step(incident, "L1.2").state is StepState.NOT_ACCEPTED
        assert w.step(incident, "L1.2").outcome == outcome
        w.expect_notice("l2", "l2_called_audit_fail")
        w.expect_notice("incident_manager", "manager_called_audit_fail")


@pytest.mark.playbook("L1.3", accepted=True)
def test_l1_3_is_accepted_with_green_and_yellow_panels_and_a_comment(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        w.panels.states["spread_capture_bps"] = "yellow"
        incident = w.opened()
        assert w.step(incident, "L1.3").state is StepState.WAITING
        w.engine.answer_step(incident, "L1.3", "l1-anna", text="spread a little low, recovering")
        assert w.step(incident, "L1.3").state is StepState.ACCEPTED
        assert w.roles_kept(incident, "L1.3") == ["panel"] * 4
        [comment] = w.logged("step_answered")
        assert comment.metadata["text"] == "spread a little low, recovering"
        assert comment.metadata["by"] == "l1-anna"


@pytest.mark.playbook("L1.3", accepted=False)
@pytest.mark.parametrize("state", ["red", "no_data", "stale"])
def test_l1_3_escalates_a_panel_that_is_not_good_before_anybody_comments(tmp_path: Path, state: str) -> None:
    with World(tmp_path) as w:
        w.panels.states["avg_abs_zscore"] = state
        incident = w.opened()
        w.expect_notice("l2", "l2_called_panels")
        with pytest.raises(Refused):
            w.engine.answer_step(incident, "L1.3", "l1-anna", text="  ")
        w.engine.answer_step(incident, "L1.3", "l1-anna", text="z-score out of bounds")
        assert w.step(incident, "L1.3").state is StepState.ESCALATED


def test_panels_that_nobody_can_draw_escalate_too(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        w.panels.silent = True
        w.opened()
        w.expect_notice("l2", "l2_called_panels")


@pytest.mark.playbook("L1.4", accepted=True)
def test_l1_4_is_accepted_when_the_signed_entry_has_ticket_and_timestamp(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        incident = w.opened()
        assert w.step(incident, "L1.4").state is StepState.ACCEPTED
        [entry] = w.logged("incident_summary")
        assert entry.metadata["ticket"] == incident
        assert entry.timestamp
        assert w.commands.ran[1][1:5] == ("scripts/verify_decision_log.py", "summary", "--incident", incident)


@pytest.mark.playbook("L1.4", accepted=False)
@pytest.mark.parametrize(
    ("exit_code", "document"),
    [
        (3, None),
        (0, {"entry": {"category": "stage4_incident", "metadata": {"ticket": "OPS-1"}, "timestamp": "2026"}}),
        (0, {"entry": {"category": "runtime_control", "metadata": {"ticket": "INC-20261123-0001"}}}),
    ],
    ids=["log unavailable", "another ticket", "another category"],
)
def test_l1_4_is_not_accepted_without_the_right_entry(
    tmp_path: Path, exit_code: int, document: dict[str, object] | None
) -> None:
    with World(tmp_path) as w:
        w.commands.answers["verify_decision_log.py"] = (exit_code, document)
        incident = w.opened()
        assert w.step(incident, "L1.4").state is StepState.NOT_ACCEPTED


@pytest.mark.playbook("L1.5", accepted=True)
def test_l1_5_is_accepted_by_l2s_own_act_after_five_minutes(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        incident = w.opened()
        w.fast_forward(minutes=4, seconds=59)
        w.expect_nobody_called()
        w.fast_forward(seconds=1)
        assert w.expect_notice("l2", "l2_called_lasts").urgency == "high"
        assert w.step(incident, "L1.5").state is StepState.RUNNING
        w.engine.confirm_escalation(incident, "l2-marek")
        assert w.step(incident, "L1.5").state is StepState.ACCEPTED
        assert w.incident(incident).tier is Tier.L2
        assert w.incident(incident).owner == "l2-marek"
        w.fast_forward(minutes=9)
        w.expect_nobody_called()


@pytest.mark.playbook("L1.5", accepted=False)
def test_l1_5_is_not_confirmed_by_delivery_nor_by_l1(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        incident = w.opened()
        w.fast_forward(minutes=5)
        w.expect_notice("l2")
        with pytest.raises(Refused, match="nothing_to_confirm"):
            w.engine.confirm_escalation(incident, "l1-anna")
        with pytest.raises(Refused, match="nothing_asked"):
            w.engine.answer_step(incident, "L1.5", "l1-anna", text="they know")
        with pytest.raises(Refused, match="call_pending"):
            w.engine.resolve(incident, "l1-anna")
        assert w.step(incident, "L1.5").state is StepState.RUNNING
        w.fast_forward(minutes=2)
        w.expect_notice("l2", "l2_called_lasts")
