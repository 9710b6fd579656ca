"""Makes the feed that the settings ask for."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from stage4.clock import parse_duration
from stage4.config import Installation
from stage4.errors import UsageError
from stage4.market.bar import Feed
from stage4.market.csv_replay import CsvReplayFeed, recorded_span, recordings_by_venue
from stage4.market.json_lines import JsonLinesFeed
from stage4.market.synthetic import CALM, STORMY, SyntheticFeed
from stage4.runtime.desk import DeskSchedule
from stage4.runtime.strategies.cross_exchange import CrossExchange

HISTORY_BARS = 300
"""Bars known at the start, so that no schedule has to wait for its warm-up."""
DEFAULT_VENUES = ("alpha", "beta")


def configured_feed(installation: Installation, schedules: Iterable[DeskSchedule], now: datetime) -> Feed:
    """The feed of `operations.feed`, beginning at `now`.

    Raises UsageError `runtime.no_recording`, `one_pipe` or `unknown_venue`, and what opening the source raises.
    """
    known = tuple(schedules)
    chosen = installation.settings.operations.feed
    pairs = [
        (schedule.strategy.primary_exchange, schedule.strategy.secondary_exchange)
        for schedule in known
        if isinstance(schedule.strategy, CrossExchange)
    ]
    venues = pairs[0] if pairs else DEFAULT_VENUES
    interval = min(parse_duration(schedule.settings.interval) for schedule in known)
    feed: Feed
    if chosen.kind == "synthetic":
        feed = SyntheticFeed(
            chosen.seed,
            begins=now,
            venues=venues,
            symbol=chosen.symbol,
            interval=interval,
            speed=chosen.speed,
            history=HISTORY_BARS,
            model=STORMY if chosen.weather == "stormy" else CALM,
        )
    elif chosen.kind == "json_lines":
        if len(chosen.paths) != 1:
            raise UsageError("runtime.one_pipe", count=len(chosen.paths))
        path = installation.path(chosen.paths[0])
        feed = JsonLinesFeed(path, venues=venues, symbol=chosen.symbol, interval=interval)
    else:
        feed = _recording(installation, now)
    for pair in pairs:
        for venue in pair:
            if venue not in feed.venues:
                raise UsageError("runtime.unknown_venue", venue=venue, known=", ".join(feed.venues))
    return feed


def _recording(installation: Installation, now: datetime) -> Feed:
    chosen = installation.settings.operations.feed
    if not chosen.paths:
        raise UsageError("runtime.no_recording")
    paths, symbol = recordings_by_venue(installation.path(written) for written in chosen.paths)
    begin, interval = recorded_span(next(iter(paths.values())))
    try:
        since = begin + HISTORY_BARS * interval
    except OverflowError as error:
        raise UsageError("market.no_such_time", time=begin.date()) from error
    return CsvReplayFeed(
        paths,
        symbol=symbol,
        since=since,
        until=datetime.max.replace(tzinfo=UTC) - timedelta(days=1),
        begins=now,
        speed=chosen.speed,
        history=HISTORY_BARS,
        interval=interval,
    )
