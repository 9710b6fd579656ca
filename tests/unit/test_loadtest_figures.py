"""Figures of a load run: no slot is left out, histograms add up, percentiles lie within their bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stage4.runtime.loadtest_figures import buckets, distribution, histogram, merged, with_missed
from stage4.runtime.loadtest_hiccup import Stall

MS = 1_000_000
SPANS = st.lists(st.integers(1_000, 10**10), min_size=1, max_size=200)


def test_the_slots_that_a_stall_swallowed_waited_too() -> None:
    # Every 2 ms; slot 1 takes 7 ms, so slots 2, 3 and 4 came due meanwhile and were never dispatched.
    found = with_missed([0, 1, 5], [0, 2 * MS, 10 * MS], [1 * MS, 7 * MS, 1 * MS], 2 * MS, 6)
    assert found.spans == (1 * MS, 7 * MS, 5 * MS, 3 * MS, 1 * MS, 1 * MS)
    assert found.intended == (0, 2 * MS, 4 * MS, 6 * MS, 8 * MS, 10 * MS)


def test_a_slot_that_ran_late_is_counted_once() -> None:
    assert with_missed([0, 1], [0, 2 * MS], [3 * MS, 1 * MS], 2 * MS, 2).spans == (3 * MS, 1 * MS)


def test_only_counted_slots_are_added() -> None:
    assert with_missed([3], [6 * MS], [9 * MS], 2 * MS, 5).spans == (9 * MS, 7 * MS)


def test_a_stall_hidden_by_its_missed_slots_would_halve_the_p99() -> None:
    # A thousand slots every 2 ms, one stall of 100 ms: 49 slots were swallowed.
    slots = [*range(500), *range(549, 1000)]
    spans = [100 * MS if slot == 499 else MS for slot in slots]
    seen = with_missed(slots, [slot * 2 * MS for slot in slots], spans, 2 * MS, 1000)
    assert len(seen) == 1000
    assert sum(span > 80 * MS for span in seen.spans) == 10
    assert sorted(seen.spans)[989] == 80 * MS
    assert sorted(spans)[-2] == MS


def test_without_the_host_only_what_coincides_is_taken_away() -> None:
    seen = with_missed([0, 1], [0, 100 * MS], [60 * MS, 5 * MS], 100 * MS, 2)
    assert seen.without([Stall(10 * MS, 30 * MS), Stall(55 * MS, 90 * MS)]) == (35 * MS, 5 * MS)


@given(st.lists(SPANS, min_size=1, max_size=5))
def test_added_histograms_are_the_histogram_of_all_samples(groups: list[list[int]]) -> None:
    whole = histogram([span for group in groups for span in group])
    added = merged(histogram(group) for group in groups)
    assert added.get_total_count() == whole.get_total_count() == sum(map(len, groups))
    for percentile in (0.0, 50.0, 90.0, 99.0, 99.9, 100.0):
        assert added.get_value_at_percentile(percentile) == whole.get_value_at_percentile(percentile)


@given(st.lists(SPANS, min_size=1, max_size=4))
def test_the_order_and_the_grouping_of_samples_change_no_figure(groups: list[list[int]]) -> None:
    flat = [span for group in groups for span in group]
    assert distribution(*groups) == distribution(flat) == distribution(sorted(flat, reverse=True))


@given(st.lists(st.integers(1_000_000, 10**9), min_size=20, max_size=400))
def test_a_percentile_lies_within_its_own_bounds(spans: list[int]) -> None:
    found = distribution(spans)
    bounds = found["bounds_95"]
    assert isinstance(bounds, dict)
    for name, (low, high) in bounds.items():
        value = found[name]
        if value is not None:
            # Three significant digits of the histogram on one side, exact places on the other.
            assert low is None or low <= value * 1.002
            assert high is None or value <= high * 1.002


@given(SPANS)
def test_every_sample_stands_in_one_bar(spans: list[int]) -> None:
    rows = buckets(spans)
    assert sum(count for _, count in rows) == len(spans)
    assert [edge for edge, _ in rows] == sorted({edge for edge, _ in rows})
    assert rows[-1][0] >= max(spans) / 1e6


def test_bars_have_edges_of_one_two_and_five() -> None:
    assert buckets([]) == []
    assert buckets([MS, MS + 1, 4 * MS]) == [[1.0, 1], [2.0, 1], [5.0, 1]]


def test_a_bound_that_no_sample_is_stays_open() -> None:
    found = distribution([MS] * 90)
    bounds = found["bounds_95"]
    assert isinstance(bounds, dict)
    assert bounds["p99"] == [1.0, None]
    assert found["share_beyond_max_95"] == pytest.approx(0.032738)
