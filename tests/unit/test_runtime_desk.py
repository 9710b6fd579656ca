"""The way of a signal to the broker: gate, limits, books; and what staged faults do to the market."""

from __future__ import annotations

import math
from datetime import timedelta

import msgspec
import pytest

from stage4.config.settings import Settings
from stage4.errors import UsageError
from stage4.market import Bar
from stage4.runtime.desk import Desk, desk_schedules
from stage4.runtime.faults import Faults
from stage4.runtime.gate import OPEN
from stage4.runtime.market_view import MarketView
from stage4.runtime.risk import Fill
from stage4.runtime.signal import Evaluation, Signal, SignalKind
from support.desks import BEGINS, CLOSED, Switch, desk, settings

VOLATILITY = "volatility_target_daily"
ARBITRAGE = "cross_exchange_watch"


def wish(kind: SignalKind, quantity: float, schedule: str = VOLATILITY, venue: str = "alpha") -> Signal:
    return Signal(kind, schedule, "core", "BTC/USD", venue, quantity, 1.0, "test")


def settle(made: Desk, *signals: Signal, schedule: str = VOLATILITY) -> int:
    return made.settle(made.schedules[schedule], Evaluation(signals, {}), BEGINS)


def bars(made: Desk, factor: float, seconds: int) -> list[Bar]:
    """The last prices times `factor`, `seconds` after the beginning."""
    at = BEGINS + timedelta(seconds=seconds)
    return [
        Bar(venue, symbol, at, mark * factor, mark * factor, mark * factor, mark * factor, 1.0)
        for (venue, symbol), mark in made.market.marks.items()
    ]


def test_an_open_gate_lets_a_signal_through_to_the_book() -> None:
    made = desk()
    assert settle(made, wish(SignalKind.BUY, 0.5)) == 1
    assert made.broker.submissions == 1
    assert made.books[VOLATILITY].held("BTC/USD") == {"alpha": 0.5}


def test_a_closed_gate_leaves_the_broker_s_count_and_the_book_as_they_were() -> None:
    made = desk(Switch(CLOSED))
    assert settle(made, wish(SignalKind.BUY, 0.5), wish(SignalKind.SELL, 0.1)) == 0
    assert made.broker.submissions == 0
    assert made.books[VOLATILITY].positions == {}


def test_the_gate_is_asked_before_every_single_submission() -> None:
    class ClosesAfterOne(Switch):
        def permits(self, **asked: object) -> object:  # type: ignore[override]
            super().permits(**asked)  # type: ignore[arg-type]
            return OPEN if len(self.asked) == 1 else CLOSED

    gate = ClosesAfterOne()
    made = desk(gate)
    assert settle(made, wish(SignalKind.BUY, 0.1), wish(SignalKind.BUY, 0.1), wish(SignalKind.BUY, 0.1)) == 1
    assert made.broker.submissions == 1
    assert len(gate.asked) == 3


def test_the_gate_hears_schedule_strategy_and_tags() -> None:
    gate = Switch()
    made = desk(gate, settings(tags=("pilot",)))
    settle(made, wish(SignalKind.BUY, 0.1))
    assert gate.asked == [(VOLATILITY, "core_volatility_target", ("pilot",))]


def test_holds_are_never_submitted() -> None:
    gate = Switch()
    made = desk(gate)
    assert settle(made, wish(SignalKind.HOLD, 0.0)) == 0
    assert gate.asked == []


def test_no_more_than_max_signals_are_submitted() -> None:
    made = desk(chosen=settings(max_signals=2))
    assert settle(made, *(wish(SignalKind.BUY, 0.01) for _ in range(5))) == 2


def test_a_schedule_is_evaluated_from_the_bar_on_that_completes_its_warm_up() -> None:
    bars = desk().market.primary_bars()
    for wanted, warm in ((bars, True), (bars + 1, False)):
        made = desk(chosen=settings(warmup_bars=wanted))
        assert {made.warmed_up(schedule) for schedule in made.schedules.values()} == {warm}


def test_the_position_limit_of_the_risk_profile_holds() -> None:
    made = desk()
    settle(made, wish(SignalKind.BUY, 1000.0))
    book = made.books[VOLATILITY]
    assert book.gross_exposure(made.market.marks) == pytest.approx(0.30 * 100_000, rel=1e-6)


def test_a_staged_loss_moves_prices_against_a_long_book_to_the_multiple_of_its_limit() -> None:
    made = desk()
    settle(made, wish(SignalKind.BUY, 1.0))
    made.take(bars(made, 1.0, 1), BEGINS, Faults(loss_multiple=3.5))
    assert made.accounts["conservative"].loss_ratio == pytest.approx(3.5, rel=1e-3)
    again = dict(made.market.marks)
    made.take([], BEGINS, Faults(loss_multiple=3.5))
    assert made.market.marks == again


def test_a_staged_loss_moves_prices_up_against_a_short_book() -> None:
    made = desk()
    before = made.market.marks["alpha", "BTC/USD"]
    settle(made, wish(SignalKind.SELL, 1.0))
    made.take(bars(made, 1.0, 1), BEGINS, Faults(loss_multiple=3.5))
    assert made.market.marks["alpha", "BTC/USD"] > before
    assert made.accounts["conservative"].loss_ratio == pytest.approx(3.5, rel=1e-3)


def test_a_staged_loss_waits_until_there_is_a_position() -> None:
    made = desk()
    before = dict(made.market.marks)
    made.take(bars(made, 1.0, 1), BEGINS, Faults(loss_multiple=3.5))
    assert made.market.marks == before
    settle(made, wish(SignalKind.BUY, 1.0))
    made.take(bars(made, 1.0, 2), BEGINS, Faults(loss_multiple=3.5))
    assert made.accounts["conservative"].loss_ratio > 3


def test_a_staged_risk_fault_multiplies_price_changes_and_the_venue_refuses_orders() -> None:
    made = desk()
    before = made.market.marks["alpha", "BTC/USD"]
    staged = Faults(volatility_factor=4.0, orders_refused=True)
    made.take(bars(made, 1.01, 1), BEGINS, staged)
    assert made.market.marks["alpha", "BTC/USD"] == pytest.approx(before * 1.01**4)
    assert settle(made, wish(SignalKind.BUY, 0.5)) == 1
    assert made.books[VOLATILITY].positions == {}


def test_prices_stay_where_a_fault_left_them_and_move_as_the_feed_again() -> None:
    made = desk()
    made.take(bars(made, 1.01, 1), BEGINS, Faults(volatility_factor=4.0))
    left = made.market.marks["alpha", "BTC/USD"]
    raw = left / 1.01**3
    at = BEGINS + timedelta(seconds=2)
    made.take([Bar("alpha", "BTC/USD", at, raw, raw, raw, raw * 1.02, 1.0)], BEGINS)
    assert made.market.marks["alpha", "BTC/USD"] == pytest.approx(left * 1.02)


@pytest.mark.parametrize("factor", [50.0, 4.0, 0.0])
def test_a_staged_fault_never_carries_a_price_out_of_the_bounds_of_a_bar(factor: float) -> None:
    view = MarketView(("alpha",), "BTC/USD", timedelta(seconds=1), 10)
    for second, price in enumerate((1.0, 1e12, 1e-9, 1e12, 1e-9, 1.0)):
        at = BEGINS + timedelta(seconds=second)
        view.take([Bar("alpha", "BTC/USD", at, price, price, price, price, 1.0)], factor)
        assert 1e-9 <= view.marks["alpha", "BTC/USD"] <= 1e12
    # Once the fault is over, a price that doubles still doubles.
    left = view.marks["alpha", "BTC/USD"]
    view.take([Bar("alpha", "BTC/USD", BEGINS + timedelta(minutes=1), 2.0, 2.0, 2.0, 2.0, 1.0)])
    assert view.marks["alpha", "BTC/USD"] == pytest.approx(min(2 * left, 1e12))


def test_a_position_whose_value_is_no_number_cannot_be_valued() -> None:
    made = desk()
    settle(made, wish(SignalKind.BUY, 1.0))
    made.market.marks["alpha", "BTC/USD"] = math.inf
    made.take([], BEGINS)
    assert made.prices_stale(BEGINS)
    assert settle(made, wish(SignalKind.BUY, 0.1, venue="beta")) == 0
    made.take(bars(desk(), 1.0, 1), BEGINS)
    assert not made.prices_stale(BEGINS)
    assert made.accounts["conservative"].loss_ratio == pytest.approx(0.0, abs=1e-2)


def test_prices_are_stale_when_a_venue_that_holds_a_position_is_silent() -> None:
    made = desk()
    later = BEGINS + timedelta(minutes=5)
    fresh = [bar for bar in bars(made, 1.0, 300) if bar.venue == "beta"]
    assert not made.prices_stale(BEGINS)
    assert made.prices_stale(later)
    made.take(fresh, later)
    assert not made.prices_stale(later)
    settle(made, wish(SignalKind.BUY, 0.1))
    assert made.prices_stale(later)


def test_an_old_bar_never_replaces_a_newer_one() -> None:
    made = desk()
    before = dict(made.market.marks)
    made.take(bars(made, 2.0, -5), BEGINS)
    assert made.market.marks == before


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"strategy": "nobody"}, "runtime.unknown_strategy"),
        ({"risk_profile": "reckless"}, "runtime.unknown_profile"),
    ],
)
def test_settings_that_refer_to_nothing_are_refused(change: dict[str, str], code: str) -> None:
    with pytest.raises(UsageError, match=code):
        desk_schedules(settings(**change))


def test_exactly_one_scheduler_runs_on_an_installation() -> None:
    empty = msgspec.structs.replace(settings().runtime, multi_strategy_schedulers={})
    with pytest.raises(UsageError, match=r"runtime\.one_scheduler"):
        desk_schedules(msgspec.structs.replace(settings(), runtime=empty))


def allotting(**shares: float) -> Settings:
    """The usual settings, with these shares in every profile."""
    chosen = settings()
    profiles = {
        name: msgspec.structs.replace(profile, strategy_allocations=shares)
        for name, profile in chosen.risk_profiles.items()
    }
    return msgspec.structs.replace(chosen, risk_profiles=profiles)


def test_a_strategy_gets_its_share_of_the_largest_position() -> None:
    made = desk(chosen=allotting(core_mean_reversion=1.0, core_volatility_target=0.5, cross_exchange=3.0))
    settle(made, wish(SignalKind.BUY, 1000.0))
    # Half of 30 per cent of 100,000, less what the fee takes from the equity.
    assert made.books[VOLATILITY].gross_exposure(made.market.marks) == pytest.approx(15_000, rel=1e-6)
    shown = {name: made.snapshot(each, BEGINS).max_position for name, each in made.schedules.items()}
    # The third is named by its kind, and a share above the whole is the whole.
    assert shown == pytest.approx({"mean_reversion_intraday": 0.3, VOLATILITY: 0.15, ARBITRAGE: 0.3})


def test_a_strategy_that_is_allotted_nothing_opens_nothing_and_may_close_what_it_holds() -> None:
    made = desk(chosen=allotting(core_mean_reversion=1.0, core_volatility_target=0.0, cross_exchange=1.0))
    assert settle(made, wish(SignalKind.BUY, 1.0)) == 0
    made.books[VOLATILITY] = made.books[VOLATILITY].filled(Fill(BEGINS, VOLATILITY, "alpha", "BTC/USD", 1.0, 100.0))
    schedule = made.schedules[VOLATILITY]
    evaluation = schedule.strategy.evaluate(made.snapshot(schedule, BEGINS))
    assert made.settle(schedule, evaluation, BEGINS) == 1
    assert made.books[VOLATILITY].positions == {}


def test_a_profile_that_names_others_only_is_refused() -> None:
    with pytest.raises(UsageError, match=r"runtime\.no_allocation"):
        desk_schedules(allotting(core_mean_reversion=1.0))


def test_an_arbitrage_that_may_send_one_signal_only_is_refused() -> None:
    with pytest.raises(UsageError, match=r"runtime\.one_leg_only") as caught:
        desk_schedules(settings(max_signals=1))
    assert caught.value.params["schedule"] == ARBITRAGE
    desk_schedules(settings(max_signals=2))


def test_the_profile_s_volatility_is_a_ceiling_over_the_strategy_s_own() -> None:
    def target(profile: float) -> float:
        chosen = settings()
        profiles = {
            name: msgspec.structs.replace(each, target_volatility=profile, max_position_pct=100.0)
            for name, each in chosen.risk_profiles.items()
        }
        made = desk(chosen=msgspec.structs.replace(chosen, risk_profiles=profiles))
        schedule = made.schedules[VOLATILITY]
        (signal,) = schedule.strategy.evaluate(made.snapshot(schedule, BEGINS)).signals
        return signal.metadata["target_allocation"]

    assert target(0.05) == pytest.approx(target(0.1) / 2)
    assert target(0.4) == target(0.1)
