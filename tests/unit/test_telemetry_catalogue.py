"""The metric catalogue: the numbers of the design, how a value is judged, and words for every metric."""

from __future__ import annotations

import re

import pytest

from stage4 import words
from stage4.config.settings import Limits
from stage4.telemetry import catalogue
from stage4.telemetry.catalogue import METRICS, Metric, Thresholds, thresholds_for


@pytest.mark.parametrize(
    ("name", "conservative", "balanced", "aggressive"),
    [
        ("stage4_avg_abs_zscore", (2.4, 2.9), (2.8, 3.3), (3.1, 3.8)),
        ("stage4_allocation_error_pct", (12, 18), (16, 22), (20, 28)),
        ("stage4_secondary_delay_ms", (250, 400), (300, 450), (350, 500)),
        ("stage4_spread_capture_bps", (8, 4), (6, 3), (5, 2.5)),
        ("stage4_pnl_drawdown_pct", (1.5, 2.5), (2.5, 4), (3, 5)),
        ("stage4_loop_latency_seconds", (0.12, 0.2), (0.15, 0.22), (0.18, 0.25)),
        ("stage4_jitter_seconds", (0.02, 0.05), (0.03, 0.075), (0.04, 0.1)),
    ],
)
def test_thresholds_are_those_of_the_design(
    name: str, conservative: tuple[float, float], balanced: tuple[float, float], aggressive: tuple[float, float]
) -> None:
    assert thresholds_for(name, "conservative") == Thresholds(*conservative)
    assert thresholds_for(name, "balanced") == Thresholds(*balanced)
    assert thresholds_for(name, "aggressive") == Thresholds(*aggressive)


def test_no_signals_is_critical_after_a_quarter_of_an_hour_and_a_loss_beyond_three_limits() -> None:
    assert thresholds_for("stage4_signal_age_seconds", "balanced") == Thresholds(600, 900)
    assert thresholds_for("stage4_daily_loss_ratio", catalogue.DESK) == Thresholds(1, 3)


@pytest.mark.parametrize(("value", "level"), [(2.8, None), (2.81, "warning"), (3.3, "warning"), (3.31, "critical")])
def test_a_value_is_beyond_a_threshold_only_when_strictly_worse(value: float, level: str | None) -> None:
    metric = catalogue.metric("stage4_avg_abs_zscore")
    assert metric.level(value, thresholds_for(metric.name, "balanced")) == level


@pytest.mark.parametrize(("value", "level"), [(6, None), (5.9, "warning"), (3, "warning"), (2.9, "critical")])
def test_where_lower_is_worse_the_comparison_turns_round(value: float, level: str | None) -> None:
    metric = catalogue.metric("stage4_spread_capture_bps")
    assert metric.level(value, thresholds_for(metric.name, "balanced")) == level
    assert metric.worse(4, 7) == 4


def test_without_a_critical_threshold_a_value_is_at_most_a_warning() -> None:
    metric = catalogue.metric("stage4_prices_stale")
    assert metric.level(1, thresholds_for(metric.name, catalogue.DESK)) == "warning"
    assert metric.level(0, thresholds_for(metric.name, catalogue.DESK)) is None


@pytest.mark.parametrize("name", ["stage4_avg_abs_zscore", "avg_abs_zscore"])
def test_an_installation_may_set_its_own_thresholds(name: str) -> None:
    own = {"balanced": {name: Limits(warning=1.5, critical=2.0)}}
    assert thresholds_for("stage4_avg_abs_zscore", "balanced", own) == Thresholds(1.5, 2.0)
    assert thresholds_for("stage4_avg_abs_zscore", "aggressive", own) == Thresholds(3.1, 3.8)


def test_an_unknown_risk_profile_is_held_to_the_strictest_numbers() -> None:
    assert thresholds_for("stage4_avg_abs_zscore", "invented") == thresholds_for(
        "stage4_avg_abs_zscore", "conservative"
    )


def test_limits_can_be_read_in_another_unit() -> None:
    assert Thresholds(0.25, None).scaled(1000) == Thresholds(250, None)


def test_the_checklist_looks_at_the_four_panels_of_the_playbook_in_its_order() -> None:
    assert [metric.short_name for metric in catalogue.checklist_metrics()] == [
        "avg_abs_zscore",
        "allocation_error_pct",
        "spread_capture_bps",
        "secondary_delay_ms",
    ]


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_every_metric_has_a_name_and_an_explanation_in_both_languages(metric: Metric) -> None:
    for lang in words.languages:
        assert words.text(metric.title_code, lang)
        assert words.text(metric.help_code, lang)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_names_follow_the_conventions_of_prometheus(metric: Metric) -> None:
    assert re.fullmatch(r"stage4_[a-z0-9_]+", metric.name)
    assert metric.name.endswith("_total") == (metric.type == "counter")
    assert bool(metric.buckets) == (metric.type == "histogram")
    assert not metric.thresholds or metric.kind, "a threshold without a kind raises an alert of no kind"


def test_panels_have_places_of_their_own() -> None:
    orders = [metric.panel.order for metric in METRICS if metric.panel]
    assert len(set(orders)) == len(orders)


def test_thresholds_get_worse_from_warning_to_critical() -> None:
    for metric in METRICS:
        for limits in metric.thresholds.values():
            assert limits.critical is None or metric.worse(limits.warning, limits.critical) == limits.critical
