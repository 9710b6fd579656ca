"""What is read back of live feeds, with values by hand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from stage4.monitoring.feed_quality import LiveFeed, live_feeds
from stage4.monitoring.panels import SourceName
from stage4.telemetry.catalogue import Metric
from stage4.telemetry.recorder import Point, Series

NOW = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)


class Told:
    """A source with these values, by metric and venue, the last one `ago` seconds before now."""

    def __init__(self, ago: float, **values: dict[str, list[float]]) -> None:
        self._ago, self._values = ago, values

    @property
    def name(self) -> SourceName:
        return "telemetry"

    def series(self, metric: Metric, since: datetime, until: datetime) -> Sequence[Series]:
        assert until - since == timedelta(minutes=15)
        return [
            Series(
                {"scheduler": "core", "venue": venue},
                tuple(
                    Point(NOW - timedelta(seconds=self._ago + len(values) - 1 - place), value)
                    for place, value in enumerate(values)
                ),
            )
            for venue, values in self._values.get(metric.short_name, {}).items()
        ]


def test_the_worst_feed_comes_first_with_what_was_counted_lately() -> None:
    source = Told(
        1,
        feed_staleness_seconds={"alpha": [0, 0, 0], "beta": [0, 90, 45]},
        feed_missing_bars_total={"alpha": [7, 7, 7], "beta": [3, 5, 9]},
        feed_outliers_total={"alpha": [4, 5, 5], "beta": [1, 1, 1]},
    )
    at = NOW - timedelta(seconds=1)
    assert live_feeds(source, NOW) == [
        LiveFeed("core", "beta", at, staleness=45, worst=90, missing=6, outliers=0),
        LiveFeed("core", "alpha", at, staleness=0, worst=0, missing=0, outliers=1),
    ]


def test_what_was_told_long_ago_is_not_known_now() -> None:
    (feed,) = live_feeds(Told(11, feed_staleness_seconds={"alpha": [0, 3]}), NOW)
    assert (feed.staleness, feed.worst, feed.told_at) == (None, 3, NOW - timedelta(seconds=11))


def test_a_start_anew_counts_from_nothing() -> None:
    (feed,) = live_feeds(Told(1, feed_missing_bars_total={"alpha": [10, 12, 1, 3]}), NOW)
    assert feed.missing == 2 + 1 + 2


def test_without_series_there_are_no_feeds() -> None:
    assert live_feeds(Told(1), NOW) == []
