"""The standard alert path with Debian's Prometheus and Alertmanager, from the scheduler to the people on call."""

from __future__ import annotations

import hashlib
import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from stage4.clock import parse_instant
from support.installation import Installed, Running
from support.prometheus import alertmanager, prometheus

TIME_SCALE = 0.02
"""Five minutes to L2 become six seconds."""
LATENCY = {"alertname": "Stage4LoopLatencyHigh", "severity": "critical"}
PANELS = ("avg_abs_zscore", "allocation_error_pct", "spread_capture_bps", "secondary_delay_ms")


@dataclass(frozen=True)
class Stack:
    """An installation with its incident service, watched by a Prometheus that tells an Alertmanager."""

    installed: Installed
    prometheus: str
    alertmanager: str

    def firing(self, **labels: str) -> list[dict[str, Any]]:
        """What Prometheus's own rules hold to be firing."""
        alerts = _get(f"{self.prometheus}/api/v1/alerts")["data"]["alerts"]
        return [alert for alert in alerts if alert["state"] == "firing" and labels.items() <= alert["labels"].items()]

    def notified(self, **labels: str) -> list[dict[str, Any]]:
        """What Alertmanager was told."""
        alerts = _get(f"{self.alertmanager}/api/v2/alerts")
        return [alert for alert in alerts if labels.items() <= alert["labels"].items()]

    def scraped(self) -> bool | None:
        found = _get(f"{self.prometheus}/api/v1/query?query=up")["data"]["result"]
        return bool(found and found[0]["value"][1] == "1") or None

    def incident(self, kind: str) -> str | None:
        """The open incident of `kind`."""
        found = [each["id"] for each in self.installed.incidents() if each["kind"] == kind]
        assert len(found) < 2, "a storm of one cause is one incident"
        return found[0] if found else None

    def alerts_of(self, incident_id: str) -> set[tuple[str, str]]:
        return {(alert["name"], alert["source"]) for alert in self.installed.show(incident_id)["alerts"]}


def _get(url: str) -> Any:
    answer = httpx.get(url, timeout=5.0, trust_env=False)
    answer.raise_for_status()
    return answer.json()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """`monitoring write` joins the three; only the settings' two addresses are edited, as an operator would."""
    at = tmp_path_factory.mktemp("e2e")
    with Installed.make(at / "desk") as installed:
        deploy = installed.root / "deploy"
        with alertmanager(deploy / "alertmanager/alertmanager.yml", at / "alertmanager") as alertmanager_url:
            set_address(installed, alertmanager_url=alertmanager_url)
            assert installed.stage4("monitoring", "write").code == 0
            with prometheus(deploy / "prometheus/prometheus.yml", at / "prometheus") as prometheus_url:
                set_address(installed, prometheus_url=prometheus_url)
                assert installed.stage4("monitoring", "write").code == 0
                installed.serve(TIME_SCALE)
                yield Stack(installed, prometheus_url, alertmanager_url)


def set_address(installed: Installed, **addresses: str) -> None:
    installed.change(lambda settings: settings["operations"]["monitoring"].update(addresses))


@contextmanager
def environment(stack: Stack) -> Iterator[Running]:
    """`stage4 run`, scraped, with a detector that can reach nobody: what arrives came by Prometheus's rules."""
    running = stack.installed.run_unheard()
    try:
        stack.installed.until(stack.scraped, "the first scrape", running)
        yield running
    finally:
        running.end()


def test_a_slow_scheduler_reaches_l2_by_the_rules_alone(stack: Stack) -> None:
    installed = stack.installed
    with environment(stack) as running:
        assert not stack.firing(**LATENCY)
        installed.until(lambda: panels_have_values(stack), "values on all panels", running)
        assert installed.stage4("fault", "inject", "latency", "--for", "2m").code == 0

        fired = installed.until(lambda: stack.firing(**LATENCY) or None, "the rule")
        told = installed.until(lambda: stack.notified(**LATENCY) or None, "the alert in Alertmanager")
        assert all("/graph?g0.expr=" in alert["generatorURL"] for alert in told), "a rule raised it"
        assert fired[0]["labels"]["kind"] == "latency"
        assert parse_instant(told[0]["startsAt"]) <= parse_instant(told[0]["updatedAt"])

        incident = installed.until(lambda: stack.incident("latency"), "the incident")
        assert (LATENCY["alertname"], "alertmanager") in stack.alerts_of(incident)
        assert installed.stage4("incident", "ack", incident, "--by", "l1-anna").code == 0

        def answered() -> dict[str, Any] | None:
            steps = steps_of(stack, incident)
            return steps if steps["L1.3"]["state"] == "waiting" and steps["L1.4"]["state"] == "accepted" else None

        steps = installed.until(answered, "the machine's steps")
        assert steps["L1.1"]["state"] == "accepted"
        assert steps["L1.1"]["params"]["source"] == "alertmanager"
        assert steps["L1.2"]["state"] == "accepted"
        panels = steps["L1.3"]["facts"]
        assert (panels["source"], panels["escalates"]) == ("prometheus", False), panels
        seen = "four panels, latency beyond its limit"
        assert installed.stage4("incident", "answer", incident, "L1.3", "--by", "l1-anna", "--text", seen).code == 0
        assert steps_of(stack, incident)["L1.3"]["state"] == "accepted"

        artefacts_are_real(stack, incident)

        called = installed.until(lambda: call_to_l2(installed, incident), "the notice to L2")
        facts = installed.show(incident)["incident"]
        waited = parse_instant(called["at"]) - parse_instant(facts["onset"])
        assert waited.total_seconds() >= 300 * TIME_SCALE, "never early"
        assert facts["tier"] in ("l2", "incident_manager")
        assert installed.stage4("incident", "confirm", incident, "--by", called["person"]).code == 0
        assert steps_of(stack, incident)["L1.5"]["state"] == "accepted"
        kinds = [entry["kind"] for entry in installed.entries(category="stage4_incident")]
        assert kinds[0] == "incident_opened"
        assert {"incident_acknowledged", "incident_summary", "l2_called"} <= set(kinds)
        assert installed.shell("python scripts/verify_decision_log.py audit/decision_logs/runtime.jsonl").code == 0


def test_a_scheduler_that_was_killed_is_alerted(stack: Stack) -> None:
    with environment(stack) as running:
        assert running.end(signal.SIGKILL) == -signal.SIGKILL
        stack.installed.until(lambda: stack.firing(alertname="Stage4TelemetryDown") or None, "the rule")
        stack.installed.until(lambda: stack.notified(alertname="Stage4TelemetryDown") or None, "the alert")
        incident = stack.installed.until(lambda: stack.incident("no_signals"), "the incident")
        assert ("Stage4TelemetryDown", "alertmanager") in stack.alerts_of(incident)


def steps_of(stack: Stack, incident: str) -> dict[str, Any]:
    return {row["step"]["id"]: row["record"] for row in stack.installed.show(incident)["steps"]}


def panels_have_values(stack: Stack) -> bool | None:
    found = [_get(f"{stack.prometheus}/api/v1/query?query=stage4_{panel}")["data"]["result"] for panel in PANELS]
    return all(found) or None


def call_to_l2(installed: Installed, incident: str) -> dict[str, Any] | None:
    """The first notice of the file channel that calls L2 because the problem lasts."""
    path = installed.root / "var/notices/ops-trading.jsonl"
    notices = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
    wanted = {"incident": incident, "target": "l2", "code": "notice.l2_called_lasts"}
    return next((each for each in notices if wanted.items() <= each.items()), None)


def artefacts_are_real(stack: Stack, incident: str) -> None:
    """Each copy stands in the store under its own digest and is what its step says it is."""
    kept: dict[str, bytes] = {}
    for artefact in stack.installed.show(incident)["artefacts"]:
        digest = artefact["sha256"]
        body = (stack.installed.root / "var/evidence/sha256" / digest[:2] / digest).read_bytes()
        assert hashlib.sha256(body).hexdigest() == digest
        kept[artefact["name"]] = body
    alerts = json.loads(kept["alerts.json"])
    assert alerts["source"] == "alertmanager"
    assert any(LATENCY.items() <= alert["labels"].items() for alert in alerts["alerts"])
    assert json.loads(kept["compliance.json"])["verdict"] in ("ok", "warn")
    command = json.loads(kept["audit_stage4_compliance.py.command_log.json"])
    assert (command["exit_code"], command["argv"][1]) == (0, "scripts/audit_stage4_compliance.py")
    for panel in PANELS:
        assert kept[f"{panel}.png"].startswith(b"\x89PNG\r\n\x1a\n")
    entry = json.loads(kept["summary.json"])["entry"]
    assert entry["category"] == "stage4_incident"
    assert entry["metadata"]["ticket"] == incident
    assert entry in stack.installed.entries()
