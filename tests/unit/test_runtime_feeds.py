"""Which feed the settings ask for."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stage4.config import Installation
from stage4.config.settings import CrossExchangeArbitrage, Feed
from stage4.errors import UsageError
from stage4.market import CsvReplayFeed, JsonLinesFeed, SyntheticFeed
from stage4.runtime.desk import desk_schedules
from stage4.runtime.feeds import HISTORY_BARS, configured_feed
from support.desks import BEGINS, settings, walk


def installation(root: Path, feed: Feed, **changed: Any) -> Installation:
    chosen = settings()
    operations = msgspec.structs.replace(chosen.operations, feed=feed)
    return Installation(root, msgspec.structs.replace(chosen, operations=operations, **changed))


def made(of: Installation) -> SyntheticFeed | CsvReplayFeed | JsonLinesFeed:
    _, schedules = desk_schedules(of.settings)
    feed = configured_feed(of, schedules, BEGINS)
    assert isinstance(feed, SyntheticFeed | CsvReplayFeed | JsonLinesFeed)
    return feed


def recording(folder: Path, venue: str) -> str:
    rows = ["timestamp,open,high,low,close,volume"]
    for minute, price in enumerate(walk(1, HISTORY_BARS + 60)):
        at = BEGINS + timedelta(minutes=minute)
        rows.append(f"{at:%Y-%m-%dT%H:%M:%SZ},{price},{price},{price},{price},1.0")
    name = f"{venue}_BTCUSD_1m.csv"
    (folder / name).write_text("\n".join(rows) + "\n", encoding="utf-8")
    return name


def test_the_synthetic_feed_has_the_venues_of_the_arbitrage_and_a_history(tmp_path: Path) -> None:
    feed = made(installation(tmp_path, Feed(seed=3)))
    assert feed.venues == ("alpha", "beta")
    assert feed.interval == timedelta(seconds=1)
    assert len(feed.advance(BEGINS)) == 2 * (HISTORY_BARS + 1)


def test_a_recording_begins_when_its_history_is_full_and_runs_at_its_speed(tmp_path: Path) -> None:
    paths = tuple(recording(tmp_path, venue) for venue in ("alpha", "beta"))
    feed = made(installation(tmp_path, Feed(kind="csv", paths=paths, speed=60.0)))
    assert feed.venues == ("alpha", "beta")
    assert feed.interval == timedelta(minutes=1)
    assert len(feed.advance(BEGINS)) == 2 * HISTORY_BARS
    assert len(feed.advance(BEGINS + timedelta(seconds=5))) == 2 * 5


def test_a_recording_whose_history_would_end_after_the_calendar_is_refused(tmp_path: Path) -> None:
    rows = ["timestamp,open,high,low,close,volume", "1970-01-01T00:00:00Z,1,1,1,1,1", "2199-01-01T00:00:00Z,1,1,1,1,1"]
    for venue in ("alpha", "beta"):
        (tmp_path / f"{venue}_BTCUSD.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"market\.no_such_time"):
        made(installation(tmp_path, Feed(kind="csv", paths=("alpha_BTCUSD.csv", "beta_BTCUSD.csv"))))


def test_two_recordings_of_one_venue_are_refused(tmp_path: Path) -> None:
    name = recording(tmp_path, "alpha")
    with pytest.raises(UsageError, match=r"market\.same_venue"):
        made(installation(tmp_path, Feed(kind="csv", paths=(name, name))))


def test_a_recording_must_be_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"runtime\.no_recording"):
        made(installation(tmp_path, Feed(kind="csv")))


def test_an_arbitrage_on_a_venue_that_the_feed_does_not_have_is_refused(tmp_path: Path) -> None:
    paths = tuple(recording(tmp_path, venue) for venue in ("alpha", "beta"))
    elsewhere = {"core_cross_exchange": CrossExchangeArbitrage(primary_exchange="alpha", secondary_exchange="mars")}
    with pytest.raises(UsageError, match=r"runtime\.unknown_venue") as caught:
        made(installation(tmp_path, Feed(kind="csv", paths=paths), cross_exchange_arbitrage_strategies=elsewhere))
    assert caught.value.params["venue"] == "mars"


def test_a_pipe_of_json_lines_has_the_venues_of_the_arbitrage(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "feed.pipe")
    feed = made(installation(tmp_path, Feed(kind="json_lines", paths=("feed.pipe",), symbol="ETH/USD")))
    assert isinstance(feed, JsonLinesFeed)
    assert (feed.venues, feed.symbol, feed.interval) == (("alpha", "beta"), "ETH/USD", timedelta(seconds=1))
    feed.close()


@pytest.mark.parametrize("paths", [(), ("one", "two")])
def test_a_json_lines_feed_has_exactly_one_pipe(tmp_path: Path, paths: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match=r"runtime\.one_pipe"):
        made(installation(tmp_path, Feed(kind="json_lines", paths=paths)))


def test_a_stormy_market_can_be_chosen(tmp_path: Path) -> None:
    until = BEGINS + timedelta(seconds=2000)
    calm = made(installation(tmp_path, Feed(seed=3))).advance(until)
    stormy = made(installation(tmp_path, Feed(seed=3, weather="stormy"))).advance(until)
    assert len(stormy) < len(calm)
