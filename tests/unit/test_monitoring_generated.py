"""The generated files: in step with the catalogue, and accepted by Prometheus' and Alertmanager's own tools."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from stage4.config import load
from stage4.monitoring.generate import ALERTMANAGER, GRAFANA, PROMETHEUS, generate, generate_from
from stage4.telemetry import catalogue
from support.monitoring_plans import PLAN, write_files
from support.programs import REPOSITORY
from support.prometheus import run_tool

METRIC = re.compile(r"\bstage4_[a-z_]+")


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("generated")
    write_files(root, PLAN)
    return root


def test_the_repository_holds_what_its_settings_generate() -> None:
    fresh = generate(load(REPOSITORY))
    stale = [str(path) for path, content in fresh.items() if (REPOSITORY / path).read_bytes() != content]
    assert not stale, "run: stage4 monitoring write"


def test_generating_twice_gives_the_same_bytes() -> None:
    assert generate_from(PLAN) == generate_from(PLAN)


def test_promtool_accepts_the_configuration_and_the_rules(generated: Path) -> None:
    answer = run_tool("promtool", "check", "config", "--lint-fatal", generated / PROMETHEUS / "prometheus.yml")
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_every_alert_fires_in_promtool_with_its_labels_and_its_polish_text(generated: Path) -> None:
    tests = generated / PROMETHEUS / "stage4.rules.test.yml"
    rules = yaml.safe_load((generated / PROMETHEUS / "stage4.rules.yml").read_text(encoding="utf-8"))
    named = {rule["alert"] for group in rules["groups"] for rule in group["rules"]}
    assert named == {test["name"] for test in yaml.safe_load(tests.read_text(encoding="utf-8"))["tests"]}
    answer = run_tool("promtool", "test", "rules", tests)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_the_unit_tests_notice_a_rule_with_another_limit(generated: Path, tmp_path: Path) -> None:
    for name in ("stage4.rules.yml", "stage4.rules.test.yml"):
        text = (generated / PROMETHEUS / name).read_text(encoding="utf-8")
        (tmp_path / name).write_text(text.replace("> 0.22\n", "> 0.99\n"), encoding="utf-8")
    assert run_tool("promtool", "test", "rules", tmp_path / "stage4.rules.test.yml").returncode == 1


def test_amtool_accepts_the_configuration(generated: Path) -> None:
    answer = run_tool("amtool", "check-config", generated / ALERTMANAGER / "alertmanager.yml")
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        (("alertname=Stage4LoopLatencyHigh", "severity=critical", "kind=latency"), "stage4-critical"),
        (("alertname=Stage4LoopLatencyHigh", "severity=warning", "kind=latency"), "stage4"),
        (("alertname=Stage4GateClosed", "severity=info"), "stage4"),
        (("alertname=Stage4Watchdog", "severity=none"), "stage4-watchdog"),
        (("alertname=SomebodyElses",), "stage4"),
    ],
)
def test_alerts_take_their_routes(generated: Path, labels: tuple[str, ...], receiver: str) -> None:
    config = generated / ALERTMANAGER / "alertmanager.yml"
    answer = run_tool("amtool", "config", "routes", "test", f"--config.file={config}", *labels)
    assert answer.stdout.split() == [receiver], answer.stderr


def test_critical_alerts_wait_for_nobody(generated: Path) -> None:
    document = yaml.safe_load((generated / ALERTMANAGER / "alertmanager.yml").read_text(encoding="utf-8"))
    critical = next(r for r in document["route"]["routes"] if r["receiver"] == "stage4-critical")
    assert critical["group_wait"] == "0s"
    assert critical["group_by"] == ["..."]
    for receiver in document["receivers"]:
        (webhook,) = receiver["webhook_configs"]
        assert webhook["url"].endswith("/api/v1/alerts/alertmanager")
        assert webhook["http_config"]["authorization"]["type"] == "Bearer"


def dashboard(root: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((root / GRAFANA / "dashboards/stage4-multi.json").read_text("utf-8"))
    return document


def test_dashboard_and_rules_name_only_metrics_of_the_catalogue(generated: Path) -> None:
    shown = dashboard(generated)
    queries = [target["expr"] for panel in shown["panels"] for target in panel.get("targets", [])]
    rules = yaml.safe_load((generated / PROMETHEUS / "stage4.rules.yml").read_text(encoding="utf-8"))
    queries += [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    queries += [shown["templating"]["list"][1]["definition"]]
    named = {name for query in queries for name in METRIC.findall(query)}
    assert named <= {metric.name for metric in catalogue.METRICS}
    assert {metric.name for metric in catalogue.panel_metrics()} <= named


def test_the_dashboard_is_the_playbooks_and_finds_its_data_source_by_variable(generated: Path) -> None:
    shown = dashboard(generated)
    assert (shown["uid"], shown["title"]) == ("stage4-multi", "Stage4 – Multi-Strategy Operations")
    assert "id" not in shown
    sources = {panel["datasource"]["uid"] for panel in shown["panels"] if "datasource" in panel}
    assert sources == {"${datasource}"}
    ids = [panel["id"] for panel in shown["panels"]]
    assert len(ids) == len(set(ids))
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in shown["panels"]]
    assert len(places) == len(set(places))


def test_a_panel_of_a_lower_is_worse_metric_begins_with_red(generated: Path) -> None:
    panels = {panel["title"].split(" – ")[-1]: panel for panel in dashboard(generated)["panels"]}
    steps = panels["spread_capture_bps"]["fieldConfig"]["defaults"]["thresholds"]["steps"]
    assert [step["color"] for step in steps] == ["red", "orange", "green"]
    assert [step["value"] for step in steps] == [None, 4, 8]
