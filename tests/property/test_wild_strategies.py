"""A strategy that returns nonsense harms only itself: neither the books of others nor their limits move."""

from __future__ import annotations

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st

from stage4.errors import Unavailable
from stage4.runtime.desk import Desk
from stage4.runtime.signal import Evaluation, Signal, SignalKind, sound
from stage4.telemetry import catalogue
from support.desks import BEGINS, desk

WILD = "volatility_target_daily"
NUMBERS = st.floats() | st.floats(0, 1)
SIGNALS = st.builds(
    Signal,
    kind=st.sampled_from(SignalKind),
    schedule=st.just(WILD) | st.sampled_from(["mean_reversion_intraday", "cross_exchange_watch", ""]),
    strategy=st.text(max_size=3),
    symbol=st.sampled_from(["BTC/USD", "ETH/USD", ""]),
    venue=st.sampled_from(["alpha", "beta", "mars"]),
    quantity=NUMBERS,
    confidence=NUMBERS,
    reason=st.text(max_size=3),
    metadata=st.dictionaries(st.text(max_size=3), NUMBERS, max_size=2),
)
METRICS = st.dictionaries(st.sampled_from([metric.name for metric in catalogue.METRICS]) | st.text(max_size=5), NUMBERS)
EVALUATIONS = st.builds(Evaluation, st.lists(SIGNALS, max_size=6).map(tuple), METRICS | st.just({}))


def submitted(made: Desk, evaluation: Evaluation) -> int:
    """What the environment does with an answer; how many signals left."""
    schedule = made.schedules[WILD]
    try:
        answer = sound(evaluation, made.snapshot(schedule, BEGINS))
    except Unavailable:
        return 0
    return made.settle(schedule, answer, BEGINS)


@settings(max_examples=200, deadline=None)
@given(st.lists(EVALUATIONS, min_size=1, max_size=4))
def test_whatever_a_strategy_answers_the_others_keep_their_books_and_it_keeps_to_its_limit(
    answers: list[Evaluation],
) -> None:
    made = desk()
    others = {name: book for name, book in made.books.items() if name != WILD}
    for answer in answers:
        assert submitted(made, answer) <= made.schedules[WILD].settings.max_signals
    assert {name: book for name, book in made.books.items() if name != WILD} == others
    assert made.broker.submissions_by_schedule.keys() <= {WILD}
    book = made.books[WILD]
    assert {venue for venue, _ in book.positions} <= {"alpha", "beta"}
    for position in book.positions.values():
        value = abs(position.quantity) * position.average_price
        # Thirty per cent of the capital; fees make the equity a little smaller between two signals.
        assert value <= 0.30 * 100_000 * (1 + 1e-9)
    assert book.fees >= 0


@settings(max_examples=200, deadline=None)
@given(EVALUATIONS)
def test_what_passes_speaks_of_itself_in_numbers_only(evaluation: Evaluation) -> None:
    made = desk()
    shown = made.snapshot(made.schedules[WILD], BEGINS)
    with contextlib.suppress(Unavailable):
        answer = sound(evaluation, shown)
        assert all(signal.schedule == WILD and 0 <= signal.confidence <= 1 for signal in answer.signals)
        assert answer.metrics.keys() <= catalogue.STRATEGY_METRICS
        assert all(value - value == 0 for value in answer.metrics.values())
