"""One alert told over both paths, each with a start of its own: any end clears it, whoever still fires renews it."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from stage4.clock import format_instant
from stage4.incidents.incident import AlertState, State
from support.world import World

LABELS = {"scheduler": "core", "schedule": "mean_reversion_intraday"}
RENEWAL = timedelta(seconds=30)


def signal(w: World, starts_at: datetime, *, firing: bool = True, ends_at: datetime | None = None) -> str | None:
    """One delivery of the detector about the alert `f1`; the incident it led to."""
    document = {
        "schema": "stage4.signal/1",
        "source": "detector",
        "kind": "latency",
        "severity": "critical",
        "status": "firing" if firing else "resolved",
        "name": "Stage4LoopLatencyHigh",
        "labels": LABELS,
        "annotations": {},
        "starts_at": format_instant(starts_at),
        "fingerprint": "f1",
        **({} if ends_at is None else {"ends_at": format_instant(ends_at)}),
    }
    received = w.engine.receive_signal(json.dumps(document).encode())
    assert received.quarantined is None
    w.engine.tick()
    return received.incidents[0] if received.incidents else None


def test_alertmanagers_end_clears_what_the_detector_began_under_another_start(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        incident = signal(w, w.clock.now())
        assert incident
        w.expect_notice("l1")
        w.settle()
        w.engine.acknowledge(incident, "l1-anna")
        w.fast_forward(seconds=20)
        assert w.alert(firing=False, starts_at=w.clock.now() - timedelta(seconds=15)) == incident
        assert w.incident(incident).alert_state is AlertState.CLEARED
        assert not any(alert.firing for alert in w.engine.view(incident).alerts)
        w.fast_forward(minutes=6)
        w.expect_nobody_called()


def test_the_detectors_end_clears_what_alertmanager_told_under_another_start(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        incident = w.alert()
        assert incident
        w.expect_notice("l1")
        w.fast_forward(seconds=20)
        began = w.clock.now() - timedelta(seconds=25)
        assert signal(w, began, firing=False, ends_at=w.clock.now()) == incident
        assert w.incident(incident).alert_state is AlertState.CLEARED


def test_told_by_both_it_is_cleared_by_one_end(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        began = w.clock.now()
        incident = signal(w, began)
        assert incident
        w.expect_notice("l1")
        w.fast_forward(seconds=5)
        seen = w.clock.now()
        assert w.alert(starts_at=seen) == incident
        w.alert(firing=False, starts_at=seen)
        assert w.incident(incident).alert_state is AlertState.CLEARED


def test_a_detector_that_still_fires_renews_the_alert_and_it_joins_the_open_incident(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        began = w.clock.now()
        incident = signal(w, began)
        assert incident
        w.expect_notice("l1")
        w.settle()
        w.engine.acknowledge(incident, "l1-anna")
        w.fast_forward(minutes=2)
        w.alert(firing=False, starts_at=began + timedelta(seconds=5))
        w.fast_forward(seconds=RENEWAL.total_seconds())
        assert signal(w, began) == incident
        assert w.incident(incident).alert_state is AlertState.FIRING
        w.fast_forward(minutes=2, seconds=30)
        w.expect_notice("l2", "l2_called_lasts")
        assert signal(w, began, firing=False) == incident
        assert w.incident(incident).alert_state is AlertState.CLEARED


def test_alertmanager_that_fires_on_after_the_detectors_end_is_heard(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        began = w.clock.now()
        incident = w.alert(starts_at=began)
        assert incident
        w.expect_notice("l1")
        signal(w, began, firing=False)
        w.fast_forward(minutes=1)
        assert w.alert(starts_at=began) == incident
        assert w.incident(incident).alert_state is AlertState.FIRING


def test_alertmanager_may_end_a_start_that_a_renewal_brings_back(tmp_path: Path) -> None:
    # The exporter is gone for a moment and Prometheus ends the alert; the detector's renewal keeps its old start.
    with World(tmp_path) as w:
        began = w.clock.now()
        incident = w.alert(starts_at=began)
        assert incident
        w.expect_notice("l1")
        w.alert(firing=False, starts_at=began)
        w.alert(starts_at=began)
        assert w.incident(incident).alert_state is AlertState.CLEARED, "a delivery that was overtaken"
        w.fast_forward(seconds=15)
        assert w.alert(starts_at=began) == incident
        assert w.incident(incident).alert_state is AlertState.FIRING


def test_a_detector_never_begins_again_under_a_start_it_ended(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        began = w.clock.now()
        incident = signal(w, began)
        assert incident
        w.expect_notice("l1")
        signal(w, began, firing=False)
        w.fast_forward(minutes=1)
        signal(w, began)
        assert w.incident(incident).alert_state is AlertState.CLEARED


def test_an_end_does_not_reach_what_began_after_it(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        ended = w.clock.now()
        w.fast_forward(seconds=15)
        incident = w.alert()
        assert incident
        w.expect_notice("l1")
        signal(w, ended - timedelta(minutes=1), firing=False, ends_at=ended)
        assert w.incident(incident).alert_state is AlertState.FIRING


@pytest.mark.parametrize("first", ["signal", "webhook"])
def test_an_alert_told_again_after_its_resolution_opens_its_incident_again(tmp_path: Path, first: str) -> None:
    with World(tmp_path) as w:
        began = w.clock.now()
        incident = signal(w, began) if first == "signal" else w.alert(starts_at=began)
        assert incident
        w.expect_notice("l1")
        w.settle()
        w.engine.acknowledge(incident, "l1-anna")
        end = began + timedelta(seconds=1)
        w.alert(firing=False, starts_at=end) if first == "signal" else signal(w, end, firing=False)
        w.engine.resolve(incident, "l1-anna")
        again = signal(w, began) if first == "signal" else w.alert(starts_at=began)
        assert again == incident
        w.expect_notice("l1")
        assert w.incident(incident).state is State.TRIGGERED
