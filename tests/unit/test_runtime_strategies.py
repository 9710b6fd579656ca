"""The mathematics of the three strategies, against the textbook and against values by hand."""

from __future__ import annotations

import math
import statistics

import pytest

from stage4.runtime.signal import SignalKind, VenueWindow
from stage4.runtime.strategies.cross_exchange import CrossExchange, paired
from stage4.runtime.strategies.mean_reversion import MeanReversion, zscores
from stage4.runtime.strategies.volatility_target import YEAR_SECONDS, VolatilityTarget, realised_volatility
from support.desks import snapshot, walk, window


def test_rolling_zscores_agree_with_the_definition() -> None:
    values = [math.log(price) for price in walk(3, 200, start=24_000)]
    expected = [
        (values[end - 1] - statistics.fmean(values[end - 20 : end])) / statistics.stdev(values[end - 20 : end])
        for end in range(20, 201)
    ]
    assert zscores(values, 20) == pytest.approx(expected, abs=1e-6)


def test_a_price_far_above_its_mean_is_sold_and_far_below_is_bought() -> None:
    calm = [100.0, 100.1] * 15
    strategy = MeanReversion(lookback=30)
    rich = strategy.evaluate(snapshot(window("alpha", [*calm, 101.0])))
    cheap = strategy.evaluate(snapshot(window("alpha", [*calm, 99.0])))
    assert (rich.signals[0].kind, rich.signals[0].reason) == (SignalKind.SELL, "rich")
    assert (cheap.signals[0].kind, cheap.signals[0].reason) == (SignalKind.BUY, "cheap")
    # A tenth of 100,000 at 101.
    assert rich.signals[0].quantity == pytest.approx(10_000 / 101)


def test_a_position_is_kept_between_entry_and_exit_and_closed_at_the_exit() -> None:
    strategy = MeanReversion(lookback=30)
    between = snapshot(window("alpha", [100.0, 100.1] * 15 + [100.16]), held={"alpha": -50.0})
    reverted = snapshot(window("alpha", [100.0, 100.1] * 15 + [100.05]), held={"alpha": -50.0})
    assert strategy.evaluate(between).signals[0].kind is SignalKind.HOLD
    closing = strategy.evaluate(reverted).signals[0]
    assert (closing.kind, closing.quantity, closing.reason) == (SignalKind.BUY, 50.0, "reverted")


def test_realised_volatility_of_known_returns() -> None:
    closes = [100.0]
    for place in range(60):
        closes.append(closes[-1] * math.exp(0.001 if place % 2 else -0.001))
    at = tuple(60.0 * place for place in range(61))
    assert realised_volatility(at, tuple(closes)) == pytest.approx(0.001 * math.sqrt(YEAR_SECONDS / 60))


def test_the_allocation_is_target_over_realised_volatility() -> None:
    closes = [100.0]
    for place in range(60):
        closes.append(closes[-1] * math.exp(0.002 if place % 2 else -0.002))
    realised = 0.002 * math.sqrt(YEAR_SECONDS / 60)
    signal = VolatilityTarget(lookback=60, target_volatility=0.1).evaluate(snapshot(window("alpha", closes))).signals[0]
    assert signal.kind is SignalKind.BUY
    assert signal.quantity * closes[-1] / 100_000 == pytest.approx(0.1 / realised)


def test_an_allocation_within_the_threshold_is_left_alone_and_its_error_told() -> None:
    closes = walk(5, 61, volatility=0.003)
    strategy = VolatilityTarget(lookback=60)
    wanted = strategy.evaluate(snapshot(window("alpha", closes))).signals[0].quantity
    near = strategy.evaluate(snapshot(window("alpha", closes), held={"alpha": 0.97 * wanted}))
    far = strategy.evaluate(snapshot(window("alpha", closes), held={"alpha": 0.80 * wanted}))
    assert near.signals[0].kind is SignalKind.HOLD
    assert near.metrics["stage4_allocation_error_pct"] == pytest.approx(3.0)
    assert far.signals[0].quantity == pytest.approx(0.2 * wanted)
    assert far.metrics["stage4_allocation_error_pct"] == pytest.approx(20.0)


def test_the_allocation_never_exceeds_the_largest_position() -> None:
    asleep = [100.0] * 61
    signal = VolatilityTarget(lookback=60).evaluate(snapshot(window("alpha", asleep))).signals[0]
    assert signal.quantity * 100.0 == pytest.approx(10_000)


PAIR = CrossExchange("alpha", "beta", spread_entry=0.001, spread_exit=0.0002)


def relative_spread(primary: float, secondary: float) -> float:
    """(primary - secondary) / middle."""
    return (primary - secondary) / ((primary + secondary) / 2)


def quotes(spreads: list[float], delay_ms: float = 0.0) -> tuple[object, object]:
    """Both venues, with the given spreads of the primary over a secondary at 100."""
    first = [100.0 * (1 + spread) for spread in spreads]
    return window("alpha", first), window("beta", [100.0] * len(spreads), delay_ms=delay_ms)


def test_a_wide_spread_sells_the_rich_venue_and_buys_the_cheap_one() -> None:
    evaluation = PAIR.evaluate(snapshot(*quotes([0.0] * 40 + [0.002])))  # type: ignore[arg-type]
    kinds = {signal.venue: signal.kind for signal in evaluation.signals}
    assert kinds == {"alpha": SignalKind.SELL, "beta": SignalKind.BUY}
    first, second = evaluation.signals
    assert first.quantity == second.quantity == pytest.approx(5_000 / 100.2)


def test_a_round_trip_captures_the_difference_of_its_spreads() -> None:
    evaluation = PAIR.evaluate(snapshot(*quotes([0.0] * 40 + [0.002, 0.0015, 0.0001, 0.0])))  # type: ignore[arg-type]
    expected = 1e4 * (relative_spread(100.2, 100.0) - relative_spread(100.01, 100.0))
    assert evaluation.metrics["stage4_spread_capture_bps"] == pytest.approx(expected)


def test_the_delay_of_the_second_leg_costs_part_of_the_capture() -> None:
    first = window("alpha", [100.0] * 40 + [100.2, 100.2, 100.2])
    slow = [100.0] * 40 + [100.0, 100.2, 100.2]
    at_once = PAIR.evaluate(snapshot(first, window("beta", slow)))
    late = PAIR.evaluate(snapshot(first, window("beta", slow, delay_ms=30_000)))
    captured = "stage4_spread_capture_bps"
    assert at_once.metrics[captured] == pytest.approx(1e4 * relative_spread(100.2, 100.0))
    # Half a bar later the second price has come half of the way.
    assert late.metrics[captured] == pytest.approx(1e4 * relative_spread(100.2, 100.1), rel=1e-6)


def test_nothing_is_opened_on_a_secondary_that_is_too_late() -> None:
    evaluation = PAIR.evaluate(snapshot(*quotes([0.0] * 40 + [0.002], delay_ms=800)))  # type: ignore[arg-type]
    assert [(signal.kind, signal.reason) for signal in evaluation.signals] == [(SignalKind.HOLD, "secondary_late")]
    assert evaluation.metrics["stage4_secondary_delay_ms"] == 800


def test_a_missing_bar_of_the_secondary_is_delay_and_not_a_price() -> None:
    first = window("alpha", [100.0, 101.0, 102.0])
    second = window("beta", [99.0, 100.0])
    pairs = paired(first, second, 60.0)
    assert pairs.seen == [relative_spread(100.0, 99.0), relative_spread(101.0, 100.0), relative_spread(102.0, 100.0)]
    assert pairs.delay_ms == 60_000.0


def test_before_the_secondary_has_spoken_there_is_no_spread() -> None:
    first = window("alpha", [100.0, 101.0, 102.0])
    late = VenueWindow("beta", (120.0,), (100.0,))
    assert paired(first, late, 60.0).seen == [relative_spread(102.0, 100.0)]
    assert paired(window("alpha", [100.0]), late, 60.0).seen == []


def test_an_open_pair_is_closed_when_the_spread_has_gone() -> None:
    shown = snapshot(
        *quotes([0.0] * 40 + [0.002, 0.0]),  # type: ignore[arg-type]
        held={"alpha": -49.0, "beta": 49.0},
    )
    closing = {signal.venue: signal.signed_quantity for signal in PAIR.evaluate(shown).signals}
    assert closing == {"alpha": 49.0, "beta": -49.0}


OPEN = [0.0] * 40 + [0.002]
"""Spreads at whose end the primary is to be held short."""


@pytest.mark.parametrize("held", [{"alpha": -1.0}, {"beta": 1.0}, {"alpha": -1.0, "beta": -1.0}, {"alpha": 49.0}])
def test_a_leg_without_its_other_is_completed(held: dict[str, float]) -> None:
    shown = snapshot(*quotes(OPEN), held=held)  # type: ignore[arg-type]
    moves = {signal.venue: signal.signed_quantity for signal in PAIR.evaluate(shown).signals}
    after = {venue: held.get(venue, 0.0) + moves[venue] for venue in ("alpha", "beta")}
    assert after == pytest.approx({"alpha": -5_000 / 100.2, "beta": 5_000 / 100.2})


def test_a_whole_pair_is_left_alone_while_the_spread_is_open() -> None:
    shown = snapshot(*quotes(OPEN), held={"alpha": -49.0, "beta": 49.0})  # type: ignore[arg-type]
    assert [(signal.kind, signal.reason) for signal in PAIR.evaluate(shown).signals] == [
        (SignalKind.HOLD, "spread_open")
    ]
    late = snapshot(*quotes(OPEN, delay_ms=800), held={"alpha": -49.0, "beta": 49.0})  # type: ignore[arg-type]
    assert [signal.kind for signal in PAIR.evaluate(late).signals] == [SignalKind.HOLD]


def test_a_leg_without_its_other_is_closed_when_the_secondary_is_too_late() -> None:
    shown = snapshot(*quotes(OPEN, delay_ms=800), held={"alpha": -1.0})  # type: ignore[arg-type]
    closing, rest = PAIR.evaluate(shown).signals
    assert (closing.venue, closing.signed_quantity, closing.reason) == ("alpha", 1.0, "secondary_late")
    assert (rest.venue, rest.kind) == ("beta", SignalKind.HOLD)
