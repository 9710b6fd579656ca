"""The pipe between scheduler and telemetry: it never waits, it never mixes lines, it counts what it loses."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator

import msgspec
import pytest

from stage4.telemetry.sample import LONGEST_LINE, PipeSink, Sample, SampleParser, decode, encode, read_samples
from support.telemetry_process import START, sample


@pytest.fixture
def pipe() -> Iterator[tuple[int, PipeSink]]:
    read_end, write_end = os.pipe()
    sink = PipeSink(write_end)
    yield read_end, sink
    sink.close()
    os.close(read_end)


def test_samples_come_out_as_they_went_in(pipe: tuple[int, PipeSink]) -> None:
    read_end, sink = pipe
    sent = [sample(seq, avg_abs_zscore=seq / 7) for seq in range(5)]
    assert all(sink.offer(one) for one in sent)
    sink.close()
    assert list(read_samples(read_end)) == sent


def test_a_value_that_is_no_number_is_left_out() -> None:
    odd = sample(1, equity=math.nan, exposure_ratio=math.inf, gate_closed=0.0)
    assert decode(encode(odd)[:-1]).values == {"stage4_gate_closed": 0.0}


def test_an_instant_without_a_time_zone_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        decode(b'{"seq":1,"at":"2026-11-23T09:00:00"}')


def test_a_full_pipe_drops_and_counts_and_does_not_wait(pipe: tuple[int, PipeSink]) -> None:
    read_end, sink = pipe
    offered, accepted = 30_000, 0
    for seq in range(offered):
        accepted += sink.offer(sample(seq, avg_abs_zscore=1.0))
    assert 0 < accepted < offered
    assert sink.dropped == offered - accepted
    sink.close()
    parser = SampleParser()
    arrived = list(read_samples(read_end, parser))
    # The line that was half written when the pipe filled up dies with the writer; all others are whole.
    assert len(arrived) in (accepted, accepted - 1)
    assert [one.seq for one in arrived] == list(range(len(arrived)))


def test_a_line_begun_in_a_full_pipe_is_finished_before_the_next(pipe: tuple[int, PipeSink]) -> None:
    read_end, sink = pipe
    seq = 0
    while sink.offer(sample(seq, avg_abs_zscore=1.0)):
        seq += 1
    parser, arrived = SampleParser(), []
    for _ in range(200):
        arrived += parser.feed(os.read(read_end, 1 << 16))
        seq += 1
        sink.offer(sample(seq, avg_abs_zscore=2.0))
    sink.close()
    arrived += list(read_samples(read_end, parser))
    assert parser.malformed == 0
    numbers = [one.seq for one in arrived]
    assert numbers == sorted(set(numbers))
    assert len(numbers) + sink.dropped == seq + 1


def test_a_reader_that_is_gone_costs_samples_and_nothing_else() -> None:
    read_end, write_end = os.pipe()
    sink = PipeSink(write_end)
    os.close(read_end)
    assert not sink.offer(sample(1))
    assert not sink.offer(sample(2))
    assert sink.dropped == 2
    sink.close()
    sink.close()


def test_malformed_lines_are_counted_and_passed_over() -> None:
    parser = SampleParser()
    good = encode(sample(7))
    got = parser.feed(b"garbage\n" + good + b'{"seq":"x"}\n\xff\n' + good)
    assert [one.seq for one in got] == [7, 7]
    assert parser.malformed == 3


def test_a_line_without_end_does_not_fill_the_memory() -> None:
    parser = SampleParser()
    assert parser.feed(b"x" * (LONGEST_LINE + 1)) == []
    assert parser.malformed == 1
    assert [one.seq for one in parser.feed(b"\n" + encode(sample(8)))] == [8]


def test_a_sample_of_a_newer_runtime_with_more_fields_is_still_read() -> None:
    assert decode(b'{"seq":1,"at":"2026-11-23T09:00:00Z","later":1}') == Sample(seq=1, at=START)
