"""Real Alertmanager and Prometheus: both alert paths end in one webhook, as one alert."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from stage4.clock import SystemClock
from stage4.monitoring.alertmanager import Alertmanager
from stage4.monitoring.detector import Detector, fingerprint
from stage4.monitoring.direct import AlertmanagerReceiver, DirectAlerts
from stage4.monitoring.generate import ALERTMANAGER, PROMETHEUS
from stage4.monitoring.panels import PanelState, read_panel
from stage4.monitoring.plan import MonitoringPlan
from stage4.monitoring.sources import PrometheusSource
from stage4.telemetry.catalogue import metric
from stage4.telemetry.exporter import Exporter, MetricsEndpoint
from stage4.telemetry.sample import Sample
from support.monitoring_plans import PLAN, REVERSION, SCHEDULER, write_files
from support.prometheus import Deliveries, alertmanager, prometheus, until, webhook_receiver

LATENCY = "stage4_loop_latency_seconds"
TOKEN = "alertmanager-secret"
WEBHOOK = "/api/v1/alerts/alertmanager"


@dataclass
class Stack:
    """A receiver in the service's place, and a running Alertmanager that was generated for it."""

    plan: MonitoringPlan
    service: Deliveries
    alertmanager: Alertmanager


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/alertmanager.token").write_text(TOKEN, encoding="utf-8")
    with webhook_receiver() as service:
        plan = replace(PLAN, service_url=service.url)
        write_files(tmp_path, plan)
        with alertmanager(tmp_path / ALERTMANAGER / "alertmanager.yml", tmp_path / "alertmanager") as url:
            yield Stack(replace(plan, alertmanager_url=url), service, Alertmanager(url))


def told(value: float, seq: int = 1) -> Sample:
    return Sample(
        seq=seq,
        at=datetime.now(UTC),
        scheduler=SCHEDULER,
        schedule=REVERSION,
        strategy="core",
        risk_profile="balanced",
        values={LATENCY: value},
    )


def test_a_detected_alert_reaches_the_webhook_and_resolves_there(stack: Stack) -> None:
    path = DirectAlerts(
        stack.plan, [AlertmanagerReceiver(stack.alertmanager.url, SystemClock())], SystemClock()
    ).start()
    try:
        begun = datetime.now(UTC)
        path(told(0.4))
        critical = {"alertname": "Stage4LoopLatencyHigh", "severity": "critical"}
        (delivered, *_) = until(lambda: stack.service.alerts(**critical) or None, "the alert")
        assert datetime.now(UTC) - begun < timedelta(seconds=5)
        assert delivered["status"] == "firing"
        assert delivered["annotations"]["summary_pl"] == f"Opóźnienie pętli harmonogramu {REVERSION}: 0,400 s"
        assert delivered["fingerprint"] == fingerprint(delivered["labels"])
        where, authorization, body = stack.service.received[0]
        assert (where, authorization, body["version"]) == (WEBHOOK, f"Bearer {TOKEN}", "4")

        path(told(0.01, 2))
        until(lambda: any(a["status"] == "resolved" for a in stack.service.alerts(**critical)) or None, "its end")
    finally:
        path.close()


def test_every_alert_of_the_detector_is_taken_and_listed_with_its_fingerprint(stack: Stack) -> None:
    detector = Detector(stack.plan)
    for seq, (name, value) in enumerate(
        (("stage4_avg_abs_zscore", 9.0), ("stage4_spread_capture_bps", 0.5), ("stage4_prices_stale", 1.0))
    ):
        detector.observe(replace_values(told(0.0, seq), {name: value}))
    AlertmanagerReceiver(stack.alertmanager.url, SystemClock()).send(detector.firing())
    listed = until(lambda: found if len(found := stack.alertmanager.alerts()) == 5 else None, "five alerts")
    assert {alert["fingerprint"] for alert in listed} == {alert.fingerprint for alert in detector.firing()}
    only = stack.alertmanager.alerts(['alertname="Stage4SpreadCaptureLow"', 'severity="critical"'])
    assert [alert["labels"]["kind"] for alert in only] == ["pnl"]


def replace_values(sample: Sample, values: dict[str, float]) -> Sample:
    return Sample(
        seq=sample.seq,
        at=sample.at,
        scheduler=sample.scheduler,
        schedule=sample.schedule,
        risk_profile=sample.risk_profile,
        values=values,
    )


def test_prometheus_and_the_detector_raise_one_alert_and_its_panel_is_red(stack: Stack, tmp_path: Path) -> None:
    exporter = Exporter()
    endpoint = MetricsEndpoint(exporter, "127.0.0.1", 0)
    try:
        plan = replace(stack.plan, exporter=f"127.0.0.1:{endpoint.port}")
        write_files(tmp_path, plan)
        exporter.apply(told(0.4))
        detector = Detector(plan)
        detector.observe(told(0.4))
        with prometheus(tmp_path / PROMETHEUS / "prometheus.yml", tmp_path / "prometheus") as url:

            def firing() -> set[str] | None:
                found = stack.alertmanager.alerts(['alertname="Stage4LoopLatencyHigh"'])
                return {alert["fingerprint"] for alert in found} if len(found) == 2 else None

            assert until(firing, "the rule's alerts") == {alert.fingerprint for alert in detector.firing()}
            until(lambda: stack.service.alerts(alertname="Stage4Watchdog") or None, "the watchdog")

            now = datetime.now(UTC)
            since = now - timedelta(minutes=5)
            shown = read_panel(PrometheusSource(url), metric(LATENCY), plan, since, now)
            assert shown.state is PanelState.RED
            assert shown.worst is not None
            assert shown.worst.name == REVERSION
            later = now + timedelta(seconds=30)
            assert read_panel(PrometheusSource(url), metric(LATENCY), plan, since, later).state is PanelState.STALE
            absent = read_panel(PrometheusSource(url), metric("stage4_avg_abs_zscore"), plan, since, now)
            assert absent.state is PanelState.NO_DATA
    finally:
        endpoint.close()


def test_a_dead_exporter_is_an_alert(stack: Stack, tmp_path: Path) -> None:
    write_files(tmp_path, replace(stack.plan, exporter="127.0.0.1:1"))
    with prometheus(tmp_path / PROMETHEUS / "prometheus.yml", tmp_path / "prometheus"):
        (alert, *_) = until(lambda: stack.service.alerts(alertname="Stage4TelemetryDown") or None, "the alert")
    assert (alert["labels"]["severity"], alert["labels"]["kind"]) == ("critical", "no_signals")
