"""Durations and instants as people write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stage4 import clock, ids
from stage4.errors import UsageError
from stage4.testing.clock import ManualClock


@pytest.mark.parametrize(
    ("text", "seconds"), [("10m", 600), ("5s", 5), ("1h30m", 5400), ("250ms", 0.25), ("2d", 172800), ("1.5h", 5400)]
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert clock.parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "10", "5 s", "-5s", "0s", "m", "10m!", "9999999d", "1e3s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="clock.bad_duration"):
        clock.parse_duration(text)


@given(st.integers(min_value=1, max_value=30_000_000_000))
def test_a_duration_reads_back(milliseconds: int) -> None:
    span = timedelta(milliseconds=milliseconds)
    assert clock.parse_duration(clock.format_duration(span)) == span


@given(st.datetimes(min_value=datetime(1971, 1, 1), max_value=datetime(2999, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001 - Hypothesis takes naive bounds
def test_an_instant_reads_back(instant: datetime) -> None:
    assert clock.parse_instant(clock.format_instant(instant)) == instant


@pytest.mark.parametrize("text", ["2026-11-23", "2026-11-23T09:00:00", "now", "0001-01-01T00:00:00+14:00"])
def test_an_instant_without_an_offset_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="clock.bad_instant"):
        clock.parse_instant(text)


def test_the_system_clock_is_utc_and_names_its_boot() -> None:
    system = clock.SystemClock()
    assert system.now().tzinfo is UTC
    assert system.monotonic_ns() <= system.monotonic_ns()
    assert system.boot_id() == system.boot_id()


def test_a_manual_clock_moves_only_when_told() -> None:
    manual = ManualClock()
    start, ticks = manual.now(), manual.monotonic_ns()
    manual.sleep(90)
    assert manual.now() - start == timedelta(seconds=90)
    assert manual.monotonic_ns() - ticks == 90_000_000_000
    manual.step_wall(timedelta(hours=-1))
    assert manual.monotonic_ns() - ticks == 90_000_000_000


def test_incident_ids_read_back_and_others_are_refused() -> None:
    day = datetime(2026, 11, 23, tzinfo=UTC).date()
    assert ids.parse_incident_id(ids.incident_id(day, 7)) == (day, 7)
    for text in ("INC-20261323-0001", "INC-2026-1", "inc-20261123-0001", ""):
        with pytest.raises(UsageError):
            ids.parse_incident_id(text)
