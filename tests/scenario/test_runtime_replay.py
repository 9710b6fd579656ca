"""Replays: small recordings made here, and the recorded weekend of March 2023 where it is at hand."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from stage4.errors import UsageError
from stage4.runtime.replay import ReplayReport, default_settings, replay_all, replay_day
from stage4.telemetry import catalogue
from stage4.telemetry.sample import Sample
from support.desks import walk

RECORDED = Path(os.environ.get("STAGE4_MARKET_DATA", Path(__file__).parents[3] / "shared" / "data" / "market"))
WEEKEND = [RECORDED / f"{venue}_BTCUSDC_1m_2023-03-01_2023-03-14.csv.gz" for venue in ("binance_us", "kraken")]
DAY = date(2023, 3, 11)
MIDNIGHT = datetime(2023, 3, 11, tzinfo=UTC)


@dataclass(frozen=True)
class Change:
    """What a rule says."""

    name: str
    severity: str
    firing: bool
    value: float
    labels: dict[str, str] = field(default_factory=dict)


class Thresholds:
    """The thresholds of the catalogue as rules."""

    def __init__(self) -> None:
        self._level: dict[tuple[str, str, str], str | None] = {}
        self.samples = 0

    def __call__(self, sample: Sample) -> Iterator[Change]:
        self.samples += 1
        labels = {"schedule": sample.schedule, "risk_profile": sample.risk_profile}
        for name, value in sample.values.items():
            level = catalogue.metric(name).level(value, catalogue.thresholds_for(name, sample.risk_profile))
            key = (name, sample.schedule, sample.risk_profile)
            before = self._level.get(key)
            self._level[key] = level
            if before is not None and before != level:
                yield Change(name, before, False, value, labels)
            if level is not None and before != level:
                yield Change(name, level, True, value, labels)


def recording(folder: Path, venue: str, seed: int, *, missing: range = range(0), jump_at: int | None = None) -> Path:
    """Ten hours before the day and the day itself, without the minutes `missing` of the day."""
    rows = ["timestamp,open,high,low,close,volume"]
    factor = 1.0
    for minute, price in enumerate(walk(seed, 600 + 1440, start=24_000, volatility=0.0004)):
        of_day = minute - 600
        if of_day == jump_at:
            factor = 0.9
        if of_day in missing:
            continue
        at = MIDNIGHT + timedelta(minutes=of_day)
        close = price * factor
        rows.append(f"{at:%Y-%m-%dT%H:%M:%SZ},{close},{close},{close},{close},1.0")
    path = folder / f"{venue}_BTCUSD_1m.csv.gz"
    path.write_bytes(gzip.compress("\n".join(rows).encode()))
    return path


def test_a_replay_runs_all_strategies_over_the_whole_day_and_keeps_the_gaps(tmp_path: Path) -> None:
    paths = [recording(tmp_path, "alpha", 1), recording(tmp_path, "beta", 1, missing=range(100, 103))]
    rules = Thresholds()
    report = replay_day(paths, DAY, rules)
    assert report.bars == 2 * 1440 - 3
    assert [(gap.venue, gap.missing) for gap in report.gaps] == [("beta", 3)]
    assert report.evaluations == 3 * 1441
    assert report.signals >= report.evaluations
    assert report.submissions > 0
    assert rules.samples == report.evaluations + 4 * 1441


def test_a_replay_names_when_an_alert_would_have_begun_and_ended(tmp_path: Path) -> None:
    paths = [recording(tmp_path, "alpha", 1), recording(tmp_path, "beta", 1, missing=range(100, 103))]
    report = replay_day(paths, DAY, Thresholds())
    late = [alert for alert in report.alerts if alert.name == "stage4_secondary_delay_ms"]
    # The bar of minute 100 would have been complete at 01:41, the one of minute 103 is at 01:44.
    assert [(f"{alert.since:%H:%M}", f"{alert.until:%H:%M}") for alert in late] == [("01:41", "01:44")]
    assert late[0].severity == "critical"


def test_a_crash_of_the_price_is_seen_when_it_happens(tmp_path: Path) -> None:
    paths = [recording(tmp_path, venue, 1, jump_at=720) for venue in ("alpha", "beta")]
    report = replay_day(paths, DAY, Thresholds())
    at_noon = {alert.name for alert in report.alerts if alert.since == MIDNIGHT + timedelta(minutes=721)}
    assert "stage4_allocation_error_pct" in at_noon


def test_the_same_recording_gives_the_same_report(tmp_path: Path) -> None:
    paths = [recording(tmp_path, "alpha", 1), recording(tmp_path, "beta", 2)]
    assert replay_day(paths, DAY, Thresholds()) == replay_day(paths, DAY, Thresholds())


def test_one_price_more_or_less_shows_in_the_digest(tmp_path: Path) -> None:
    whole = [recording(tmp_path, "alpha", 1), recording(tmp_path, "beta", 2)]
    digest = replay_day(whole, DAY, Thresholds()).decisions
    other = [whole[0], recording(tmp_path, "beta", 2, missing=range(700, 701))]
    assert replay_day(other, DAY, Thresholds()).decisions != digest


def test_all_that_is_recorded_can_be_replayed_and_its_alerts_are_sorted_by_day(tmp_path: Path) -> None:
    paths = [recording(tmp_path, venue, 1, jump_at=720) for venue in ("alpha", "beta")]
    report = replay_all(paths, Thresholds())
    assert (report.since, report.until) == (MIDNIGHT - timedelta(hours=10), MIDNIGHT + timedelta(days=1))
    assert report.bars == 2 * (600 + 1440)
    days = report.alerts_by_day()
    assert list(days) == [date(2023, 3, 10), DAY]
    assert sum(map(len, days.values())) == len(report.alerts)
    assert all(alert.since.date() == date(2023, 3, 10) for alert in days[date(2023, 3, 10)])
    assert "stage4_allocation_error_pct" in {alert.name for alert in days[DAY]}


def test_a_replay_needs_two_venues(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"runtime\.two_venues"):
        replay_day([recording(tmp_path, "alpha", 1)], DAY, Thresholds())


def test_the_default_settings_use_all_three_strategies() -> None:
    chosen = default_settings(("one", "two"))
    assert len(chosen.runtime.multi_strategy_schedulers["core_multi_pipeline"].schedules) == 3


@pytest.fixture(scope="module")
def weekend() -> ReplayReport:
    if not all(path.exists() for path in WEEKEND):
        pytest.skip("the recorded bars of March 2023 are not at hand (set STAGE4_MARKET_DATA to their folder)")
    return replay_day(WEEKEND, DAY, Thresholds())


def test_the_eleventh_of_march_2023_is_decided_alike_every_time(weekend: ReplayReport) -> None:
    again = [replay_day(WEEKEND, DAY, Thresholds()) for _ in range(2)]
    assert [report.decisions for report in again] == [weekend.decisions] * 2
    assert again == [weekend] * 2


def test_the_eleventh_of_march_2023_runs_with_its_gaps(weekend: ReplayReport) -> None:
    # 1,440 bars of one venue and 1,319 of the other, counted in the files.
    assert weekend.bars == 1440 + 1319
    assert sum(gap.missing for gap in weekend.gaps) == 121
    assert weekend.evaluations == 3 * 1441


def test_the_eleventh_of_march_2023_names_its_alerts_with_utc_times(weekend: ReplayReport) -> None:
    assert {alert.name for alert in weekend.alerts} >= {
        "stage4_allocation_error_pct",
        "stage4_avg_abs_zscore",
        "stage4_secondary_delay_ms",
    }
    assert all(MIDNIGHT <= alert.since <= MIDNIGHT + timedelta(days=1) for alert in weekend.alerts)
    assert all(alert.since.utcoffset() == timedelta(0) for alert in weekend.alerts)
    critical = [alert for alert in weekend.alerts if alert.severity == "critical"]
    assert critical
