"""Panel states: red, yellow, green, no data, stale; the worst series decides."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stage4.errors import Unavailable
from stage4.monitoring.panels import (
    Panel,
    PanelState,
    SourceName,
    amount,
    description,
    judge,
    limits_text,
    panel_document,
    read_checklist_panels,
)
from stage4.telemetry.catalogue import METRICS, Metric, checklist_metrics, metric
from stage4.telemetry.recorder import Point, Series
from support.monitoring_plans import ARBITRAGE, PLAN, REVERSION, SCHEDULER, START

ZSCORE, SPREAD = metric("stage4_avg_abs_zscore"), metric("stage4_spread_capture_bps")
NOW = START + timedelta(minutes=15)


def series(*values: float, schedule: str = REVERSION, profile: str = "balanced", ended: float = 0) -> Series:
    """One point a second, the last one `ended` seconds before now."""
    labels = {"scheduler": SCHEDULER, "schedule": schedule, "strategy": "core", "risk_profile": profile}
    began = NOW - timedelta(seconds=ended + len(values) - 1)
    return Series(labels, tuple(Point(began + timedelta(seconds=n), value) for n, value in enumerate(values)))


def panel(judged: Metric, *found: Series) -> Panel:
    return judge(judged, found, PLAN, since=START, now=NOW, source="telemetry")


@pytest.mark.parametrize(
    ("value", "state"),
    [(0.5, "green"), (2.8, "green"), (2.81, "yellow"), (3.3, "yellow"), (3.31, "red")],
)
def test_a_value_beyond_its_threshold_changes_the_state(value: float, state: str) -> None:
    assert panel(ZSCORE, series(value)).state == state


@pytest.mark.parametrize(("value", "state"), [(12.0, "green"), (5.0, "green"), (4.9, "yellow"), (2.4, "red")])
def test_less_spread_capture_is_worse(value: float, state: str) -> None:
    assert panel(SPREAD, series(value, schedule=ARBITRAGE, profile="aggressive")).state == state


def test_each_series_is_held_to_its_own_profile() -> None:
    assert panel(ZSCORE, series(3.0, profile="aggressive")).state == "green"
    assert panel(ZSCORE, series(3.0, profile="conservative")).state == "red"
    assert panel(ZSCORE, series(3.0, profile="invented")).state == "red"


def test_no_series_and_a_series_without_points_are_no_data() -> None:
    assert panel(ZSCORE).state is PanelState.NO_DATA
    assert panel(ZSCORE, series()).state is PanelState.NO_DATA


def test_an_old_value_is_stale_however_good_it_was() -> None:
    assert panel(ZSCORE, series(0.1, 0.1, ended=13)).state is PanelState.STALE
    assert panel(ZSCORE, series(0.1, 0.1, ended=11)).state is PanelState.GREEN


def test_a_value_from_the_future_is_not_read() -> None:
    assert panel(ZSCORE, series(0.1, ended=-5)).state is PanelState.NO_DATA


def test_the_worst_series_decides_and_stands_first() -> None:
    shown = panel(ZSCORE, series(0.1, schedule="one"), series(9.0, schedule="two"), series(2.9, schedule="three"))
    assert shown.state is PanelState.RED
    assert [reading.name for reading in shown.readings] == ["two", "three", "one"]


def test_one_silent_series_is_not_hidden_by_a_good_one() -> None:
    assert panel(ZSCORE, series(0.1, schedule="one"), series(0.1, schedule="two", ended=600)).state == "stale"


def test_the_time_in_a_state_begins_where_its_run_began() -> None:
    shown = panel(ZSCORE, series(3.4, 1.0, 3.4, 3.5, 3.6))
    assert shown.worst is not None
    assert shown.worst.since == NOW - timedelta(seconds=2)


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(min_value=13, max_value=10_000))
def test_without_fresh_data_a_panel_is_never_acceptable(value: float, age: int) -> None:
    for judged in checklist_metrics():
        assert not panel(judged, series(value, ended=age)).state.acceptable
        assert not panel(judged).state.acceptable


class Silent:
    """A source that does not answer."""

    name: SourceName = "prometheus"

    def series(self, metric: Metric, since: datetime, until: datetime) -> Sequence[Series]:
        raise Unavailable("monitoring.prometheus_unreachable", url="http://127.0.0.1:1", reason="refused")


def test_a_source_that_does_not_answer_gives_four_panels_without_data_that_say_why() -> None:
    shown = read_checklist_panels(Silent(), PLAN, START, NOW)
    assert [one.metric.short_name for one in shown] == [
        "avg_abs_zscore", "allocation_error_pct", "spread_capture_bps", "secondary_delay_ms",
    ]  # fmt: skip
    assert {one.state for one in shown} == {PanelState.NO_DATA}
    assert "Prometheus pod http://127.0.0.1:1 nie odpowiada" in description(shown[0], "pl")
    assert panel_document(shown[0])["unread"] == "monitoring.prometheus_unreachable"


def test_the_description_says_state_value_threshold_and_time() -> None:
    said = description(panel(ZSCORE, series(3.4)), "pl")
    assert said == (
        "Średnie |z|, powrót do średniej: CZERWONY – stan krytyczny. Wartość: 3,40 σ. "
        "Progi (balanced): ostrzeżenie powyżej 2,80 σ, krytyczny powyżej 3,30 σ. "
        "Dane z 2026-11-23 09:15:00Z · sprawdzono 2026-11-23 09:15:00Z · źródło: telemetria Stage4."
    )


def test_a_metric_of_the_desk_names_the_desk() -> None:
    drawdown = metric("stage4_pnl_drawdown_pct")
    found = Series({"scheduler": SCHEDULER, "risk_profile": "desk"}, (Point(NOW, 3.0),))
    shown = panel(drawdown, found)
    assert shown.state is PanelState.YELLOW
    assert "(cały dział)" in limits_text(shown, "pl")


def test_the_document_holds_every_number() -> None:
    document = panel_document(panel(ZSCORE, series(1.0, 3.4)))
    assert document["schema"] == "stage4.panel/1"
    assert document["state"] == "red"
    assert document["acceptable"] is False
    (reading,) = document["readings"]  # type: ignore[misc]
    assert reading["thresholds"] == {"warning": 2.8, "critical": 3.3}
    assert reading["points"] == [["2026-11-23T09:14:59Z", 1.0], ["2026-11-23T09:15:00Z", 3.4]]


def test_a_state_is_said_in_a_word_and_every_unit_of_the_catalogue_has_one() -> None:
    assert amount(metric("stage4_prices_stale"), 1.0, "pl") == "tak"
    for judged in METRICS:
        assert amount(judged, 0.0, "pl")
