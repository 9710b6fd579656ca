"""Turns what happened on the desk into samples of the metric catalogue."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from stage4.runtime.ages import SilenceClock
from stage4.runtime.desk import Desk, DeskSchedule
from stage4.runtime.lateness import LatenessHistogram, LatenessWindow
from stage4.runtime.signal import Evaluation
from stage4.telemetry.catalogue import DESK
from stage4.telemetry.sample import Sample


@dataclass(slots=True)
class ScheduleRecord:
    """What is counted about one schedule while it runs."""

    actionable: SilenceClock
    signals: int = 0
    missed: int = 0
    suspended: bool = False
    lateness: LatenessWindow = field(default_factory=LatenessWindow)
    histogram: LatenessHistogram = field(default_factory=LatenessHistogram)

    def dispatched(self, at_ns: int, lateness_ns: int) -> None:
        """A slot was dispatched at `at_ns`, `lateness_ns` after its instant."""
        self.lateness.add(at_ns, lateness_ns)
        self.histogram.add(lateness_ns)


class Sampler:
    """Makes samples, numbered in one order over all schedules."""

    def __init__(self, scheduler: str, desk: Desk, now_ns: int) -> None:
        self._scheduler = scheduler
        self._desk = desk
        self._seq = 0
        self.records = {name: ScheduleRecord(SilenceClock(now_ns)) for name in desk.schedules}
        self.signals = SilenceClock(now_ns)
        self.resources_share: float | None = None
        """The largest part of a resource limit that is used; None while it is not measured."""

    def advance(self, now_ns: int, counting: Mapping[str, bool]) -> None:
        """Let the silence clocks run; `counting` says of each schedule whether a signal may be expected of it."""
        self.signals = self.signals.advanced(now_ns, counting=any(counting.values()))
        for name, record in self.records.items():
            record.actionable = record.actionable.advanced(now_ns, counting=counting[name])

    def answered(self, schedule: str, evaluation: Evaluation) -> None:
        """An evaluation ended; without any signal in it, not even a hold, it breaks no silence."""
        record = self.records[schedule]
        record.signals += len(evaluation.signals)
        if evaluation.signals:
            self.signals = self.signals.broken()
        if any(signal.actionable for signal in evaluation.signals):
            record.actionable = record.actionable.broken()

    def of_schedule(self, schedule: DeskSchedule, at: datetime, values: Mapping[str, float], **flags: bool) -> Sample:
        """A sample of `schedule`: `values` and its running counts."""
        record = self.records[schedule.name]
        counts = {
            "stage4_jitter_seconds": record.lateness.jitter_seconds(),
            "stage4_actionable_signal_age_seconds": record.actionable.seconds,
            "stage4_signals_total": float(record.signals),
            "stage4_missed_slots_total": float(record.missed),
            "stage4_schedule_suspended": float(record.suspended),
        }
        return Sample(
            seq=self._number(),
            at=at,
            scheduler=self._scheduler,
            schedule=schedule.name,
            strategy=schedule.settings.strategy,
            risk_profile=schedule.settings.risk_profile,
            values={**counts, **values},
            flags=flags,
        )

    def of_accounts(self, at: datetime, market_now: datetime, *, gate_closed: bool) -> Iterator[Sample]:
        """One sample of each risk profile and one of the desk.

        With stale prices equity, loss and drawdown are left out: they cannot be told.
        """
        stale = self._desk.prices_stale(market_now)
        for name, account in self._desk.accounts.items():
            values = {} if stale else {
                "stage4_pnl_drawdown_pct": account.track.drawdown_pct,
                "stage4_daily_loss_ratio": account.loss_ratio,
                "stage4_equity": account.track.equity,
                "stage4_exposure_ratio": account.exposure_ratio,
            }  # fmt: skip
            if name == DESK:
                values |= {
                    "stage4_signal_age_seconds": self.signals.seconds,
                    "stage4_prices_stale": float(stale),
                    "stage4_gate_closed": float(gate_closed),
                }
                if self.resources_share is not None:
                    values |= {"stage4_resource_use_ratio": self.resources_share}
            yield Sample(seq=self._number(), at=at, scheduler=self._scheduler, risk_profile=name, values=values)

    def of_feeds(self, at: datetime, market_now: datetime) -> Iterator[Sample]:
        """One sample of each feed; before its first bar its staleness cannot be told and is left out."""
        for venue, meter in self._desk.market.quality.items():
            overdue = meter.staleness(market_now)
            values = {
                "stage4_feed_missing_bars_total": float(meter.missing),
                "stage4_feed_outliers_total": float(meter.outliers),
            }
            if overdue is not None:
                values["stage4_feed_staleness_seconds"] = overdue.total_seconds()
            yield Sample(seq=self._number(), at=at, scheduler=self._scheduler, venue=venue, values=values)

    def _number(self) -> int:
        self._seq += 1
        return self._seq
