"""What every strategy promises."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stage4.runtime.signal import Evaluation, SignalKind, Snapshot, sound
from stage4.runtime.strategies import STRATEGIES, Strategy, StrategySpec
from stage4.telemetry import catalogue
from support.desks import snapshot, walk, window

PARAMETERS: Mapping[str, Mapping[str, object]] = {
    "mean_reversion": {"lookback": 30},
    "volatility_target": {"lookback": 30},
    "cross_exchange": {"primary_exchange": "alpha", "secondary_exchange": "beta"},
}


@pytest.fixture(params=sorted(STRATEGIES))
def strategy(request: pytest.FixtureRequest) -> Strategy:
    return StrategySpec(request.param, PARAMETERS[request.param]).build()


def seen(seed: int, bars: int, held: float = 0.0) -> Snapshot:
    """Two venues that walk near each other."""
    first = walk(seed, bars)
    second = [price * (1 + 0.001 * noise) for price, noise in zip(first, walk(seed + 1, bars, start=1.0), strict=True)]
    return snapshot(window("alpha", first), window("beta", second, delay_ms=80), held={"alpha": held} if held else {})


def test_every_strategy_is_tried_here() -> None:
    assert PARAMETERS.keys() == STRATEGIES.keys()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), extra=st.integers(0, 60), held=st.floats(-100, 100), data=st.data())
def test_the_same_snapshot_gives_the_same_signals_whatever_came_before(
    seed: int, extra: int, held: float, data: st.DataObject
) -> None:
    kind = data.draw(st.sampled_from(sorted(STRATEGIES)))
    strategy = StrategySpec(kind, PARAMETERS[kind]).build()
    shown = seen(seed, strategy.required_bars + extra, held)
    first = strategy.evaluate(shown)
    strategy.evaluate(seen(seed + 7, strategy.window_bars))
    assert strategy.evaluate(shown) == first
    assert first.signals
    assert sound(first, shown) is first
    assert all(catalogue.known(name) for name in first.metrics)


def test_too_few_bars_give_no_signal_at_all(strategy: Strategy) -> None:
    assert strategy.evaluate(seen(1, strategy.required_bars - 1)) == Evaluation((), {})


def test_prices_that_do_not_move_give_a_sound_answer(strategy: Strategy) -> None:
    flat = [100.0] * strategy.window_bars
    shown = snapshot(window("alpha", flat), window("beta", flat))
    evaluation = sound(strategy.evaluate(shown), shown)
    assert evaluation.signals
    assert all(value == value for value in evaluation.metrics.values())


def test_it_sees_at_least_what_it_needs(strategy: Strategy) -> None:
    assert strategy.window_bars >= strategy.required_bars > 0


def test_following_its_signal_leaves_nothing_to_do(strategy: Strategy) -> None:
    shown = seen(11, strategy.window_bars)
    held = dict(shown.held)
    for signal in strategy.evaluate(shown).signals:
        held[signal.venue] = held.get(signal.venue, 0.0) + signal.signed_quantity
    again = strategy.evaluate(_holding(shown, held))
    assert {signal.kind for signal in again.signals} == {SignalKind.HOLD}


def _holding(shown: Snapshot, held: Mapping[str, float]) -> Snapshot:
    return snapshot(*shown.windows, held=dict(held), equity=shown.equity)
