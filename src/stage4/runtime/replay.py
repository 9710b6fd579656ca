"""
Replay of recorded bars through the strategies, at full speed, on a simulated clock.

Strategies run inline and every instant is the market's own, so the same recording gives the same answer. The rules
are a callable, because monitoring stands beside this room: it takes a sample and says which alerts changed. There
are no latencies in a replay: nothing in it waits.

The digest covers every decision: who was evaluated when, every signal with all its numbers, and how many were
submitted. Two replays with one digest decided alike, bit for bit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Protocol

import msgspec

from stage4.clock import format_instant
from stage4.config.settings import (
    CrossExchangeArbitrage,
    MeanReversion,
    RiskProfile,
    Runtime,
    SchedulerSettings,
    ScheduleSettings,
    Settings,
    VolatilityTarget,
)
from stage4.errors import Unavailable, UsageError
from stage4.market.bar import Bar
from stage4.market.csv_replay import CsvReplayFeed, day_bounds, recorded_span, recordings_by_venue
from stage4.market.quality import Gap, gaps
from stage4.runtime.desk import Desk, DeskSchedule, desk_schedules
from stage4.runtime.feeds import HISTORY_BARS
from stage4.runtime.gate import OPEN, GateVerdict
from stage4.runtime.sampling import Sampler
from stage4.runtime.schedule import NANOSECONDS, Timing, window_open
from stage4.runtime.signal import Evaluation, sound
from stage4.telemetry.catalogue import DESK
from stage4.telemetry.sample import Sample

START_EQUITY = 1_000_000.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_END_OF_TIME = datetime.max.replace(tzinfo=UTC) - timedelta(days=1)
# With sorted keys, so that the digest does not hang on the order in which a strategy names its numbers.
_encoder = msgspec.msgpack.Encoder(order="sorted")


class AlertChange(Protocol):
    """A rule began or ceased to fire; `labels` tell alerts of one name apart."""

    @property
    def name(self) -> str: ...
    @property
    def severity(self) -> str: ...
    @property
    def labels(self) -> Mapping[str, str]: ...
    @property
    def value(self) -> float: ...
    @property
    def firing(self) -> bool: ...


Rules = Callable[[Sample], Iterable[AlertChange]]


@dataclass(frozen=True, slots=True)
class RaisedAlert:
    """An alert that would have been raised at `since`; `until` is None when it still fired at the end."""

    name: str
    severity: str
    labels: Mapping[str, str]
    since: datetime
    value: float
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """What a replay saw and did; alerts in the order in which they were raised.

    `decisions` is the SHA-256 of all decisions, in hexadecimal.
    """

    since: datetime
    until: datetime
    bars: int
    gaps: tuple[Gap, ...]
    evaluations: int
    signals: int
    submissions: int
    start_equity: float
    end_equity: float
    alerts: tuple[RaisedAlert, ...]
    decisions: str

    def alerts_by_day(self) -> dict[date, tuple[RaisedAlert, ...]]:
        """The alerts by the UTC day on which they began; a day without any is there too."""
        days: dict[date, list[RaisedAlert]] = {}
        day = self.since.date()
        while day == self.since.date() or datetime.combine(day, time(), UTC) < self.until:
            days[day] = []
            day += timedelta(days=1)
        for alert in self.alerts:
            # What begins with the last bar of a day, at midnight, belongs to the day of that bar.
            days.get(alert.since.date(), days[max(days)]).append(alert)
        return {day: tuple(of_day) for day, of_day in days.items()}


class _AlwaysOpen:
    """The gate of a replay: nothing real can leave."""

    def permits(self, *, schedule: str, strategy: str, tags: Sequence[str] = ()) -> GateVerdict:
        return OPEN


class _AlertBook:
    """Turns changes into alerts with a beginning and an end."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str, tuple[tuple[str, str], ...]], int] = {}
        self.alerts: list[RaisedAlert] = []

    def apply(self, change: AlertChange, at: datetime) -> None:
        key = (change.name, change.severity, tuple(sorted(change.labels.items())))
        if change.firing and key not in self._open:
            self._open[key] = len(self.alerts)
            self.alerts.append(RaisedAlert(change.name, change.severity, change.labels, at, change.value))
        elif not change.firing and key in self._open:
            place = self._open.pop(key)
            self.alerts[place] = replace(self.alerts[place], until=at)


def replay_day(paths: Sequence[Path], day: date, rules: Rules, settings: Settings | None = None) -> ReplayReport:
    """Replay the UTC day `day` of the recordings `paths`, with the bars before it as history; else as `replay_all`."""
    return _replay(paths, day_bounds(day), rules, settings)


def replay_all(paths: Sequence[Path], rules: Rules, settings: Settings | None = None) -> ReplayReport:
    """Replay all of the recordings `paths`, the primary venue first.

    Without `settings` the three strategies run once a minute with their default parameters; with them, their arbitrage
    strategies must name the venues of the files. Raises what `market.csv_replay` and `desk_schedules` raise,
    UsageError `runtime.two_venues`, and Unavailable `runtime.nothing_evaluated`.
    """
    return _replay(paths, None, rules, settings)


def _replay(
    paths: Sequence[Path], bounds: tuple[datetime, datetime] | None, rules: Rules, settings: Settings | None
) -> ReplayReport:
    venues, symbol = recordings_by_venue(paths)
    if len(venues) < 2:
        raise UsageError("runtime.two_venues")
    begin, interval = recorded_span(paths[0])
    since, last = bounds or (begin, _END_OF_TIME)
    feed = CsvReplayFeed(
        venues,
        symbol=symbol,
        since=since,
        until=last,
        begins=since,
        history=HISTORY_BARS,
        interval=interval,
    )
    until = last if bounds else feed.ends
    chosen = settings or default_settings(feed.venues)
    scheduler, schedules = desk_schedules(chosen)
    desk = Desk(
        schedules,
        feed,
        _AlwaysOpen(),
        start_equity=START_EQUITY,
        daily_loss_limit_pct=chosen.operations.daily_loss_limit_pct,
        begins=since,
    )
    sampler = Sampler(scheduler, desk, _ns(since))
    book, evaluations, now = _AlertBook(), 0, since
    decisions = hashlib.sha256()
    replayed: list[Bar] = []
    timings = {s.name: Timing.from_seconds(s.settings.cadence_seconds, max_drift=0) for s in schedules}
    slots = dict.fromkeys(timings, -1)
    since_ns = _ns(since)
    while now <= until:
        now_ns = _ns(now)
        bars = feed.advance(now)
        replayed.extend(bar for bar in bars if bar.at > since)
        desk.take(bars, now)
        expected = {s.name: _expected(desk, s, now) for s in schedules}
        sampler.advance(now_ns, expected)
        for schedule in schedules:
            slot = timings[schedule.name].latest_slot(since_ns, now_ns)
            if slot > slots[schedule.name] and expected[schedule.name]:
                slots[schedule.name] = slot
                evaluations += 1
                evaluation, submitted = _evaluate(desk, sampler, schedule, now)
                decisions.update(_encoder.encode((now_ns, schedule.name, evaluation.signals, submitted)))
                _judge(rules, book, sampler.of_schedule(schedule, now, evaluation.metrics), now)
        for sample in sampler.of_accounts(now, now, gate_closed=False):
            _judge(rules, book, sample, now)
        now += interval
    if not evaluations:
        # Looking at nothing is never a pass.
        raise Unavailable("runtime.nothing_evaluated", since=format_instant(since), until=format_instant(until))
    return ReplayReport(
        since=since,
        until=until,
        bars=len(replayed),
        gaps=tuple(gaps(replayed, interval)),
        evaluations=evaluations,
        signals=sum(record.signals for record in sampler.records.values()),
        submissions=desk.broker.submissions,
        start_equity=START_EQUITY,
        end_equity=desk.accounts[DESK].track.equity,
        alerts=tuple(book.alerts),
        decisions=decisions.hexdigest(),
    )


def default_settings(venues: Sequence[str]) -> Settings:
    """The three strategies once a minute with their default parameters, each under the risk profile it usually has."""
    schedules = {
        "mean_reversion_intraday": ScheduleSettings(
            strategy="core_mean_reversion", cadence_seconds=60, risk_profile="balanced"
        ),
        "volatility_target_daily": ScheduleSettings(
            strategy="core_volatility_target", cadence_seconds=60, risk_profile="conservative"
        ),
        "cross_exchange_watch": ScheduleSettings(
            strategy="core_cross_exchange", cadence_seconds=60, risk_profile="aggressive"
        ),
    }
    profile = RiskProfile(max_position_pct=30)
    pair = CrossExchangeArbitrage(primary_exchange=venues[0], secondary_exchange=venues[1])
    return Settings(
        runtime=Runtime(multi_strategy_schedulers={"core_multi_pipeline": SchedulerSettings(schedules=schedules)}),
        risk_profiles={
            "conservative": msgspec.structs.replace(profile, max_daily_loss_pct=1.0),
            "balanced": profile,
            "aggressive": msgspec.structs.replace(profile, max_daily_loss_pct=2.5),
        },
        mean_reversion_strategies={"core_mean_reversion": MeanReversion()},
        volatility_target_strategies={"core_volatility_target": VolatilityTarget()},
        cross_exchange_arbitrage_strategies={"core_cross_exchange": pair},
    )


def _evaluate(desk: Desk, sampler: Sampler, schedule: DeskSchedule, now: datetime) -> tuple[Evaluation, int]:
    """The evaluation of `schedule`, and how many of its signals were submitted."""
    snapshot = desk.snapshot(schedule, now)
    evaluation = sound(schedule.strategy.evaluate(snapshot), snapshot)
    sampler.answered(schedule.name, evaluation)
    return evaluation, desk.settle(schedule, evaluation, now)


def _judge(rules: Rules, book: _AlertBook, sample: Sample, now: datetime) -> None:
    for change in rules(sample):
        book.apply(change, now)


def _expected(desk: Desk, schedule: DeskSchedule, now: datetime) -> bool:
    return desk.warmed_up(schedule) and window_open(schedule.settings.trading_windows, now)


def _ns(instant: datetime) -> int:
    return round((instant - _EPOCH).total_seconds()) * NANOSECONDS
