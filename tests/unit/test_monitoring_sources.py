"""Series for panels: an exporter that repeats an old value does not make it new."""

from __future__ import annotations

from datetime import timedelta

import pytest

from stage4.errors import Unavailable
from stage4.monitoring.alertmanager import Alertmanager
from stage4.monitoring.sources import PrometheusSource, ended
from stage4.telemetry.catalogue import metric
from stage4.telemetry.recorder import Point, Series
from support.monitoring_plans import START

CLOSED = "http://127.0.0.1:1"


def at(seconds: float) -> Point:
    return Point(START + timedelta(seconds=seconds), 1.0)


def test_a_series_ends_where_the_runtime_last_told_a_value() -> None:
    repeated = Series({}, tuple(at(second) for second in range(60)))
    kept = ended(repeated, START + timedelta(seconds=20.4))
    assert kept.points[-1] == at(20.4)
    assert len(kept.points) == 22


def test_a_value_told_before_the_window_stands_alone_at_its_instant() -> None:
    repeated = Series({}, tuple(at(second) for second in range(60)))
    assert ended(repeated, START - timedelta(hours=3)).points == (at(-3 * 3600),)


def test_a_series_of_unknown_age_has_no_points() -> None:
    assert ended(Series({}, (at(0),)), None).points == ()


def test_prometheus_and_alertmanager_that_do_not_answer_are_named() -> None:
    with pytest.raises(Unavailable) as caught:
        PrometheusSource(CLOSED).series(metric("stage4_avg_abs_zscore"), START, START + timedelta(minutes=1))
    assert caught.value.code == "monitoring.prometheus_unreachable"
    assert caught.value.params["url"] == CLOSED
    with pytest.raises(Unavailable) as caught:
        Alertmanager(CLOSED).alerts()
    assert caught.value.code == "monitoring.alertmanager_unreachable"
