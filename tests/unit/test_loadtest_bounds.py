"""What samples can support: exact binomial bounds against sums of exact fractions."""

from __future__ import annotations

from fractions import Fraction
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stage4.runtime.loadtest_bounds import at_most, ranks, samples_for, share_at_least, share_beyond

SHARES = st.fractions(Fraction(1, 50), Fraction(49, 50), max_denominator=1000)


def exact(most: int, count: int, share: Fraction) -> float:
    return float(sum(comb(count, k) * share**k * (1 - share) ** (count - k) for k in range(most + 1)))


def test_the_largest_of_ninety_leaves_more_than_three_per_cent_possible() -> None:
    assert share_beyond(90, 0) == pytest.approx(0.0327380, abs=1e-7)
    assert share_beyond(30, 0) == pytest.approx(0.0950339, abs=1e-7)


def test_nothing_seen_bounds_nothing() -> None:
    assert share_beyond(0, 0) == 1.0
    assert share_beyond(5, 5) == 1.0
    assert ranks(0, 0.5) == (None, None)


def test_one_of_six_may_be_less_than_one_in_a_hundred() -> None:
    assert share_at_least(6, 1) == pytest.approx(1 - 0.95 ** (1 / 6))
    assert share_at_least(6, 0) == share_at_least(0, 0) == 0.0
    assert share_at_least(30, 7) > 0.10 > share_at_least(30, 6)


def test_a_p99_is_bounded_by_the_largest_of_299_samples() -> None:
    assert samples_for(0.99) == 299
    assert 0.99**299 <= 0.05 < 0.99**298


def test_the_places_around_a_median_are_those_of_the_tables() -> None:
    # David and Nagaraja, 7.1: for six samples only the extremes hold the median with 95 %.
    assert ranks(6, 0.5) == (1, 6)
    assert ranks(5, 0.5) == (None, None)
    assert ranks(90, 0.99) == (87, None)


@given(st.integers(1, 120), st.integers(0, 120), SHARES)
def test_the_sum_of_probabilities_is_exact(count: int, most: int, share: Fraction) -> None:
    most = min(most, count)
    assert at_most(most, count, float(share)) == pytest.approx(exact(most, count, share), abs=1e-9)


@given(st.integers(1, 150), st.data())
def test_the_bound_of_a_share_is_where_so_few_beyond_become_unlikely(count: int, data: st.DataObject) -> None:
    beyond = data.draw(st.integers(0, count - 1))
    bound = share_beyond(count, beyond)
    assert beyond / count < bound <= 1.0
    assert exact(beyond, count, Fraction(bound)) == pytest.approx(0.05, abs=1e-6)


@given(st.integers(1, 200), SHARES)
def test_the_places_are_the_tightest_that_hold_the_percentile(count: int, quantile: Fraction) -> None:
    lower, upper = ranks(count, float(quantile))
    if lower is not None:
        assert exact(lower - 1, count, quantile) <= 0.025 + 1e-9
        assert exact(lower, count, quantile) > 0.025 - 1e-9
    if upper is not None:
        assert exact(upper - 1, count, quantile) >= 0.975 - 1e-9
        assert exact(upper - 2, count, quantile) < 0.975 + 1e-9 if upper > 1 else True
    else:
        assert exact(count - 1, count, quantile) < 0.975 + 1e-9
