"""What holds of every strategy for any prices: bounds, silence on missing data, and no unit of price preferred."""

from __future__ import annotations

import math
from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from stage4.runtime.signal import Evaluation, Snapshot, VenueWindow
from stage4.runtime.strategies import STRATEGIES, Strategy, StrategySpec
from support.desks import snapshot, walk, window

PARAMETERS: Mapping[str, Mapping[str, object]] = {
    "mean_reversion": {"lookback": 20},
    "volatility_target": {"lookback": 20},
    "cross_exchange": {"primary_exchange": "alpha", "secondary_exchange": "beta"},
}
KINDS = st.sampled_from(sorted(STRATEGIES))
EQUITY = 100_000.0
LARGEST = 0.1
"""Of `support.desks.snapshot`."""


def made(kind: str) -> Strategy:
    return StrategySpec(kind, PARAMETERS[kind]).build()


def shown(
    strategy: Strategy, seed: int, *, factor: float = 1.0, held: float = 0.0, volatility: float = 0.002
) -> Snapshot:
    """Prices times `factor` and holdings divided by it, so that their values are the same."""
    count = strategy.window_bars
    first = walk(seed, count, volatility=volatility)
    second = [price * noise for price, noise in zip(first, walk(seed + 1, count, start=1.0), strict=True)]
    windows = [
        window(venue, [factor * price for price in prices]) for venue, prices in (("alpha", first), ("beta", second))
    ]
    return snapshot(*windows, held={"alpha": held / factor} if held else {})


def value_wanted(strategy: Strategy, seen: Snapshot) -> dict[str, float]:
    """The value in quote currency that each venue would hold after the signals."""
    held = dict(seen.held)
    for signal in strategy.evaluate(seen).signals:
        held[signal.venue] = held.get(signal.venue, 0.0) + signal.signed_quantity
    return {venue: quantity * seen.window(venue).close[-1] for venue, quantity in held.items()}


@settings(max_examples=60, deadline=None)
@given(KINDS, st.integers(0, 2**31), st.floats(0, 0.2))
def test_from_nothing_no_strategy_wants_more_than_its_largest_position(kind: str, seed: int, volatility: float) -> None:
    strategy = made(kind)
    seen = shown(strategy, seed, volatility=volatility)
    evaluation = strategy.evaluate(seen)
    assert all(0.0 <= signal.confidence <= 1.0 and signal.quantity >= 0 for signal in evaluation.signals)
    # The second leg of a pair has the same quantity at another price; together they stay within the limit of the first.
    price = seen.primary().close[-1]
    assert sum(signal.quantity * price for signal in evaluation.signals) <= LARGEST * EQUITY * (1 + 1e-9)


@settings(max_examples=60, deadline=None)
@given(KINDS, st.integers(0, 2**31), st.sampled_from([2.0**-10, 0.25, 8.0, 2.0**12]), st.floats(-50, 50))
def test_another_unit_of_price_gives_the_same_wish_in_money(kind: str, seed: int, factor: float, held: float) -> None:
    strategy = made(kind)
    plain, scaled = shown(strategy, seed, held=held), shown(strategy, seed, held=held, factor=factor)
    before, after = value_wanted(strategy, plain), value_wanted(strategy, scaled)
    assert before.keys() == after.keys()
    assert all(math.isclose(before[venue], after[venue], rel_tol=1e-6, abs_tol=1e-6) for venue in before)
    kinds = [[signal.kind for signal in strategy.evaluate(seen).signals] for seen in (plain, scaled)]
    assert kinds[0] == kinds[1]


@settings(max_examples=60, deadline=None)
@given(KINDS, st.integers(0, 2**31), st.data())
def test_on_missing_data_no_strategy_says_anything(kind: str, seed: int, data: st.DataObject) -> None:
    strategy = made(kind)
    whole = shown(strategy, seed)
    kept = data.draw(st.integers(0, strategy.required_bars - 1))
    short = [VenueWindow(each.venue, each.at[:kept], each.close[:kept]) for each in whole.windows]
    assert strategy.evaluate(snapshot(*short)) == Evaluation((), {})
    assert strategy.evaluate(snapshot()) == Evaluation((), {})


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31))
def test_an_arbitrage_without_its_second_venue_says_nothing(seed: int) -> None:
    strategy = made("cross_exchange")
    whole = shown(strategy, seed)
    assert strategy.evaluate(snapshot(whole.windows[0])) == Evaluation((), {})
    assert strategy.evaluate(snapshot(whole.windows[0], VenueWindow("beta", (), ()))) == Evaluation((), {})


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from(["alpha", "beta"]), st.floats(-50, 50).filter(bool))
def test_an_arbitrage_never_leaves_one_leg_alone(seed: int, venue: str, quantity: float) -> None:
    strategy = made("cross_exchange")
    whole = shown(strategy, seed)
    after = {"alpha": 0.0, "beta": 0.0, venue: quantity}
    for signal in strategy.evaluate(snapshot(*whole.windows, held={venue: quantity})).signals:
        after[signal.venue] += signal.signed_quantity
    assert math.isclose(after["alpha"], -after["beta"], rel_tol=1e-4, abs_tol=1e-9)


def test_every_strategy_is_tried_here() -> None:
    assert PARAMETERS.keys() == STRATEGIES.keys()
