"""PLAYBOOK "What must exist when an incident closes": each item there, and missing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from stage4.errors import Refused
from stage4.incidents.incident import State
from stage4.incidents.ports import LogDoubt
from support.world import World


def items(refused: pytest.ExceptionInfo[Refused]) -> list[str]:
    found = refused.value.params["items"]
    assert isinstance(found, list)
    return [item["code"] for item in found]


def damage(w: World, incident: str, wanted: Callable[[str, str], bool]) -> None:
    """Changes the kept bytes of every artefact that `wanted(role, name)` names."""
    for each in w.engine.view(incident).artefacts:
        path = w.engine.evidence.path(each.sha256)
        if wanted(each.role, each.name) and path.exists():
            path.unlink()


@pytest.mark.playbook("exist.audit_report", accepted=True)
@pytest.mark.playbook("exist.command_outputs", accepted=True)
@pytest.mark.playbook("exist.log_entry", accepted=True)
@pytest.mark.playbook("exist.document", accepted=True)
def test_an_escalated_incident_closes_when_everything_is_there(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        incident = w.escalated()
        w.complete(incident)
        w.sign_all(incident)
        w.engine.close(incident, "im-jan")
        assert w.incident(incident).state is State.CLOSED
        [entry] = w.logged("incident_closed")
        assert entry.metadata["by"] == "im-jan"
        w.settle()
        assert w.posted("closed")
        assert w.engine.view(incident).countdowns == ()


def test_an_incident_without_l2_closes_with_the_managers_signed_reason(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        started = w.clock.now()
        incident = w.opened()
        w.fast_forward(minutes=2)
        w.alert(firing=False, starts_at=started)
        w.complete(incident, escalated=False)
        w.sign_all(incident, escalated=False)
        w.engine.close(incident, "im-jan")
        assert w.incident(incident).state is State.CLOSED


@pytest.mark.playbook("exist.audit_report", accepted=False)
def test_without_the_audit_report_it_does_not_close(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        incident = w.escalated()
        w.complete(incident)
        w.sign_all(incident)
        damage(w, incident, lambda role, name: name == "compliance.json")
        with pytest.raises(Refused) as refused:
            w.engine.close(incident, "im-jan")
        assert "closing.no_audit_report" in items(refused)
        assert "closing.evidence_damaged" in items(refused)
        assert w.incident(incident).state is State.RESOLVED


@pytest.mark.playbook("exist.audit_report", accepted=False)
def test_after_a_failed_audit_it_closes_only_after_one_without_fail(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        incident = w.escalated()
        w.engine.record_audit_result({"schema": "stage4.audit/1", "status": "fail"}, incident_id=incident)
        w.engine.confirm_escalation(incident, "im-jan")
        w.complete(incident)
        w.settle()
        w.expect_notice("l2", "l2_told_audit_fail")
        w.expect_notice("incident_manager")
        w.sign_all(incident)
        with pytest.raises(Refused) as refused:
            w.engine.close(incident, "im-jan")
        assert items(refused) == ["closing.audit_still_fails"]
        w.fast_forward(seconds=1)
        w.engine.run_step(incident, "L1.2", "l1-anna")
        w.sign_all(incident)
        w.engine.close(incident, "im-jan")


@pytest.mark.playbook("exist.command_outputs", accepted=False)
@pytest.mark.parametrize("script", ["load_test_scheduler.py", "watch_metrics_stream.py", "audit_security_baseline.py"])
def test_without_a_commands_output_and_log_it_does_not_close(tmp_path: Path, script: str) -> None:
    with World(tmp_path) as w:
        incident = w.escalated()
        w.complete(incident)
        w.sign_all(incident)
        damage(w, incident, lambda role, name: name.startswith(script))
        with pytest.raises(Refused) as refused:
            w.engine.close(incident, "im-jan")
        assert {"closing.no_output", "closing.no_command_log"} <= set(items(refused))


@pytest.mark.playbook("exist.log_entry", accepted=False)
def test_without_the_signed_entry_or_with_a_changed_log_it_does_not_close(tmp_path: Path) -> None:
    w = World(tmp_path)
    w.commands.answers["verify_decision_log.py"] = (3, None)
    incident = w.escalated()
    w.complete(incident)
    w.sign_all(incident)
    with pytest.raises(Refused) as refused:
        w.engine.close(incident, "im-jan")
    assert {"closing.no_log_entry", "closing.step_open"} <= set(items(refused))
    log = w.log.room.path
    log.write_bytes(log.read_bytes().replace(b'"l1-anna"', b'"l1-hann"', 1))
    with pytest.raises(Refused) as refused:
        w.engine.close(incident, "im-jan")
    assert "closing.log_does_not_verify" in items(refused)
    w.inbox.received.clear()
    w._stores[0].dispose()


def test_a_log_that_a_place_outside_does_not_know_needs_the_managers_signature_over_that(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        incident = w.escalated()
        w.complete(incident)
        w.sign_all(incident)
        w.log.doubts = (LogDoubt("closing.log_unknown", "/mnt/notes", "other"),)
        with pytest.raises(Refused) as refused:
            w.engine.close(incident, "im-jan")
        assert refused.value.params["items"] == [
            {"code": "closing.log_unknown", "params": {"place": "/mnt/notes", "logs": "other"}}
        ]
        # An operator cannot take it upon himself.
        w.sign(incident, "l1", "l1-anna")
        w.log.doubts = ()
        w.sign(incident, "incident_manager", "im-jan")
        w.log.doubts = (LogDoubt("closing.log_unknown", "/mnt/notes", "other"),)
        with pytest.raises(Refused) as refused:
            w.engine.close(incident, "im-jan")
        assert items(refused) == ["closing.log_unknown"]
        stated = json.loads(w.engine.statement(incident, "incident_manager", "im-jan"))["log_doubts"]
        assert stated == [{"code": "closing.log_unknown", "place": "/mnt/notes", "logs": "other"}]
        w.sign(incident, "incident_manager", "im-jan")
        # One more log there is no other doubt, another place is.
        w.log.doubts = (LogDoubt("closing.log_unknown", "/mnt/notes", "other, third"),)
        more = LogDoubt("closing.log_place_missing", "/mnt/more")
        w.log.doubts += (more,)
        with pytest.raises(Refused) as refused:
            w.engine.close(incident, "im-jan")
        assert refused.value.params["items"] == [
            {"code": "closing.log_place_missing", "params": {"place": "/mnt/more"}}
        ]
        w.sign(incident, "incident_manager", "im-jan")
        w.engine.close(incident, "im-jan")
        assert w.incident(incident).state is State.CLOSED


@pytest.mark.playbook("exist.document", accepted=False)
def test_without_the_filled_in_and_signed_document_it_does_not_close(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        incident = w.escalated()
        w.complete(incident)
        with pytest.raises(Refused) as refused:
            w.engine.close(incident, "im-jan")
        assert items(refused) == ["closing.no_document"] * 2 + ["closing.no_signature"] * 3
        w.sign(incident, "l1", "l1-anna")
        w.sign(incident, "incident_manager", "im-jan")
        with pytest.raises(Refused) as refused:
            w.engine.close(incident, "im-jan")
        assert items(refused) == ["closing.no_signature"]
        w.sign(incident, "l2", "l2-marek")
        with pytest.raises(Refused) as refused:
            w.engine.close(incident, "im-jan")
        assert items(refused) == ["closing.signature_not_covered"]


def test_a_later_change_voids_the_signatures_that_covered_it(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        incident = w.escalated()
        w.complete(incident)
        w.sign_all(incident)
        w.engine.run_step(incident, "L2.3", "l2-marek")
        with pytest.raises(Refused) as refused:
            w.engine.close(incident, "im-jan")
        assert items(refused) == ["closing.signature_void"] * 2, "L2's and the manager's, not L1's"


def test_operator_and_manager_are_different_people_with_different_keys(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        incident = w.escalated()
        w.complete(incident)
        w.sign(incident, "l1", "l1-anna")
        w.sign(incident, "l2", "im-l2-ola")
        with pytest.raises(Refused, match="same_signer"):
            w.sign(incident, "incident_manager", "im-l2-ola")
        w.team.lend("l1-anna", "im-jan")
        with pytest.raises(Refused, match="same_signer"):
            w.sign(incident, "incident_manager", "im-jan")


def test_a_signature_over_other_bytes_or_by_somebody_else_is_refused(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        incident = w.escalated()
        w.complete(incident)
        with pytest.raises(Refused, match="no_statement"):
            w.engine.sign(incident, "l1", w.team.sign("l1-anna", b"{}"), "l1-anna")
        body = w.engine.statement(incident, "l1", "l1-anna")
        with pytest.raises(Refused):
            w.engine.sign(incident, "l1", w.team.sign("l1-anna", body + b" "), "l1-anna")
        with pytest.raises(Refused):
            w.engine.sign(incident, "l1", w.team.sign("l2-marek", body), "l1-anna")
        with pytest.raises(Refused, match="role_needed"):
            w.engine.statement(incident, "l2", "l1-anna")


def test_only_the_manager_closes_only_what_is_resolved_and_for_ever(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        incident = w.escalated()
        with pytest.raises(Refused, match="role_needed"):
            w.engine.close(incident, "l2-marek")
        with pytest.raises(Refused, match="not_resolved"):
            w.engine.close(incident, "im-jan")
        w.complete(incident)
        w.sign_all(incident)
        w.engine.close(incident, "im-jan")
        with pytest.raises(Refused, match=r"incident\.closed"):
            w.engine.reopen(incident, "im-jan")
        w.engine.answer_step(incident, "L2.6", "l2-marek", text="thresholds of the playbook raised")
        w.engine.answer_step(incident, "L2.6", "po-iza", choice="reviewed", text="good")
        linked = w.alert(fingerprint="f9")
        assert linked
        assert linked != incident
        assert w.incident(linked).linked == incident
        w.expect_notice("l1")


def test_a_resolved_incident_is_opened_again_by_its_alert(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        incident = w.opened()
        w.engine.resolve(incident, "l2-marek")
        w.fast_forward(minutes=1)
        w.expect_nobody_called()
        assert w.alert(fingerprint="f2") == incident
        w.expect_notice("l1", "reopened")
        assert w.incident(incident).state is State.TRIGGERED
        w.fast_forward(minutes=4)
        w.expect_notice("l2")
        w.expect_notice("l1", "l1_called_again", times=2)


def test_a_resolved_incident_that_was_quiet_for_long_has_five_minutes_again(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        incident = w.opened()
        w.engine.resolve(incident, "l2-marek")
        w.fast_forward(minutes=30)
        assert w.alert(fingerprint="f2") == incident
        w.expect_notice("l1", "reopened")
        w.engine.acknowledge(incident, "l1-anna")
        w.fast_forward(minutes=4, seconds=59)
        w.expect_nobody_called()
        w.fast_forward(seconds=1)
        w.expect_notice("l2", "l2_called_lasts")
