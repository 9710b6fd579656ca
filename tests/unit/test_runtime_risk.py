"""Profit and loss by PLAYBOOK "How the rules are read", with values by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

import pytest

from stage4.runtime.ages import SilenceClock
from stage4.runtime.lateness import LatenessWindow, jitter
from stage4.runtime.risk import Account, Book, EquityTrack, Fill, Position, day_of, limit

AT = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
KEY = ("alpha", "BTC/USD")


def bought(quantity: float, price: float, fee: float = 0.0) -> Fill:
    return Fill(AT, "one", *KEY, quantity, price, fee)


def test_a_position_that_is_turned_over_realises_the_old_one_and_opens_at_the_new_price() -> None:
    position, realised = Position(2.0, 100.0).filled(-5.0, 110.0)
    assert (position, realised) == (Position(-3.0, 110.0), 20.0)


def test_adding_to_a_position_averages_its_price() -> None:
    assert Position(1.0, 100.0).filled(3.0, 120.0) == (Position(4.0, 115.0), 0.0)


def test_loss_counts_realised_unrealised_and_fees_since_the_start_of_the_day() -> None:
    book = Book(1000.0).filled(bought(2.0, 100.0, fee=1.0)).filled(bought(-1.0, 90.0, fee=1.0))
    # Realised -10, unrealised -15 at 85, fees 2.
    track = EquityTrack.begin(1000.0, AT).observed(book.equity({KEY: 85.0}), AT)
    assert track.equity == 973.0
    assert track.daily_loss_pct == pytest.approx(2.7)
    assert track.drawdown_pct == pytest.approx(2.7)


def test_a_new_day_starts_from_the_last_equity_and_keeps_the_peak() -> None:
    track = EquityTrack.begin(1000.0, AT).observed(900.0, AT).observed(890.0, AT + timedelta(days=1))
    assert track.day_start == 900.0
    assert track.daily_loss_pct == pytest.approx(100 / 90)
    assert track.peak == 1000.0


def test_a_clock_that_is_set_back_does_not_begin_an_old_day() -> None:
    track = EquityTrack.begin(1000.0, AT).observed(900.0, AT - timedelta(days=1))
    assert track.day_start == 1000.0


def test_a_day_may_start_at_another_hour() -> None:
    assert day_of(AT, time(17, 0)) == datetime(2026, 11, 22, 17, 0, tzinfo=UTC)
    assert day_of(AT, time(8, 0)) == datetime(2026, 11, 23, 8, 0, tzinfo=UTC)


def test_the_loss_ratio_is_a_multiple_of_the_limit_and_a_profit_is_no_loss() -> None:
    account = Account("desk", 2.0, EquityTrack.begin(1000.0, AT))
    books = [Book(1000.0).filled(bought(1.0, 100.0))]
    assert account.observed(books, {KEY: 30.0}, AT).loss_ratio == pytest.approx(3.5)
    assert account.observed(books, {KEY: 130.0}, AT).loss_ratio == 0.0


LIMITS = {"price": 100.0, "equity": 1000.0, "max_position_pct": 50.0, "hard_drawdown_pct": 8.0}


def test_a_wish_beyond_the_largest_position_is_cut() -> None:
    verdict = limit(8.0, 0.0, **LIMITS, drawdown_pct=0.0, loss_ratio=0.0)
    assert (verdict.quantity, verdict.reason) == (5.0, "position_limit")


def test_beyond_the_daily_loss_only_reductions_pass() -> None:
    assert limit(1.0, 2.0, **LIMITS, drawdown_pct=0.0, loss_ratio=1.5).quantity == 0.0
    assert limit(-1.0, 2.0, **LIMITS, drawdown_pct=0.0, loss_ratio=1.5).quantity == -1.0
    assert limit(-3.0, 2.0, **LIMITS, drawdown_pct=9.0, loss_ratio=0.0).quantity == -2.0


@pytest.mark.parametrize(("drawdown", "loss"), [(0.0, math.nan), (math.nan, 0.0), (math.nan, math.nan)])
def test_a_loss_that_is_not_a_number_passes_no_limit_and_may_still_be_reduced(drawdown: float, loss: float) -> None:
    assert limit(1.0, 2.0, **LIMITS, drawdown_pct=drawdown, loss_ratio=loss).quantity == 0.0
    assert limit(-3.0, 2.0, **LIMITS, drawdown_pct=drawdown, loss_ratio=loss).quantity == -2.0
    assert limit(-1.0, 2.0, **LIMITS, drawdown_pct=drawdown, loss_ratio=loss).quantity == -1.0


@pytest.mark.parametrize("equity", [math.inf, -math.inf, math.nan])
def test_an_equity_that_is_not_finite_allows_no_position(equity: float) -> None:
    assert limit(1.0, 0.0, **{**LIMITS, "equity": equity}, drawdown_pct=0.0, loss_ratio=0.0).quantity == 0.0


@pytest.mark.parametrize("odd", [math.inf, -math.inf, math.nan])
def test_one_equity_that_is_not_finite_is_forgotten_and_the_limits_act_again(odd: float) -> None:
    account = Account("desk", 2.0, EquityTrack.begin(1000.0, AT).observed(odd, AT))
    assert math.isnan(account.track.drawdown_pct)
    assert math.isnan(account.loss_ratio)
    track = account.track.observed(900.0, AT)
    assert (track.peak, track.day_start) == (1000.0, 1000.0)
    assert track.drawdown_pct == pytest.approx(10.0)
    loss = replace(account, track=track).loss_ratio
    assert loss == pytest.approx(5.0)
    verdict = limit(1.0, 0.0, **LIMITS, drawdown_pct=track.drawdown_pct, loss_ratio=loss)
    assert (verdict.quantity, verdict.reason) == (0.0, "daily_loss")


def test_a_day_starts_from_the_last_equity_that_was_finite() -> None:
    track = EquityTrack.begin(1000.0, AT).observed(1200.0, AT).observed(math.inf, AT)
    assert track.observed(1100.0, AT + timedelta(days=1)).day_start == 1200.0
    assert track.observed(math.nan, AT + timedelta(days=1)).day_start == 1200.0


def test_a_track_that_begins_without_a_number_begins_with_the_first_one() -> None:
    track = EquityTrack.begin(math.nan, AT).observed(math.inf, AT)
    assert math.isnan(track.drawdown_pct)
    assert track.observed(1000.0, AT) == EquityTrack.begin(1000.0, AT)


def test_silence_counts_only_while_a_signal_may_be_expected() -> None:
    clock = SilenceClock(0).advanced(5_000_000_000, counting=True).advanced(65_000_000_000, counting=False)
    assert clock.seconds == 5.0
    assert clock.advanced(66_000_000_000, counting=True).seconds == 6.0
    assert clock.broken().seconds == 0.0


def test_jitter_is_max_minus_median_for_few_samples_and_p99_minus_median_for_many() -> None:
    assert jitter([]) == 0
    assert jitter([5, 1, 2, 3, 40]) == 37
    assert jitter([*range(1, 1000), 10**9]) == 990 - 500


def test_lateness_is_forgotten_after_its_window() -> None:
    window = LatenessWindow(window_ns=100)
    window.add(0, 9_000_000_000)
    window.add(50, 1)
    window.add(140, 1)
    assert window.jitter_seconds() == 0.0
