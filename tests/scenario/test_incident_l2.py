"""PLAYBOOK L2.1–L2.5: each row accepted, and refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stage4.errors import Refused, Unavailable
from stage4.incidents.incident import StepState
from support.world import World


@pytest.mark.playbook("L2.1", accepted=True)
def test_l2_1_is_accepted_when_every_warning_of_the_fresh_audit_is_diagnosed(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        warnings = [{"check": "ROT-03", "subject": "core-oem::tls_client"}]
        w.commands.answers["audit_stage4_compliance.py"] = (0, {"status": "warn", "warnings": warnings})
        incident = w.escalated()
        w.expect_notice("l2", "audit_warnings")
        assert w.step(incident, "L2.1").state is StepState.WAITING
        w.engine.answer_step(incident, "L2.1", "l2-marek", text="rotation is due on Friday; owner: l2-ewa")
        assert w.step(incident, "L2.1").state is StepState.ACCEPTED
        assert "report" in w.roles_kept(incident, "L2.1")


WARNINGS = [
    {"check": "ROT-03", "subject": "core-oem::tls_client"},
    {"check": "ROT-03", "subject": "core-oem::tls_server"},
    {"check": "FS-03", "subject": "secrets/mtls/ca.key"},
]


@pytest.mark.playbook("L2.1", accepted=True)
def test_l2_1_takes_a_diagnosis_its_author_and_an_owner_for_each_warning(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        w.commands.answers["audit_stage4_compliance.py"] = (0, {"status": "warn", "warnings": WARNINGS})
        incident = w.escalated()
        w.expect_notice("l2", "audit_warnings")

        w.engine.answer_step(incident, "L2.1", "l2-marek", text="ROT-03: both are due on Friday; owner: l2-ewa")

        record = w.step(incident, "L2.1")
        assert (record.state, record.params["n"]) == (StepState.WAITING, 1)
        assert record.params["which"] == "FS-03 secrets/mtls/ca.key"

        w.engine.answer_step(incident, "L2.1", "l2-ewa", text="klucz CA czeka na sejf, właściciel l2-marek")

        record = w.step(incident, "L2.1")
        assert (record.state, record.params["n"]) == (StepState.ACCEPTED, 3)
        for part in ("due on Friday; owner: l2-ewa (l2-marek, ", "właściciel l2-marek (l2-ewa, "):
            assert part in str(record.params["diagnoses"])
        assert [entry.metadata["by"] for entry in w.logged("step_answered")] == ["l2-marek", "l2-ewa"]


@pytest.mark.playbook("L2.1", accepted=False)
@pytest.mark.parametrize(
    ("text", "outcome", "left"),
    [
        ("all is known; owner: l2-ewa", "step.warnings_undiagnosed", 3),
        ("FS-03: the key waits for its safe", "step.diagnosis_without_owner", 3),
        ("TLS-01: odd; owner: l2-ewa", "step.warnings_undiagnosed", 3),
        ("FS-03: the safe; owner: l2-ewa\nROT-03: Friday", "step.diagnosis_without_owner", 2),
        ("ROT-03 core-oem::tls_server: Friday; owner: l2-ewa", "step.warnings_undiagnosed", 2),
    ],
)
def test_l2_1_waits_while_a_warning_has_no_diagnosis_or_no_owner(
    tmp_path: Path, text: str, outcome: str, left: int
) -> None:
    with World(tmp_path) as w:
        w.commands.answers["audit_stage4_compliance.py"] = (0, {"status": "warn", "warnings": WARNINGS})
        incident = w.escalated()
        w.expect_notice("l2", "audit_warnings")

        w.engine.answer_step(incident, "L2.1", "l2-marek", text=text)

        record = w.step(incident, "L2.1")
        assert (record.state, record.outcome, record.params["n"]) == (StepState.WAITING, outcome, left)


@pytest.mark.playbook("L2.1", accepted=True)
def test_one_diagnosis_may_stand_for_all_warnings_that_its_pattern_names(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        w.commands.answers["audit_stage4_compliance.py"] = (0, {"status": "warn", "warnings": WARNINGS})
        incident = w.escalated()
        w.expect_notice("l2", "audit_warnings")
        w.engine.answer_step(incident, "L2.1", "l2-marek", text="*: the move of the host; owner: l2-ewa")
        assert w.step(incident, "L2.1").state is StepState.ACCEPTED


@pytest.mark.playbook("L2.1", accepted=False)
def test_l2_1_is_not_accepted_when_the_fresh_audit_fails(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        incident = w.opened()
        w.fast_forward(minutes=5)
        w.expect_notice("l2")
        w.commands.answers["audit_stage4_compliance.py"] = (1, {"status": "fail", "verdict": "fail"})
        w.engine.confirm_escalation(incident, "l2-marek")
        w.settle()
        assert w.step(incident, "L2.1").state is StepState.NOT_ACCEPTED
        w.expect_notice("l2", "l2_told_audit_fail")
        w.expect_notice("incident_manager", "manager_called_audit_fail")
        with pytest.raises(Refused, match="nothing_asked"):
            w.engine.answer_step(incident, "L2.1", "l2-marek", text="it is fine")


@pytest.mark.playbook("L2.2", accepted=True)
def test_l2_2_is_accepted_when_latency_and_jitter_are_within_their_limits(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        incident = w.escalated()
        assert w.step(incident, "L2.2").state is StepState.ACCEPTED
        kept = [each for each in w.engine.view(incident).artefacts if each.step == "L2.2"]
        assert [each.role for each in kept] == ["output", "file", "command_log"]
        log = json.loads(w.engine.evidence.read(kept[2].sha256))
        assert log["argv"][1] == "scripts/load_test_scheduler.py"
        assert log["argv"][-1] == "--attach", "in an incident the running scheduler is judged too"
        assert (log["exit_code"], log["stderr"]) == (0, "progress\n")


@pytest.mark.playbook("L2.2", accepted=True)
def test_l2_2_beyond_its_limits_is_accepted_by_the_decision_to_disable(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        w.commands.answers["load_test_scheduler.py"] = (1, {"sla": {"verdict": "breach"}})
        incident = w.escalated()
        assert w.step(incident, "L2.2").state is StepState.NOT_ACCEPTED
        w.engine.stop(incident, "latency beyond limits", "l2-marek")
        assert w.step(incident, "L2.2").state is StepState.ACCEPTED
        assert w.step(incident, "L2.2").outcome == "step.load_disabled"


@pytest.mark.playbook("L2.2", accepted=False)
@pytest.mark.parametrize("exit_code", [1, 3, 70, None])
def test_l2_2_is_not_accepted_beyond_limits_nor_unjudged(tmp_path: Path, exit_code: int | None) -> None:
    with World(tmp_path) as w:
        w.commands.answers["load_test_scheduler.py"] = (exit_code, {} if exit_code == 1 else None)
        incident = w.escalated()
        assert w.step(incident, "L2.2").state is StepState.NOT_ACCEPTED


@pytest.mark.playbook("L2.3", accepted=True)
def test_l2_3_is_accepted_with_right_headers_and_no_anomaly(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        incident = w.escalated()
        assert w.step(incident, "L2.3").state is StepState.ACCEPTED
        assert w.commands.ran[-3][2:5] == ("--headers-report", "--duration", "10m")


@pytest.mark.playbook("L2.3", accepted=False)
@pytest.mark.parametrize(("exit_code", "outcome"), [(1, "step.watch_bad"), (3, "step.watch_not_judged")])
def test_l2_3_is_not_accepted_with_wrong_headers_nor_without_a_stream(
    tmp_path: Path, exit_code: int, outcome: str
) -> None:
    with World(tmp_path) as w:
        w.commands.answers["watch_metrics_stream.py"] = (exit_code, {"verdict": "no"})
        incident = w.escalated()
        assert (w.step(incident, "L2.3").state, w.step(incident, "L2.3").outcome) == (StepState.NOT_ACCEPTED, outcome)


@pytest.mark.playbook("L2.4", accepted=True)
def test_l2_4_is_accepted_when_rotations_and_rbac_are_good(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        incident = w.escalated()
        assert w.step(incident, "L2.4").state is StepState.ACCEPTED
        assert w.roles_kept(incident, "L2.4") == ["report", "output", "command_log", "command_log"]


@pytest.mark.playbook("L2.4", accepted=False)
def test_l2_4_is_not_accepted_with_an_rbac_error(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        w.commands.answers["audit_security_baseline.py"] = (1, {"status": "fail", "verdict": "fail"})
        incident = w.escalated()
        assert w.step(incident, "L2.4").state is StepState.NOT_ACCEPTED
        w.expect_notice("l2", "l2_told_audit_fail")
        w.expect_notice("incident_manager", "manager_called_audit_fail")


@pytest.mark.playbook("L2.5", accepted=True)
def test_l2_5_is_accepted_by_the_schedulers_own_word_and_again_when_it_is_back(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        incident = w.escalated()
        w.scheduler.answers = False
        w.engine.answer_step(incident, "L2.5", "l2-marek", choice="disable", text="LATENCY")
        w.settle()
        assert w.scheduler.orders[0].ticket == incident
        assert w.step(incident, "L2.5").state is StepState.WAITING
        w.scheduler.state = "disabled"
        w.fast_forward(seconds=1)
        assert w.step(incident, "L2.5").outcome == "step.scheduler_disabled"
        w.scheduler.enable()
        w.fast_forward(minutes=1)
        w.engine.complete_rollback(incident, "l2-marek")
        assert (w.step(incident, "L2.5").state, w.step(incident, "L2.5").outcome) == (
            StepState.ACCEPTED,
            "step.scheduler_enabled",
        )
        [entry] = w.logged("rollback_completed")
        assert entry.metadata["ticket"] == incident
        assert entry.metadata["duration_seconds"] == 61
        assert len(str(entry.metadata["summary_sha256"])) == 64


@pytest.mark.playbook("L2.5", accepted=True)
def test_l2_5_needs_no_stop_when_l2_says_so_and_the_scheduler_runs(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        incident = w.escalated()
        w.engine.answer_step(incident, "L2.5", "l2-marek", choice="not_needed", text="it recovered")
        assert w.step(incident, "L2.5").state is StepState.ACCEPTED
        assert not w.scheduler.orders


@pytest.mark.playbook("L2.5", accepted=False)
def test_l2_5_is_not_accepted_while_the_scheduler_says_something_else(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        incident = w.escalated()
        w.scheduler.state = "silent"
        w.engine.answer_step(incident, "L2.5", "l2-marek", choice="not_needed", text="it runs, I think")
        assert w.step(incident, "L2.5").state is StepState.NOT_ACCEPTED
        w.scheduler.answers = False
        w.engine.stop(incident, "LATENCY", "im-jan")
        w.scheduler.state, w.scheduler.digest = "disabled", "e" * 64
        w.fast_forward(minutes=1)
        assert w.step(incident, "L2.5").state is StepState.WAITING, "it honours another stop, not this one"
        with pytest.raises(Refused, match="scheduler_not_enabled"):
            w.engine.complete_rollback(incident, "l2-marek")


def test_l2_stops_at_any_time_and_l1_does_not(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        incident = w.alert()
        assert incident
        w.expect_notice("l1")
        with pytest.raises(Refused, match="role_needed"):
            w.engine.stop(incident, "LATENCY", "l1-anna")
        assert not w.scheduler.orders
        w.engine.stop(incident, "LATENCY", "l2-marek")
        assert w.scheduler.state == "disabled"


def test_a_stop_is_done_although_it_cannot_be_logged_and_is_logged_later(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        incident = w.alert()
        assert incident
        w.expect_notice("l1")
        w.log.full = True
        w.engine.stop(incident, "LATENCY", "l2-marek")
        assert w.scheduler.state == "disabled"
        assert w.engine.view(incident).unlogged == 1
        w.log.full = False
        w.fast_forward(seconds=1)
        assert w.engine.view(incident).unlogged == 0
        assert len(w.logged("scheduler_stop_requested")) == 1


def test_a_stop_for_an_incident_that_nobody_knows_is_done_recorded_and_said(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        with pytest.raises(Refused, match="incident.stopped_unknown"):
            w.engine.stop("INC-20991231-0007", "wrong number", "l2-marek")
        assert w.scheduler.word().state == "disabled"
        [entry] = w.logged("scheduler_stop_requested")
        assert (entry.metadata["by"], entry.metadata["ticket"]) == ("l2-marek", "INC-20991231-0007")


def test_a_stop_for_a_closed_incident_is_recorded_and_changes_nothing_else(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        incident = w.escalated()
        w.complete(incident)
        w.sign_all(incident)
        w.engine.close(incident, "im-jan")
        before = w.incident(incident).steps
        w.engine.stop(incident, "it is back", "l2-marek")
        assert w.logged("scheduler_stop_requested")
        assert w.incident(incident).steps == before


def test_a_stop_whose_record_fails_says_that_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with World(tmp_path) as w:
        incident = w.escalated()
        (tmp_path / "var/evidence").rename(tmp_path / "var/gone")
        (tmp_path / "var/evidence").write_text("no directory")
        with pytest.raises(Unavailable, match="incident.stopped_unrecorded"):
            w.engine.stop(incident, "limits", "l2-marek")
        assert w.scheduler.word().state == "disabled"


def test_running_a_step_is_an_act_of_the_owner(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        incident = w.escalated()
        for _ in range(3):
            w.fast_forward(minutes=9)
            w.engine.run_step(incident, "L2.3", "l2-marek")
            w.fast_forward(minutes=0.5)
        w.engine.stop(incident, "limits", "l2-marek")
        w.fast_forward(minutes=9)
        w.expect_nobody_called()


def test_the_machine_waits_for_l2_before_it_starts_l2s_list(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        incident = w.opened()
        w.fast_forward(minutes=5)
        w.expect_notice("l2")
        w.settle()
        assert w.step(incident, "L2.1").state is StepState.NOT_STARTED
        w.engine.confirm_escalation(incident, "l2-marek")
        w.settle()
        assert [w.step(incident, f"L2.{n}").state for n in (1, 2, 3, 4)] == [StepState.ACCEPTED] * 4
        assert w.step(incident, "L2.5").state is StepState.NOT_STARTED
