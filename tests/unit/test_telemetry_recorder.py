"""The recorder: what is newest, what was lost, what the last fifteen minutes looked like."""

from __future__ import annotations

from datetime import timedelta

from stage4.telemetry.recorder import Recorder, instant, microseconds
from support.telemetry_process import START, sample


def test_a_gap_in_the_numbers_counts_as_lost_and_a_new_start_does_not() -> None:
    recorder = Recorder()
    for seq in (1, 2, 5, 1, 2):
        recorder.apply(sample(seq))
    assert (recorder.samples, recorder.lost) == (5, 2)


def test_one_point_a_second_is_kept_and_it_is_the_worst_one() -> None:
    recorder = Recorder()
    for milliseconds, zscore in ((0, 1.0), (300, 3.0), (600, 2.0), (1100, 0.5)):
        at = START + timedelta(milliseconds=milliseconds)
        recorder.apply(sample(milliseconds, at, avg_abs_zscore=zscore, spread_capture_bps=zscore))
    (zscores,) = recorder.series("stage4_avg_abs_zscore", START)
    (spreads,) = recorder.series("stage4_spread_capture_bps", START)
    assert [point.value for point in zscores.points] == [3.0, 0.5]
    assert [point.value for point in spreads.points] == [1.0, 0.5]


def test_fifteen_minutes_are_kept_and_no_more() -> None:
    recorder = Recorder()
    for second in range(20 * 60):
        recorder.apply(sample(second, START + timedelta(seconds=second), avg_abs_zscore=second))
    (series,) = recorder.series("stage4_avg_abs_zscore", START)
    assert len(series.points) == 15 * 60
    assert series.points[0].at == START + timedelta(minutes=5)


def test_series_can_be_narrowed_to_a_schedule_and_a_span() -> None:
    recorder = Recorder()
    for second in range(10):
        at = START + timedelta(seconds=second)
        recorder.apply(sample(2 * second, at, "one", avg_abs_zscore=1))
        recorder.apply(sample(2 * second + 1, at, "two", avg_abs_zscore=2))
    (only,) = recorder.series("stage4_avg_abs_zscore", START + timedelta(seconds=7), "two")
    assert only.labels["schedule"] == "two"
    assert [point.value for point in only.points] == [2, 2, 2]
    assert not list(recorder.series("stage4_equity", START))
    assert not list(recorder.series("stage4_avg_abs_zscore", START + timedelta(hours=1)))


def test_a_clock_that_was_set_back_does_not_turn_a_series_round() -> None:
    recorder = Recorder()
    for seq, minutes in enumerate((5, 0, 6)):
        recorder.apply(sample(seq, START + timedelta(minutes=minutes), avg_abs_zscore=minutes))
    (series,) = recorder.series("stage4_avg_abs_zscore", START)
    assert [point.value for point in series.points] == [5, 6]


def test_a_metric_that_the_catalogue_does_not_know_is_passed_over() -> None:
    recorder = Recorder()
    recorder.apply(sample(1, invented=1.0))
    assert recorder.samples == 1
    assert not list(recorder.series("stage4_invented", START))


def test_the_newest_sample_of_every_source_is_kept() -> None:
    recorder = Recorder()
    recorder.apply(sample(1, schedule="one"))
    recorder.apply(sample(2, schedule=""))
    recorder.apply(sample(3, schedule="one"))
    assert sorted(one.seq for one in recorder.newest.values()) == [2, 3]


def test_microseconds_and_instants_agree() -> None:
    at = START + timedelta(microseconds=123_457)
    assert instant(microseconds(at)) == at
