"""The detector: fires with the sample that is beyond, resolves with the one that is within, and notices silence."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stage4.monitoring.detector import Detector, as_postable, as_signal, fingerprint
from support.monitoring_plans import ARBITRAGE, PLAN, SCHEDULER, START, sample

LATENCY = "stage4_loop_latency_seconds"


def test_an_alert_fires_with_the_first_sample_beyond_and_resolves_with_the_first_within() -> None:
    detector = Detector(PLAN)
    assert detector.observe(sample(0, {LATENCY: 0.1})) == ()
    critical, warning = detector.observe(sample(1, {LATENCY: 0.3}))
    assert (critical.name, critical.severity, critical.kind) == ("Stage4LoopLatencyHigh", "critical", "latency")
    assert warning.severity == "warning"
    assert critical.started_at == START + timedelta(seconds=1)
    assert detector.observe(sample(2, {LATENCY: 0.4})) == ()
    (still_warning,) = [alert for alert in detector.firing() if alert.severity == "warning"]
    assert (still_warning.value, still_warning.started_at) == (0.4, START + timedelta(seconds=1))
    (ended,) = detector.observe(sample(3, {LATENCY: 0.2}))
    assert (ended.severity, ended.ended_at) == ("critical", START + timedelta(seconds=3))
    (ended,) = detector.observe(sample(4, {LATENCY: 0.15}))
    assert ended.severity == "warning"
    assert detector.firing() == ()


def test_schedules_are_judged_apart_and_by_their_own_profile() -> None:
    detector = Detector(PLAN)
    assert (
        detector.observe(sample(0, {LATENCY: 0.2}, schedule=ARBITRAGE, profile="aggressive"))[0].severity == "warning"
    )
    assert (
        len(detector.observe(sample(0, {LATENCY: 0.21}, schedule="volatility_target_daily", profile="conservative")))
        == 2
    )
    assert {alert.labels["schedule"] for alert in detector.firing()} == {ARBITRAGE, "volatility_target_daily"}


def test_spread_capture_fires_when_it_falls() -> None:
    detector = Detector(PLAN)
    assert detector.observe(sample(0, {"stage4_spread_capture_bps": 30.0})) == ()
    assert detector.observe(sample(1, {"stage4_spread_capture_bps": 5.0}))[0].name == "Stage4SpreadCaptureLow"


def test_a_sample_without_the_metric_leaves_its_alert_firing() -> None:
    detector = Detector(PLAN)
    detector.observe(sample(0, {LATENCY: 0.3}))
    assert detector.observe(sample(1, {"stage4_avg_abs_zscore": 1.0})) == ()
    assert len(detector.firing()) == 2


def test_a_loss_over_three_limits_calls_the_incident_manager() -> None:
    detector = Detector(PLAN)
    alerts = detector.observe(sample(0, {"stage4_daily_loss_ratio": 3.2}, schedule="", profile="desk"))
    critical = next(alert for alert in alerts if alert.severity == "critical")
    assert critical.labels["escalate"] == "incident_manager"
    assert critical.labels["risk_profile"] == "desk"
    assert "schedule" not in critical.labels


def test_silence_is_noticed_and_does_not_stop_the_clock_of_no_signals() -> None:
    detector = Detector(PLAN)
    detector.observe(sample(0, {"stage4_signal_age_seconds": 590.0}, schedule="", profile="desk"))
    assert detector.tick(START + timedelta(seconds=10)) == ()
    (warning,) = detector.tick(START + timedelta(seconds=11))
    assert (warning.name, warning.severity) == ("Stage4NoSignals", "warning")
    (stale,) = detector.tick(START + timedelta(seconds=31))
    assert (stale.name, stale.labels["scheduler"]) == ("Stage4TelemetryStale", SCHEDULER)
    (critical,) = detector.tick(START + timedelta(seconds=311))
    assert (critical.severity, critical.labels["escalate"]) == ("critical", "incident_manager")
    back = detector.observe(sample(320, {"stage4_signal_age_seconds": 2.0}, schedule="", profile="desk"))
    assert {alert.firing for alert in back} == {False}
    assert detector.firing() == ()


def test_a_fresh_signal_age_rules_even_after_older_ones() -> None:
    detector = Detector(PLAN)
    detector.observe(sample(0, {"stage4_signal_age_seconds": 2000.0}, schedule="", profile="desk"))
    ended = detector.observe(sample(1, {"stage4_signal_age_seconds": 0.0}, schedule="", profile="desk"))
    assert [alert.severity for alert in ended] == ["critical", "warning"]


def test_a_drought_warns_only_the_schedule_that_has_a_limit() -> None:
    detector = Detector(PLAN)
    drought = {"stage4_actionable_signal_age_seconds": 5000.0}
    (alert,) = detector.observe(sample(0, drought))
    assert (alert.severity, alert.labels["escalate"]) == ("warning", "never")
    assert detector.observe(sample(0, drought, schedule=ARBITRAGE, profile="aggressive")) == ()


def test_an_alert_of_an_earlier_life_ends_under_its_own_start_with_the_first_value_within() -> None:
    told = Detector(PLAN).observe(sample(0, {LATENCY: 0.3}))
    detector = Detector(PLAN, told)
    assert detector.firing() == told
    assert detector.tick(START + timedelta(seconds=20)) == (), "no value, no end"
    ended = detector.observe(sample(25, {LATENCY: 0.1}))
    assert [(a.fingerprint, a.started_at) for a in ended] == [(a.fingerprint, a.started_at) for a in told]
    assert {alert.ended_at for alert in ended} == {START + timedelta(seconds=25)}
    assert detector.firing() == ()


def test_an_alert_of_an_earlier_life_that_lasts_is_the_same_alert() -> None:
    told = Detector(PLAN).observe(sample(0, {LATENCY: 0.3}))
    detector = Detector(PLAN, told)
    assert detector.observe(sample(25, {LATENCY: 0.4})) == ()
    assert {alert.started_at for alert in detector.firing()} == {START}


def test_an_alert_of_an_earlier_life_leaves_other_series_alone_and_waits_for_its_own() -> None:
    told = Detector(PLAN).observe(sample(0, {LATENCY: 0.3}))
    detector = Detector(PLAN, told)
    assert detector.observe(sample(25, {LATENCY: 0.1}, schedule=ARBITRAGE, profile="aggressive")) == ()
    assert detector.firing() == told


def test_silence_of_an_earlier_life_ends_with_the_first_sample() -> None:
    before = Detector(PLAN)
    before.observe(sample(0, {LATENCY: 0.1}))
    told = before.tick(START + timedelta(seconds=31))
    (ended,) = Detector(PLAN, told).observe(sample(40, {LATENCY: 0.1}))
    assert (ended.name, ended.started_at) == ("Stage4TelemetryStale", START + timedelta(seconds=31))


def test_an_alert_whose_labels_changed_meanwhile_ends_under_the_old_ones() -> None:
    told = Detector(PLAN).observe(sample(0, {"stage4_avg_abs_zscore": 3.0}))
    renamed = Detector(replace(PLAN, installation_id="moved"), told)
    began, ended = renamed.observe(sample(5, {"stage4_avg_abs_zscore": 3.0}))
    assert (began.firing, began.labels["installation"]) == (True, "moved")
    assert (ended.firing, ended.fingerprint) == (False, told[0].fingerprint)


def test_an_alert_that_no_rule_knows_any_longer_is_left_out() -> None:
    (told,) = Detector(PLAN).observe(sample(0, {"stage4_avg_abs_zscore": 3.0}))
    assert Detector(PLAN, [replace(told, name="Stage4Gone")]).firing() == ()


def test_the_signal_of_an_end_says_when_it_was() -> None:
    detector = Detector(PLAN)
    detector.observe(sample(0, {"stage4_avg_abs_zscore": 3.0}))
    (ended,) = detector.observe(sample(9, {"stage4_avg_abs_zscore": 1.0}))
    assert as_signal(ended)["ends_at"] == "2026-11-23T09:00:09Z"


def test_the_signal_has_the_agreed_shape() -> None:
    (alert,) = Detector(PLAN).observe(sample(1, {"stage4_avg_abs_zscore": 3.0}))
    signal = as_signal(alert)
    assert signal == {
        "schema": "stage4.signal/1",
        "source": "detector",
        "kind": "risk",
        "severity": "warning",
        "status": "firing",
        "name": "Stage4AvgAbsZscoreHigh",
        "labels": {"scheduler": SCHEDULER, "schedule": "mean_reversion_intraday", "installation": "stage4-test"},
        "annotations": dict(alert.annotations),
        "starts_at": "2026-11-23T09:00:01Z",
        "value": 3.0,
        "fingerprint": alert.fingerprint,
    }
    assert alert.annotations["summary_pl"] == "Średnie |z| harmonogramu mean_reversion_intraday: 3,00"


def test_a_posted_alert_holds_until_renewed_and_a_resolved_one_ends_when_it_did() -> None:
    detector = Detector(PLAN)
    until = START + timedelta(minutes=4)
    firing = detector.observe(sample(0, {"stage4_avg_abs_zscore": 3.0}))
    resolved = detector.observe(sample(9, {"stage4_avg_abs_zscore": 1.0}))
    assert [post["endsAt"] for post in as_postable(firing, until)] == ["2026-11-23T09:04:00Z"]
    assert [post["endsAt"] for post in as_postable(resolved, until)] == ["2026-11-23T09:00:09Z"]


@pytest.mark.parametrize(
    ("labels", "expected"), [({}, "cbf29ce484222325"), ({"alertname": "A"}, fingerprint({"alertname": "A"}))]
)
def test_the_fingerprint_begins_with_fnvs_basis(labels: dict[str, str], expected: str) -> None:
    assert fingerprint(labels) == expected


@given(st.lists(st.floats(min_value=0, max_value=1, allow_nan=False), max_size=30))
def test_whatever_the_values_the_last_one_decides_what_fires(values: list[float]) -> None:
    detector = Detector(PLAN)
    began = ended = 0
    for second, value in enumerate(values):
        for change in detector.observe(sample(second, {LATENCY: value})):
            began, ended = began + change.firing, ended + (not change.firing)
    last = values[-1] if values else 0.0
    assert {alert.severity for alert in detector.firing()} == {
        severity for severity, limit in (("warning", 0.150), ("critical", 0.220)) if last > limit
    }
    assert began - ended == len(detector.firing())
