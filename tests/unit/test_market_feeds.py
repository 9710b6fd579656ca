"""Feeds: the synthetic market and recorded bars, gaps and all."""

from __future__ import annotations

import gzip
import itertools
import math
import os
import tracemalloc
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stage4.errors import Unavailable, UsageError
from stage4.market import Bar, CsvReplayFeed, SyntheticFeed
from stage4.market.bar import prices_agree
from stage4.market.csv_replay import (
    day_bounds,
    read_as_it_is,
    read_bars,
    recorded_span,
    recordings_by_venue,
    venue_and_symbol,
)
from stage4.market.quality import Gap, QualityMeter, gaps, is_stale
from stage4.market.synthetic import CALM, STORMY, MarketModel

MIDNIGHT = datetime(2023, 3, 11, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HEADER = "timestamp,open,high,low,close,volume\n"
ROWS = [f"2023-03-11T00:{minute:02d}:00Z,100,102,99,101,{minute}.5" for minute in (0, 1, 2, 5, 6)]


def recording(folder: Path, rows: list[str], name: str = "alpha_BTCUSD_1m.csv.gz") -> Path:
    path = folder / name
    path.write_bytes(gzip.compress((HEADER + "\n".join(rows) + "\n").encode()))
    return path


def bars_of(path: Path, until: datetime = MIDNIGHT + timedelta(days=1)) -> list[Bar]:
    return list(read_bars(path, venue="alpha", symbol="BTCUSD", since=MIDNIGHT, until=until, interval=MINUTE))


def test_the_same_seed_gives_the_same_market_however_often_it_is_asked() -> None:
    def feed() -> SyntheticFeed:
        return SyntheticFeed(5, begins=MIDNIGHT, history=20)

    at_once = feed().advance(MIDNIGHT + 10 * MINUTE)
    piecewise = feed()
    pieces = [bar for minute in range(11) for bar in piecewise.advance(MIDNIGHT + minute * MINUTE)]
    assert pieces == list(at_once)
    assert len(at_once) == 2 * 31
    assert SyntheticFeed(6, begins=MIDNIGHT, history=20).advance(MIDNIGHT) != list(at_once)[:42]


def test_storms_jumps_and_outages_are_seeded_and_leave_a_calm_market_as_it_was() -> None:
    def bars(model: MarketModel) -> list[Bar]:
        return list(SyntheticFeed(5, begins=MIDNIGHT, history=0, model=model).advance(MIDNIGHT + 2000 * MINUTE))

    assert bars(STORMY) == bars(STORMY)
    quiet = replace(STORMY, storm_begins=0.0, jump_chance=0.0, outage_begins=0.0)
    assert bars(quiet) == bars(CALM)
    only_outages = bars(replace(CALM, outage_begins=0.01, outage_ends=0.2))
    kept = {(bar.venue, bar.at) for bar in only_outages}
    # What is heard of is the calm market itself; only bars of the second venue are missing.
    assert only_outages == [bar for bar in bars(CALM) if (bar.venue, bar.at) in kept]
    assert {bar.venue for bar in bars(CALM) if (bar.venue, bar.at) not in kept} == {"beta"}
    assert any(gap.missing > 1 for gap in gaps(only_outages, MINUTE))


def test_a_storm_makes_larger_moves_and_a_jump_is_found_as_an_outlier() -> None:
    def meter(model: MarketModel) -> QualityMeter:
        made = QualityMeter("alpha", "BTC/USD", MINUTE)
        feed = SyntheticFeed(5, begins=MIDNIGHT, history=0, model=model)
        for bar in feed.advance(MIDNIGHT + 2000 * MINUTE):
            if bar.venue == "alpha":
                made.take(bar)
        return made

    assert meter(CALM).outliers == 0
    assert meter(replace(CALM, jump_chance=0.005, jump_deviation=0.02)).outliers > 3
    always = replace(CALM, storm_begins=1.0, storm_ends=0.0, storm_factor=4.0)
    closes = {}
    for model in (CALM, always):
        feed = SyntheticFeed(5, begins=MIDNIGHT, history=0, model=model)
        mine = [bar.close for bar in feed.advance(MIDNIGHT + 500 * MINUTE) if bar.venue == "alpha"]
        closes[model] = sum(abs(math.log(after / before)) for before, after in itertools.pairwise(mine))
    assert closes[always] == pytest.approx(4 * closes[CALM], rel=0.2)


def test_a_synthetic_bar_is_complete_before_it_comes_and_its_prices_agree() -> None:
    feed = SyntheticFeed(5, begins=MIDNIGHT, interval=timedelta(seconds=1))
    bars = feed.advance(MIDNIGHT + timedelta(seconds=1.9))
    assert max(bar.at for bar in bars) == MIDNIGHT + timedelta(seconds=1)
    assert all(0 < bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high for bar in bars)


def test_speed_compresses_market_time() -> None:
    feed = SyntheticFeed(5, begins=MIDNIGHT, speed=60.0, history=0)
    assert feed.market_time(MIDNIGHT + timedelta(seconds=2)) == MIDNIGHT + 2 * MINUTE
    assert len(feed.advance(MIDNIGHT + timedelta(seconds=2))) == 2 * 3


def test_a_recorded_bar_is_known_at_its_end_and_gaps_stay(tmp_path: Path) -> None:
    bars = bars_of(recording(tmp_path, ROWS))
    assert [bar.at.minute for bar in bars] == [1, 2, 3, 6, 7]
    assert bars[0] == Bar("alpha", "BTCUSD", MIDNIGHT + MINUTE, 100.0, 102.0, 99.0, 101.0, 0.5)
    assert list(gaps(bars, MINUTE)) == [Gap("alpha", MIDNIGHT + 3 * MINUTE, MIDNIGHT + 6 * MINUTE, 2)]


def test_plain_and_packed_recordings_are_read_alike(tmp_path: Path) -> None:
    plain = tmp_path / "alpha_BTCUSD_1m.csv"
    plain.write_text(HEADER + "\n".join(ROWS) + "\n", encoding="utf-8")
    assert bars_of(plain) == bars_of(recording(tmp_path, ROWS))


def test_only_the_wanted_span_is_read(tmp_path: Path) -> None:
    assert [bar.at.minute for bar in bars_of(recording(tmp_path, ROWS), MIDNIGHT + 3 * MINUTE)] == [1, 2, 3]


def test_a_replay_delivers_bars_when_their_time_comes_and_never_twice(tmp_path: Path) -> None:
    paths = {"alpha": recording(tmp_path, ROWS), "beta": recording(tmp_path, ROWS[1:], "beta_BTCUSD_1m.csv.gz")}
    now = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
    feed = CsvReplayFeed(
        paths, symbol="BTCUSD", since=MIDNIGHT, until=MIDNIGHT + timedelta(hours=1), begins=now, speed=60.0
    )
    seconds = [[(b.venue, b.at.minute) for b in feed.advance(now + timedelta(seconds=s))] for s in range(8)]
    assert seconds[:4] == [[], [("alpha", 1)], [("alpha", 2), ("beta", 2)], [("alpha", 3), ("beta", 3)]]
    assert seconds[4:6] == [[], []]
    assert sum(len(second) for second in seconds) == 9


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("2023-03-11T00:07:00Z,100,102,99,101", "not enough values"),
        ("2023-03-11T00:07:00Z,100,102,99,many,1", "could not convert"),
        ("2023-03-11T00:07:00Z,100,99,99,101,1", "contradict"),
        ("2023-03-11T00:07:00Z,100,nan,99,101,1", "contradict"),
        ("2023-03-11T00:07:00Z,-1,102,-2,101,1", "contradict"),
        ("2023-03-11T00:07:00Z,100,102,99,nan,1", "contradict"),
        ("2023-03-11T00:07:00Z,1e308,1e308,1e308,1e308,1", "out of bounds"),
        ("2023-03-11T00:07:00Z,1e-308,102,1e-308,101,1", "out of bounds"),
        ("2023-03-11T00:07:00Z,100,102,99,101,1e16", "out of bounds"),
        ("2023-03-11T00:06:00Z,100,102,99,101,1", "time goes back"),
    ],
)
def test_a_wrong_row_is_an_error_with_its_line(tmp_path: Path, row: str, reason: str) -> None:
    with pytest.raises(UsageError, match=r"market\.bad_row") as caught:
        bars_of(recording(tmp_path, [*ROWS, row]))
    assert caught.value.params["line"] == 7
    assert reason in str(caught.value.params["reason"])


def test_the_bounds_of_a_bar_belong_to_it() -> None:
    assert prices_agree(1e-9, 1e12, 1e-9, 1e12, 1e15)
    assert prices_agree(1.0, 1.0, 1.0, 1.0, 0.0)
    assert not prices_agree(0.9e-9, 1.0, 0.9e-9, 1.0, 1.0)
    assert not prices_agree(1.0, 1.1e12, 1.0, 1.0, 1.0)


@given(st.lists(st.floats(), min_size=5, max_size=5))
def test_whatever_agrees_is_a_number_within_the_bounds(numbers: list[float]) -> None:
    opened, high, low, close, volume = numbers
    if prices_agree(opened, high, low, close, volume):
        assert all(1e-9 <= price <= 1e12 for price in (opened, high, low, close))
        assert 0 <= volume <= 1e15


@pytest.mark.parametrize("stamp", ["soon", "zzz", "#", "2023-03-11T25:61:00Z", "2023-03-11T00:07:00", ""])
def test_a_stamp_that_is_none_neither_ends_a_recording_nor_is_passed_over(tmp_path: Path, stamp: str) -> None:
    path = recording(tmp_path, [ROWS[0], f"{stamp},100,102,99,101,1", *ROWS[1:]])
    for since in (MIDNIGHT, MIDNIGHT + 5 * MINUTE):
        with pytest.raises(UsageError, match=r"market\.bad_row") as caught:
            list(
                read_bars(
                    path, venue="alpha", symbol="X", since=since, until=MIDNIGHT + timedelta(days=1), interval=MINUTE
                )
            )
        assert (caught.value.params["path"], caught.value.params["line"]) == (path, 3)


@pytest.mark.parametrize("stamp", ["9999-12-31T23:59:00Z", "2201-01-01T00:00:00Z"])
def test_a_stamp_of_an_impossible_year_is_no_bar(tmp_path: Path, stamp: str) -> None:
    path = recording(tmp_path, [*ROWS, f"{stamp},100,102,99,101,1"])
    with pytest.raises(UsageError, match=r"market\.bad_row") as caught:
        bars_of(path)
    assert caught.value.params["line"] == 7
    bars = list(read_as_it_is(path, venue="alpha", symbol="BTCUSD", interval=MINUTE))
    assert [isinstance(bar, Bar) for bar in bars] == [True] * 5 + [False]


def test_a_row_without_an_instant_is_of_the_time_of_the_row_above_it(tmp_path: Path) -> None:
    path = recording(tmp_path, [ROWS[0], "soon,1", ROWS[1], "later,1", ROWS[2]])
    rows = list(read_as_it_is(path, venue="alpha", symbol="BTCUSD", interval=MINUTE, until=MIDNIGHT + MINUTE))
    assert [row.at if isinstance(row, Bar) else row.params["line"] for row in rows] == [MIDNIGHT + MINUTE, 3]


def test_a_recording_that_begins_in_an_impossible_year_has_no_span(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"market\.bad_row"):
        recorded_span(recording(tmp_path, ["0001-01-01T00:00:00Z,100,102,99,101,1", *ROWS]))


def test_the_first_and_the_last_day_of_all_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"market\.no_such_time"):
        day_bounds(date.max)
    since, until = day_bounds(date.min)
    with pytest.raises(UsageError, match=r"market\.no_such_time"):
        CsvReplayFeed({"alpha": recording(tmp_path, ROWS)}, symbol="BTCUSD", since=since, until=until, begins=MIDNIGHT)


def test_the_row_that_ends_the_span_must_be_a_bar_too(tmp_path: Path) -> None:
    path = recording(tmp_path, [*ROWS, "2023-03-11T00:07:00Z,many"])
    with pytest.raises(UsageError, match=r"market\.bad_row"):
        bars_of(path, MIDNIGHT + 7 * MINUTE)


def test_stamps_of_another_zone_are_the_instants_they_name(tmp_path: Path) -> None:
    rows = [f"2023-03-11T05:{minute:02d}:00+05:00,100,102,99,101,{minute}.5" for minute in (0, 1, 2, 5, 6)]
    path = recording(tmp_path, rows)
    assert bars_of(path) == bars_of(recording(tmp_path, ROWS, "other.csv.gz"))
    assert [bar.at.minute for bar in bars_of(path, MIDNIGHT + 3 * MINUTE)] == [1, 2, 3]


def test_a_missing_damaged_or_foreign_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"files\.missing"):
        bars_of(tmp_path / "nothing.csv.gz")
    cut = recording(tmp_path, ROWS)
    cut.write_bytes(cut.read_bytes()[:-12])
    with pytest.raises(Unavailable, match=r"market\.unreadable"):
        bars_of(cut)
    foreign = tmp_path / "foreign.csv"
    foreign.write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"market\.bad_columns"):
        bars_of(foreign)


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "alpha_BTCUSD.csv")
    os.mkfifo(tmp_path / "alpha_BTCUSD.csv.gz")
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "zero.csv").symlink_to("/dev/zero")
    for name in ("alpha_BTCUSD.csv", "alpha_BTCUSD.csv.gz", "folder.csv", "zero.csv"):
        with pytest.raises(Unavailable, match=r"market\.unreadable.*not a regular file"):
            bars_of(tmp_path / name)


def test_a_link_to_a_recording_is_a_recording(tmp_path: Path) -> None:
    path = recording(tmp_path, ROWS)
    link = tmp_path / "link.csv.gz"
    link.symlink_to(path)
    assert bars_of(link) == bars_of(path)


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_a_line_without_an_end_is_refused_before_it_is_read(tmp_path: Path, suffix: str) -> None:
    content = (HEADER + ROWS[0] + "\n").encode() + b"1" * 64_000_000
    path = tmp_path / f"alpha_BTCUSD_1m{suffix}"
    path.write_bytes(gzip.compress(content, 1) if suffix.endswith(".gz") else content)
    del content
    tracemalloc.start()
    try:
        with pytest.raises(UsageError, match=r"market\.bad_row") as caught:
            bars_of(path)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()
    assert (caught.value.params["line"], caught.value.params["reason"]) == (3, "longer than 4096 characters")


def test_packed_data_that_is_damaged_inside_is_unreadable(tmp_path: Path) -> None:
    path = recording(tmp_path, ROWS)
    content = bytearray(path.read_bytes())
    content[10] = 0xFF
    path.write_bytes(content)
    with pytest.raises(Unavailable, match=r"market\.unreadable"):
        bars_of(path)


def test_a_span_without_bars_cannot_be_replayed(tmp_path: Path) -> None:
    until = MIDNIGHT + timedelta(days=10)
    with pytest.raises(Unavailable, match=r"market\.no_bars"):
        CsvReplayFeed(
            {"alpha": recording(tmp_path, ROWS)},
            symbol="BTCUSD",
            since=until - timedelta(days=1),
            until=until,
            begins=MIDNIGHT,
        )


def test_a_venue_without_a_bar_in_the_span_is_named_by_its_file(tmp_path: Path) -> None:
    silent = recording(tmp_path, ROWS[:2], "beta_BTCUSD_1m.csv.gz")
    with pytest.raises(Unavailable, match=r"market\.no_bars") as caught:
        CsvReplayFeed(
            {"alpha": recording(tmp_path, ROWS), "beta": silent},
            symbol="BTCUSD",
            # Its bars are history only.
            since=MIDNIGHT + 2 * MINUTE,
            until=MIDNIGHT + timedelta(days=1),
            begins=MIDNIGHT,
        )
    assert caught.value.params["path"] == silent


def test_recordings_are_of_one_symbol_and_each_of_its_own_venue() -> None:
    alpha, beta = Path("alpha_BTCUSD_1m.csv"), Path("beta_BTCUSD_1m.csv.gz")
    assert recordings_by_venue([beta, alpha]) == ({"beta": beta, "alpha": alpha}, "BTCUSD")
    with pytest.raises(UsageError, match=r"market\.same_venue"):
        recordings_by_venue([alpha, beta, Path("more/alpha_BTCUSD_1m.csv")])
    with pytest.raises(UsageError, match=r"market\.two_symbols"):
        recordings_by_venue([alpha, Path("beta_BTCUSDT_1m.csv")])


def test_a_file_s_name_and_first_rows_say_what_it_holds(tmp_path: Path) -> None:
    assert venue_and_symbol(Path("binance_us_BTCUSDC_1m_2023.csv.gz")) == ("binance_us", "BTCUSDC")
    assert venue_and_symbol(Path("odd.csv")) == ("odd", "")
    assert recorded_span(recording(tmp_path, ROWS)) == (MIDNIGHT, MINUTE)


def test_prices_are_stale_when_the_next_bar_is_overdue() -> None:
    allowed = timedelta(seconds=30)
    assert is_stale(None, MIDNIGHT, MINUTE, allowed)
    assert not is_stale(MIDNIGHT, MIDNIGHT + timedelta(seconds=90), MINUTE, allowed)
    assert is_stale(MIDNIGHT, MIDNIGHT + timedelta(seconds=91), MINUTE, allowed)
