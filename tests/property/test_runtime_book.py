"""Money is neither made nor lost by bookkeeping."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stage4.runtime.risk import Book, EquityTrack, Fill, Position, limit

AT = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
KEYS = st.sampled_from([("alpha", "BTC/USD"), ("beta", "BTC/USD"), ("alpha", "ETH/USD")])
QUANTITIES = st.integers(-1000, 1000).filter(bool).map(lambda units: units / 8)
PRICES = st.integers(1, 4_000_000).map(lambda ticks: ticks / 64)
FILLS = st.lists(
    st.tuples(KEYS, QUANTITIES, PRICES, st.floats(0, 10)).map(
        lambda made: Fill(AT, "any", made[0][0], made[0][1], made[1], made[2], made[3])
    ),
    max_size=30,
)


@given(FILLS, st.dictionaries(KEYS, PRICES, min_size=3))
def test_equity_is_capital_plus_cash_flow_plus_market_value(
    fills: list[Fill], marks: dict[tuple[str, str], float]
) -> None:
    book, cash = Book(100_000.0), 100_000.0
    held: dict[tuple[str, str], float] = {}
    for fill in fills:
        book = book.filled(fill)
        cash -= fill.quantity * fill.price + fill.fee
        key = (fill.venue, fill.symbol)
        held[key] = held.get(key, 0.0) + fill.quantity
    value = sum(quantity * marks[key] for key, quantity in held.items())
    turnover = 1.0 + sum(abs(fill.quantity) * fill.price for fill in fills)
    assert book.equity(marks) == pytest.approx(cash + value, abs=1e-9 * turnover)
    assert {key: position.quantity for key, position in book.positions.items()} == {
        key: quantity for key, quantity in held.items() if quantity
    }


@given(st.lists(st.tuples(QUANTITIES, PRICES), max_size=20), PRICES)
def test_what_is_flat_again_has_realised_all_of_its_profit(trades: list[tuple[float, float]], last: float) -> None:
    position, realised, cash = Position(), 0.0, 0.0
    for quantity, price in [*trades, (-sum(quantity for quantity, _ in trades), last)]:
        position, part = position.filled(quantity, price)
        realised += part
        cash -= quantity * price
    turnover = 1.0 + sum(abs(quantity) * price for quantity, price in trades)
    assert position.quantity == 0
    assert realised == pytest.approx(cash, abs=1e-9 * turnover)


@given(st.lists(st.floats(1, 1e9), min_size=1))
def test_drawdown_is_never_negative_and_never_above_a_hundred_per_cent(equities: list[float]) -> None:
    track = EquityTrack.begin(equities[0], AT)
    for equity in equities:
        track = track.observed(equity, AT)
        assert 0 <= track.drawdown_pct <= 100
    assert track.peak == max(equities)


@given(
    wished=st.floats(-1000, 1000),
    held=st.floats(-1000, 1000),
    price=st.floats(1, 1000),
    drawdown=st.floats(0, 20),
    loss=st.floats(0, 5),
)
def test_risk_only_ever_cuts_a_wish_down(
    wished: float, held: float, price: float, drawdown: float, loss: float
) -> None:
    verdict = limit(
        wished,
        held,
        price=price,
        equity=10_000,
        max_position_pct=10,
        drawdown_pct=drawdown,
        hard_drawdown_pct=8,
        loss_ratio=loss,
    )
    assert abs(verdict.quantity) <= abs(wished) * (1 + 1e-9) + 1e-9
    assert verdict.quantity * wished >= 0
    after = held + verdict.quantity
    largest = 1000 / price
    assert abs(after) <= max(abs(held), largest) * (1 + 1e-9) + 1e-9
    if loss > 1 or drawdown > 8:
        assert abs(after) <= abs(held) + 1e-9


@given(st.lists(st.floats(1, 1e9) | st.sampled_from([float("inf"), float("-inf"), float("nan")]), min_size=1))
def test_what_is_not_finite_leaves_no_trace_in_the_track(equities: list[float]) -> None:
    track, sane = EquityTrack.begin(1000.0, AT), EquityTrack.begin(1000.0, AT)
    for equity in equities:
        track = track.observed(equity, AT)
        sane = sane.observed(equity, AT) if math.isfinite(equity) else sane
        assert (track.peak, track.day_start) == (sane.peak, sane.day_start)
    assert track.observed(900.0, AT) == sane.observed(900.0, AT)
