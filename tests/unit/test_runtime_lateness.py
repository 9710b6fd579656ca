"""The histogram of lateness: exact to a per cent, silent about a p99 that the samples do not carry."""

from __future__ import annotations

import pytest

from stage4.runtime.lateness import LatenessFigures, LatenessHistogram


def of(*lateness_ns: int) -> LatenessFigures:
    histogram = LatenessHistogram()
    for each in lateness_ns:
        histogram.add(each)
    return histogram.figures()


def test_nothing_dispatched_is_no_figure() -> None:
    assert of() == LatenessFigures(0, 0.0, None, 0.0)


def test_few_dispatches_carry_a_median_and_a_maximum_and_no_p99() -> None:
    figures = of(1_000_000, 2_000_000, 40_000_000)
    assert (figures.count, figures.p99_ms) == (3, None)
    assert figures.p50_ms == pytest.approx(2.0, rel=0.01)
    assert figures.max_ms == pytest.approx(40.0, rel=0.01)


def test_a_thousand_dispatches_carry_a_p99() -> None:
    figures = of(*([1_000_000] * 985), *([70_000_000] * 15))
    assert figures.count == 1000
    assert figures.p50_ms == pytest.approx(1.0, rel=0.01)
    assert figures.p99_ms == pytest.approx(70.0, rel=0.01)


def test_a_lateness_beyond_the_scale_counts_as_its_end() -> None:
    assert of(0, 10**16).max_ms == pytest.approx(3_600_000.0, rel=0.01)
