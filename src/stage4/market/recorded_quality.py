"""Judges recordings: reads each file and measures what a feed made of it would be worth."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from stage4.errors import UsageError
from stage4.market.csv_replay import read_as_it_is, recorded_span, venue_and_symbol
from stage4.market.quality import FeedQuality, QualityMeter


def quality_of(paths: Iterable[Path], as_of: datetime | None = None) -> tuple[FeedQuality, ...]:
    """The quality of each recording at `as_of`; without it, at the end of the one that goes on longest.

    What was recorded after `as_of` counts for nothing: nobody could know it then.

    Raises what `market.csv_replay` raises for a file that cannot be read at all.
    """
    meters = [_read(path, as_of) for path in paths]
    ends = [meter.last for meter in meters if meter.last is not None]
    at = as_of or max(ends, default=None)
    return tuple(meter.seen(at) for meter in meters)


def _read(path: Path, as_of: datetime | None) -> QualityMeter:
    venue, symbol = venue_and_symbol(path)
    _, interval = recorded_span(path)
    meter = QualityMeter(venue, symbol, interval)
    for row in read_as_it_is(path, venue=venue, symbol=symbol, interval=interval, until=as_of):
        if isinstance(row, UsageError):
            meter.unreadable += 1
        else:
            meter.take(row)
    return meter
