"""What is said of a feed: gaps, staleness, outliers, disorder; with values by hand."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stage4.market import Bar
from stage4.market.quality import (
    FEWEST_MOVES,
    FeedQuality,
    QualityLimits,
    QualityMeter,
    Trust,
    worst_first,
)

MIDNIGHT = datetime(2023, 3, 11, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
LIMITS = QualityLimits()


def bar(minute: float, close: float = 100.0, volume: float = 1.0) -> Bar:
    return Bar("alpha", "BTCUSD", MIDNIGHT + minute * MINUTE, close, close, close, close, volume)


def judged(bars: Iterable[Bar], as_of: float = 0.0) -> FeedQuality:
    meter = QualityMeter("alpha", "BTCUSD", MINUTE)
    for each in bars:
        meter.take(each)
    return meter.seen(MIDNIGHT + as_of * MINUTE)


def zigzag(count: int, step: float = 0.001) -> list[Bar]:
    """Every move is `step` up or down on the log scale."""
    return [bar(minute, 100.0 * math.exp(step * (minute % 2))) for minute in range(count)]


def test_gaps_are_counted_with_their_bars_and_the_longest_is_named() -> None:
    seen = judged([bar(0), bar(1), bar(4), bar(10)], as_of=10)
    assert (seen.bars, seen.gaps, seen.missing) == (4, 2, 7)
    assert seen.longest is not None
    assert (seen.longest.after, seen.longest.before) == (MIDNIGHT + 4 * MINUTE, MIDNIGHT + 10 * MINUTE)
    assert seen.longest_gap == 5 * MINUTE
    assert seen.trust(LIMITS) is Trust.GOOD
    longer = judged([bar(0), bar(7)], as_of=7)
    assert longer.faults(LIMITS) == ("market.fault_gap",)


def test_staleness_is_how_long_the_next_bar_is_overdue() -> None:
    assert judged([bar(0), bar(1)], as_of=1.5).staleness == timedelta(0)
    late = judged([bar(0), bar(1)], as_of=2.75)
    assert late.staleness == timedelta(seconds=45)
    assert late.faults(LIMITS) == ("market.fault_stale",)


def test_repeated_and_disordered_bars_are_counted_and_left_out() -> None:
    seen = judged([bar(0), bar(2), bar(2, 999.0), bar(1, 999.0), bar(3)], as_of=3)
    assert (seen.bars, seen.twice, seen.backwards, seen.missing, seen.outliers) == (3, 1, 1, 1, 0)
    assert seen.trust(LIMITS) is Trust.BAD


def test_a_bar_without_volume_is_shown_and_refuses_nothing() -> None:
    seen = judged([bar(0), bar(1, volume=0.0)], as_of=1)
    assert seen.without_volume == 1
    assert seen.trust(LIMITS) is Trust.GOOD


def test_of_nothing_nothing_can_be_told() -> None:
    assert judged([]).trust(LIMITS) is Trust.UNKNOWN
    assert judged([bar(0)]).trust(LIMITS) is Trust.UNKNOWN
    assert judged([]).staleness is None


def test_a_move_beyond_the_outer_fences_is_an_outlier() -> None:
    # Quartiles -10 and +10 basis points, range 20: the upper fence stands at 10 + 3 * 20 = 70.
    calm = zigzag(60)
    last = calm[-1].close
    assert judged([*calm, bar(60, last * math.exp(0.00699))]).outliers == 0
    seen = judged([*calm, bar(60, last * math.exp(0.0090))])
    assert seen.outliers == 1
    assert seen.largest[0].at == MIDNIGHT + 60 * MINUTE
    assert seen.largest[0].move_bps == pytest.approx(90.0)
    assert seen.largest[0].ranges == pytest.approx(4.0)


def test_a_move_over_a_gap_is_measured_by_the_time_it_had() -> None:
    calm = zigzag(60)
    last = calm[-1].close
    # 90 basis points in four bars are 45 a bar.
    assert judged([*calm, bar(63, last * math.exp(0.0090))]).outliers == 0


def test_prices_that_move_by_ticks_have_no_outliers_below_a_basis_point() -> None:
    assert judged([*zigzag(60, step=1e-7), bar(60, 100.0 * math.exp(0.0002))]).outliers == 0


def test_without_enough_moves_nothing_is_an_outlier() -> None:
    assert judged([*zigzag(FEWEST_MOVES), bar(FEWEST_MOVES, 150.0)]).outliers == 0
    assert judged([*zigzag(FEWEST_MOVES + 1), bar(FEWEST_MOVES + 1, 150.0)]).outliers == 1


def test_the_worst_feed_comes_first() -> None:
    good = FeedQuality("good", "", MINUTE, MIDNIGHT, bars=5, staleness=timedelta(0))
    empty = FeedQuality("empty", "", MINUTE, MIDNIGHT)
    stale = FeedQuality("stale", "", MINUTE, MIDNIGHT, bars=5, staleness=timedelta(seconds=31))
    staler = FeedQuality("staler", "", MINUTE, MIDNIGHT, bars=5, staleness=timedelta(seconds=90))
    ordered = worst_first([good, empty, stale, staler], LIMITS)
    assert [feed.venue for feed in ordered] == ["staler", "stale", "empty", "good"]


@given(st.lists(st.tuples(st.integers(0, 400), st.floats(1, 1e6)), max_size=60))
def test_whatever_comes_every_bar_is_counted_once(rows: list[tuple[int, float]]) -> None:
    seen = judged([bar(minute, close) for minute, close in rows])
    assert seen.bars + seen.twice + seen.backwards == len(rows)
    if seen.first is not None and seen.last is not None:
        assert seen.bars + seen.missing == (seen.last - seen.first) / MINUTE + 1


@given(st.lists(st.floats(50, 200), min_size=40, max_size=80), st.sampled_from([0.25, 4.0, 1024.0]))
def test_another_unit_of_price_changes_nothing(closes: list[float], factor: float) -> None:
    plain = judged([bar(minute, close) for minute, close in enumerate(closes)])
    scaled = judged([bar(minute, close * factor) for minute, close in enumerate(closes)])
    assert scaled.outliers == plain.outliers


def test_a_move_that_no_ratio_can_hold_is_judged_all_the_same() -> None:
    seen = judged([*zigzag(FEWEST_MOVES + 2), bar(FEWEST_MOVES + 2, 1e308), bar(FEWEST_MOVES + 3, 1e-308)])
    assert seen.outliers == 2
