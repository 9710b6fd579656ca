"""The alert rules as the playbook and the catalogue want them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from stage4 import words
from stage4.config import load
from stage4.monitoring.alerts import AlertRule, Limits, alert_name, rules_of
from stage4.monitoring.plan import plan_of
from stage4.monitoring.prometheus_rules import expression
from stage4.telemetry.catalogue import METRICS, metric
from support.monitoring_plans import PLAN
from support.programs import REPOSITORY

RULES = rules_of(PLAN)


def rule(name: str, severity: str = "critical") -> AlertRule:
    return next(rule for rule in RULES if (rule.name, rule.severity) == (name, severity))


def test_every_metric_with_thresholds_has_an_alert_for_each_of_them() -> None:
    have = {(rule.metric.name, rule.severity) for rule in RULES}
    for judged in METRICS:
        limits = judged.thresholds.get("balanced")
        if limits is not None:
            assert (judged.name, "warning") in have
            assert ((judged.name, "critical") in have) is (limits.critical is not None)


def test_name_and_severity_identify_an_alert() -> None:
    identities = [(rule.name, rule.severity) for rule in RULES]
    assert len(identities) == len(set(identities))


@pytest.mark.parametrize("each", RULES, ids=lambda rule: f"{rule.name}-{rule.severity}")
def test_every_alert_has_its_texts_in_both_languages_and_a_runbook(each: AlertRule) -> None:
    labels = dict.fromkeys(each.group_labels, "somewhere")
    texts = each.annotations(PLAN, labels, each.written(1.5))
    assert set(texts) == {"summary", "summary_pl", "description", "description_pl", "runbook_url"}
    assert texts["summary"] != texts["summary_pl"]
    assert texts["runbook_url"] == f"{PLAN.runbook_base}/{each.name}"
    assert all(words.has(f"{each.text_code}_{part}") for part in ("summary", "description"))
    assert each.name.startswith("Stage4")


def test_every_alert_but_the_watchdog_has_a_kind_of_the_playbook() -> None:
    assert {rule.kind for rule in RULES if rule.severity != "none"} == {"pnl", "risk", "latency", "no_signals"}
    assert [(rule.name, rule.kind) for rule in RULES if rule.severity == "none"] == [("Stage4Watchdog", None)]


def test_only_a_loss_over_three_limits_and_silence_over_a_quarter_call_the_incident_manager() -> None:
    called = {(rule.name, rule.severity) for rule in RULES if rule.escalate == "incident_manager"}
    assert called == {("Stage4DailyLossHigh", "critical"), ("Stage4NoSignals", "critical")}
    assert rule("Stage4DailyLossHigh").limits.of({"risk_profile": "desk"}) == 3.0
    assert rule("Stage4NoSignals").limits.of({}) == 900.0


def test_a_drought_of_one_schedule_and_a_closed_gate_never_escalate() -> None:
    quiet = {rule.name: rule.severity for rule in RULES if rule.escalate == "never"}
    assert quiet == {"Stage4NoActionableSignals": "warning", "Stage4GateClosed": "info"}


def test_incident_settings_move_the_limits_that_they_name() -> None:
    plan = replace(PLAN, no_signals_after=timedelta(seconds=12), loss_multiple=2.0)
    limits = {(rule.name, rule.severity): rule.limits.of({}) for rule in rules_of(plan)}
    assert limits["Stage4NoSignals", "critical"] == 12.0
    assert limits["Stage4NoSignals", "warning"] == 8.0
    assert limits["Stage4DailyLossHigh", "critical"] == 2.0


def test_a_profile_that_nobody_knows_is_held_to_the_strictest_limit() -> None:
    zscore = rule("Stage4AvgAbsZscoreHigh")
    assert zscore.limits.of({"risk_profile": "invented"}) == zscore.limits.of({"risk_profile": "conservative"}) == 2.9
    assert zscore.limits.of({"risk_profile": "aggressive"}) == 3.8


def test_limits_without_a_rest_fire_for_named_values_only() -> None:
    limits = Limits("schedule", (("one", 60.0),))
    assert limits.of({"schedule": "one"}) == 60.0
    assert limits.of({"schedule": "other"}) is None


def test_lower_is_worse_turns_the_expression_round() -> None:
    spread = expression(rule("Stage4SpreadCaptureLow"))
    assert spread.count(" < ") == 3
    assert " > " not in spread
    assert "min by (scheduler, schedule)" in spread


def test_names_lose_their_unit_and_gain_a_direction() -> None:
    assert alert_name(metric("stage4_loop_latency_seconds")) == "Stage4LoopLatencyHigh"
    assert alert_name(metric("stage4_spread_capture_bps")) == "Stage4SpreadCaptureLow"
    assert alert_name(metric("stage4_prices_stale")) == "Stage4PricesStale"


def test_limits_are_written_as_people_read_them() -> None:
    assert rule("Stage4DailyLossHigh").limits_text("pl") == "3"
    assert rule("Stage4AvgAbsZscoreHigh").limits_text("pl").startswith("conservative 2,9 · balanced 3,3 · aggressive")


def test_the_plan_follows_from_the_settings() -> None:
    plan = plan_of(load(REPOSITORY))
    assert plan.installation_id == "stage4-demo"
    assert plan.alerts_token_file == "secrets/alertmanager.token"
    assert plan.service_url == "http://127.0.0.1:8740"
    assert {watched.risk_profile for watched in plan.schedules} == {"conservative", "balanced", "aggressive"}
    assert plan.stale_after("") == timedelta(seconds=30)
