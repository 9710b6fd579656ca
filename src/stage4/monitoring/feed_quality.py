"""What the running environment says of its market feeds, read back from the series of the last minutes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from stage4.monitoring.panels import SeriesSource
from stage4.telemetry.catalogue import metric
from stage4.telemetry.recorder import Point, Series

LOOKED_BACK = timedelta(minutes=15)
OLDEST = timedelta(seconds=10)
"""Feeds are sampled once a second; what is older than this says nothing about now."""
STALENESS, MISSING, OUTLIERS = (
    metric(f"stage4_feed_{name}") for name in ("staleness_seconds", "missing_bars_total", "outliers_total")
)


@dataclass(frozen=True, slots=True)
class LiveFeed:
    """One feed of a running scheduler.

    `staleness` is how many seconds its next bar is overdue, None when nobody has said so lately; `worst` is the worst
    of the span looked at, in which `missing` bars and `outliers` were counted.
    """

    scheduler: str
    venue: str
    told_at: datetime | None
    staleness: float | None
    worst: float | None
    missing: int
    outliers: int


def live_feeds(source: SeriesSource, now: datetime) -> list[LiveFeed]:
    """Every feed that the last minutes know, the worst first; raises Unavailable when `source` does not answer."""
    missing, outliers, staleness = (
        {_of(series): series.points for series in source.series(each, now - LOOKED_BACK, now)}
        for each in (MISSING, OUTLIERS, STALENESS)
    )
    feeds = []
    for key in sorted({*missing, *outliers, *staleness}):
        points = staleness.get(key, ())
        newest = points[-1] if points and now - points[-1].at <= OLDEST else None
        feeds.append(
            LiveFeed(
                *key,
                told_at=points[-1].at if points else None,
                staleness=newest.value if newest else None,
                worst=max((point.value for point in points), default=None),
                missing=_grown(missing.get(key, ())),
                outliers=_grown(outliers.get(key, ())),
            )
        )
    return sorted(feeds, key=lambda feed: (feed.staleness is not None, -(feed.staleness or 0), -feed.missing))


def _of(series: Series) -> tuple[str, str]:
    return series.labels["scheduler"], series.labels["venue"]


def _grown(points: Sequence[Point]) -> int:
    """By how much a running total grew; where it fell, the environment was started anew."""
    steps = itertools.pairwise(point.value for point in points)
    return round(sum(after - before if after >= before else after for before, after in steps))
