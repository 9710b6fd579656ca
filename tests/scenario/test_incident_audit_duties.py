"""PLAYBOOK "How the rules are read": warnings of the audit reach L2, and the right earlier report is compared."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from stage4.audit import store
from stage4.audit.report_signature import SIGNATURE, signature
from stage4.clock import format_instant
from stage4.incidents.incident import StepState
from stage4.incidents.wording import outcome_text
from support.world import World

SINCE = "2020-01-01T00:00:00Z"
RESULT = {"subject": "s", "outcome": "warn", "message": "due"}


def results(*faults: str) -> dict[str, object]:
    """The members of an audit's document; each of `faults` is a control that warns."""
    listed = [RESULT | {"control": each} for each in faults]
    return {"status": "warn" if faults else "ok", "warnings": [], "results": listed, "checked_at": SINCE}


def kept(w: World, at: timedelta, number: int, *, signed: bool = True) -> None:
    """A report that somebody's audit left `at` from now."""
    started = w.clock.now() + at
    document = {"schema": "stage4.audit/1", **results(), "checked_at": f"report {number}"}
    document |= {"started_at": format_instant(started)}
    if signed:
        document |= {SIGNATURE: signature(document, w.log.room.ring, "desk")}
    command = store.Command(["audit"], 0, started, started, ())
    store.save(store.open_run(w.folder, started), store.COMPLIANCE, json.dumps(document).encode(), command)


def since(w: World, incident: str) -> object:
    """The instant of the report that L2.1 compared with; None where it compared with none."""
    own = [each for each in w.engine.view(incident).artefacts if each.step == "L2.1" and each.role == "comparison"]
    return json.loads(w.engine.evidence.read(own[-1].sha256))["since"] if own else None


@pytest.mark.playbook("L1.2", accepted=True)
def test_warnings_reach_l2_with_an_entry_that_says_whom_though_nothing_is_escalated(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        w.commands.answers["audit_stage4_compliance.py"] = (0, {"status": "warn", "warnings": [{"check": "ROT-03"}]})
        incident = w.opened()

        w.expect_notice("l2", "audit_warnings")
        [handed] = w.logged("warnings_handed_over")
        assert (handed.metadata["n"], handed.metadata["person"]) == (1, "l2-marek")
        assert not w.incident(incident).calls


@pytest.mark.playbook("L1.2", accepted=True)
@pytest.mark.parametrize(
    ("absent", "rung"), [(["l2"], "l2_deputy"), (["l2", "l2_deputy"], "incident_manager")], ids=["no L2", "no deputy"]
)
def test_warnings_go_to_the_next_rung_where_nobody_is_on_duty(tmp_path: Path, absent: list[str], rung: str) -> None:
    with World(tmp_path) as w:
        for each in absent:
            w.duty.people[each] = None
        w.commands.answers["audit_stage4_compliance.py"] = (0, {"status": "warn", "warnings": [{"check": "ROT-03"}]})
        w.opened()

        w.expect_notice(rung, "audit_warnings")
        assert [entry.metadata["rung"] for entry in w.logged("nobody_on_duty")] == absent


@pytest.mark.playbook("L2.1", accepted=True)
def test_the_earlier_report_is_this_incidents_l1_2_report(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        kept(w, timedelta(hours=-1), 1)
        w.commands.answers["audit_stage4_compliance.py"] = (0, results("ROT-03"))
        incident = w.opened()
        kept(w, timedelta(), 2)
        w.fast_forward(minutes=5)
        w.expect_notice("l2")
        better = results() | {"checked_at": "fresh", "results": [RESULT | {"control": "ROT-03", "outcome": "pass"}]}
        w.commands.answers["audit_stage4_compliance.py"] = (0, better)
        w.engine.confirm_escalation(incident, "l2-marek")
        w.settle()

        record = w.step(incident, "L2.1")
        assert record.state is StepState.ACCEPTED
        assert since(w, incident) == SINCE
        said = outcome_text(str(record.outcome), record.params, "en")
        assert said.startswith("since 2020-01-01 01:00:00 +01:00 (00:00:00Z): 0 new fails, 1 fixed, 0 not evaluated")


@pytest.mark.playbook("L2.1", accepted=True)
@pytest.mark.parametrize("document", [None, {"error": {}, "status": "fail"}], ids=["silent", "only an error"])
def test_without_it_the_earlier_report_is_the_newest_from_before_onset_and_never_the_fresh_one(
    tmp_path: Path, document: dict[str, object] | None
) -> None:
    with World(tmp_path) as w:
        second = format_instant(w.clock.now() - timedelta(hours=1))
        kept(w, timedelta(hours=-2), 1)
        kept(w, timedelta(hours=-1), 2)
        kept(w, timedelta(minutes=-30), 3, signed=False)
        w.commands.answers["audit_stage4_compliance.py"] = (2, document)
        incident = w.opened()
        w.expect_notice("l2", "l2_called_audit_fail")
        w.expect_notice("incident_manager", "manager_called_audit_fail")
        kept(w, timedelta(minutes=1), 4)
        w.commands.answers["audit_stage4_compliance.py"] = (0, results() | {"checked_at": "fresh"})
        w.engine.confirm_escalation(incident, "l2-marek")
        w.settle()

        assert since(w, incident) == second


@pytest.mark.playbook("L2.1", accepted=True)
def test_a_first_incident_has_nothing_to_compare_with(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        w.commands.answers["audit_stage4_compliance.py"] = (0, None)
        incident = w.opened()
        w.expect_notice("l2", "l2_called_audit_fail")
        w.expect_notice("incident_manager", "manager_called_audit_fail")
        w.commands.answers["audit_stage4_compliance.py"] = (0, results() | {"checked_at": "fresh"})
        w.engine.confirm_escalation(incident, "l2-marek")
        w.settle()

        assert w.step(incident, "L2.1").state is StepState.ACCEPTED
        assert since(w, incident) is None
