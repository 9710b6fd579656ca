"""What every feed promises, and what the feed of JSON lines does with a writer that does not behave."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stage4.errors import Unavailable
from stage4.market import CsvReplayFeed, Feed, JsonLinesFeed, SyntheticFeed
from stage4.testing import feed_contract as contract

BEGINS = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
VENUES = ("alpha", "beta")


def line(venue: str, minute: float, **changed: Any) -> bytes:
    at = (BEGINS + minute * MINUTE).isoformat()
    said = {"venue": venue, "at": at, "open": 100, "high": 102, "low": 99, "close": 101, "volume": 1.5, **changed}
    return json.dumps(said).encode() + b"\n"


def synthetic(folder: Path) -> Feed:
    return SyntheticFeed(3, begins=BEGINS, venues=VENUES, history=5)


def recorded(folder: Path) -> Feed:
    paths = {}
    for venue in VENUES:
        rows = ["timestamp,open,high,low,close,volume"]
        rows += [f"{BEGINS + minute * MINUTE:%Y-%m-%dT%H:%M:%SZ},100,102,99,101,1.5" for minute in (0, 1, 2, 5)]
        paths[venue] = folder / f"{venue}_BTCUSD_1m.csv"
        paths[venue].write_text("\n".join(rows) + "\n", encoding="utf-8")
    return CsvReplayFeed(paths, symbol="BTCUSD", since=BEGINS, until=BEGINS + 10 * MINUTE, begins=BEGINS)


def lines(folder: Path) -> Feed:
    path = folder / "feed.jsonl"
    path.write_bytes(b"".join(line(venue, minute) for minute in (1, 2, 5) for venue in VENUES))
    return JsonLinesFeed(path, venues=VENUES, symbol="BTCUSD", interval=MINUTE)


@pytest.mark.parametrize("made", [synthetic, recorded, lines])
def test_every_feed_keeps_its_promises(made: Callable[[Path], Feed], tmp_path: Path) -> None:
    feed = made(tmp_path)
    # The lines of the future would be refused, so that all of them are of the past at the first call.
    instants = [BEGINS + (6 + minute) * MINUTE for minute in range(3)]
    bars = contract.bars_come_once_in_order_and_complete(feed, instants)
    contract.bars_are_of_the_feed_and_their_prices_agree(feed, bars)


@pytest.mark.parametrize("made", [recorded, lines])
def test_a_source_that_has_ended_is_silence(made: Callable[[Path], Feed], tmp_path: Path) -> None:
    feed = made(tmp_path)
    feed.advance(BEGINS + 60 * MINUTE)
    contract.silence_invents_nothing(feed, [BEGINS + (60 + minute) * MINUTE for minute in range(5)])


class Pipe:
    """A named pipe with its feed, and writers that come and go."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "feed.pipe"
        os.mkfifo(self.path)
        self.feed = JsonLinesFeed(self.path, venues=VENUES, symbol="BTCUSD", interval=MINUTE)

    def write(self, content: bytes) -> None:
        with self.path.open("wb", buffering=0) as writer:
            writer.write(content)

    def closes(self, minute: float) -> list[tuple[str, float]]:
        return [(bar.venue, bar.close) for bar in self.feed.advance(BEGINS + minute * MINUTE)]


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[Pipe]:
    made = Pipe(tmp_path)
    yield made
    made.feed.close()


def test_a_folder_is_no_pipe_and_is_not_left_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(Unavailable, match=r"market\.unreadable.*Is a directory"):
        JsonLinesFeed(tmp_path, venues=VENUES, symbol="BTCUSD", interval=MINUTE)
    assert len(os.listdir("/proc/self/fd")) == before


def test_without_a_writer_nothing_comes_and_nothing_waits(pipe: Pipe) -> None:
    assert pipe.closes(1) == []


def test_writers_may_come_and_go(pipe: Pipe) -> None:
    pipe.write(line("alpha", 1))
    assert pipe.closes(1) == [("alpha", 101.0)]
    assert pipe.closes(2) == []
    pipe.write(line("alpha", 2, close=100.5))
    assert pipe.closes(2) == [("alpha", 100.5)]
    assert pipe.feed.refused == 0


def test_half_a_line_waits_for_its_other_half(pipe: Pipe) -> None:
    whole = line("alpha", 1)
    with pipe.path.open("wb", buffering=0) as writer:
        writer.write(whole[:20])
        assert pipe.closes(1) == []
        writer.write(whole[20:])
        assert pipe.closes(1) == [("alpha", 101.0)]


def test_the_delay_is_how_late_the_bar_reached_us(pipe: Pipe) -> None:
    pipe.write(line("alpha", 1))
    (bar,) = pipe.feed.advance(BEGINS + MINUTE + timedelta(milliseconds=250))
    assert bar.delay_ms == 250.0


def test_a_bar_of_a_clock_that_is_ahead_waits_for_its_time(pipe: Pipe) -> None:
    pipe.write(line("alpha", 1.5))
    assert pipe.closes(1) == []
    assert pipe.closes(1.5) == [("alpha", 101.0)]


@pytest.mark.parametrize(
    "content",
    [
        b"nonsense\n",
        b"[]\n",
        b"[" * 100_000 + b"\n",
        b"x" * 10_000 + b"\n",
        line("mars", 1),
        line("alpha", 1, close=103),
        line("alpha", 1, low=-1),
        line("alpha", 1, volume=-1),
        line("alpha", 1, open=1e308, high=1e308, low=1e308, close=1e308),
        line("alpha", 1, open=1e-308, high=1e-308, low=1e-308, close=1e-308),
        line("alpha", 1, volume=1e16),
        line("alpha", 1, at="2026-11-23T09:01:00"),
        line("alpha", 1, close="101"),
        line("alpha", 1, note="more"),
        line("alpha", 60),
    ],
)
def test_what_is_no_bar_is_refused_and_counted_and_the_next_line_is_read(content: bytes, pipe: Pipe) -> None:
    with pipe.path.open("r+b", buffering=0) as both:
        for begin in range(0, len(content), 4000):
            both.write(content[begin : begin + 4000])
            assert pipe.closes(1) == []
        both.write(line("alpha", 1))
        assert pipe.closes(1) == [("alpha", 101.0)]
    assert pipe.feed.refused >= 1


def test_a_bar_that_is_not_newer_is_refused(pipe: Pipe) -> None:
    pipe.write(line("alpha", 2) + line("alpha", 2, close=100) + line("alpha", 1))
    assert pipe.closes(3) == [("alpha", 101.0)]
    assert pipe.feed.refused == 2


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=300))
def test_whatever_is_written_nothing_raises(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("feed") / "lines"
    path.write_bytes(content)
    feed = JsonLinesFeed(path, venues=VENUES, symbol="BTCUSD", interval=MINUTE)
    assert feed.advance(BEGINS) == []
    feed.close()


def test_a_pipe_that_is_not_there_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"files\.missing"):
        JsonLinesFeed(tmp_path / "nothing", venues=VENUES, symbol="BTCUSD", interval=MINUTE)
