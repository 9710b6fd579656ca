"""Ways in which a clock could be stopped, a call go on for nothing, or trouble be overlooked."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from stage4.clock import format_instant
from stage4.errors import Refused
from stage4.incidents.incident import Kind, State
from support.world import World


def test_l1_cannot_end_the_clock_by_calling_it_over_while_the_alert_fires(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        incident = w.opened()
        with pytest.raises(Refused, match="still_firing"):
            w.engine.resolve(incident, "l1-anna")
        w.fast_forward(minutes=5)
        w.expect_notice("l2")
        w.engine.confirm_escalation(incident, "l2-marek")
        assert w.engine.resolve(incident, "l2-marek").state is State.RESOLVED


def test_who_is_called_and_acknowledges_has_answered_the_call(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        incident = w.opened()
        w.fast_forward(minutes=5)
        w.expect_notice("l2")
        assert w.engine.acknowledge(incident, "l2-marek").l2_confirmed
        w.fast_forward(minutes=9)
        w.expect_nobody_called()


def test_an_acknowledgement_of_l1_confirms_nobodys_call(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        incident = w.opened()
        w.fast_forward(minutes=5)
        w.expect_notice("l2")
        assert not w.engine.acknowledge(incident, "l1-anna").l2_confirmed
        w.fast_forward(minutes=2)
        w.expect_notice("l2")


def test_l1s_own_report_moves_the_onset_of_the_alerts_incident(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        incident = w.opened()
        noticed = w.clock.now() - timedelta(minutes=3)
        reported = w.engine.open_manual(Kind.LATENCY, "slow", "l1-anna", reported_at=noticed, scheduler="core")
        assert reported.id == incident
        assert reported.onset == noticed
        w.fast_forward(minutes=2)
        w.expect_notice("l2")


def test_an_alert_that_outlives_its_closed_incident_opens_a_linked_one(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        started = w.clock.now()
        incident = w.alert(starts_at=started)
        assert incident
        w.expect_notice("l1")
        w.settle()
        w.engine.acknowledge(incident, "l1-anna")
        w.complete(incident, escalated=False)
        w.sign_all(incident, escalated=False)
        w.engine.close(incident, "im-jan")
        again = w.alert(starts_at=started)
        assert again is not None
        assert again != incident
        assert w.incident(again).linked == incident
        w.expect_notice("l1")


@pytest.mark.parametrize(
    ("schema", "minutes", "clears"),
    [("stage4.audit/1", 1, True), ("stage4.audit/1", -60, False), ("stage4.security_baseline/1", 1, False)],
)
def test_only_a_later_compliance_audit_clears_a_fail(tmp_path: Path, schema: str, minutes: int, clears: bool) -> None:
    with World(tmp_path) as w:
        opened = w.engine.record_audit_result({"schema": "stage4.audit/1", "status": "fail"})
        assert opened is not None
        w.settle()
        for rung in ("l1", "l2", "incident_manager"):
            w.expect_notice(rung)
        checked_at = format_instant(w.clock.now() + timedelta(minutes=minutes))
        before = w.incident(opened.id).audit_clean_at
        document: dict[str, object] = {"schema": schema, "status": "ok", "checked_at": checked_at}
        w.clock.advance(seconds=1)
        w.engine.record_audit_result(document, incident_id=opened.id)
        assert (w.incident(opened.id).audit_clean_at != before) is clears
