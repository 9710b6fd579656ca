"""
One scheduler's desk: schedules, market view, books, accounts, and the way of a signal to the broker.

The live environment and the replay drive the same desk; it waits for nothing and reads no clock.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Protocol

from stage4.config.settings import RiskProfile, ScheduleSettings, Settings
from stage4.errors import UsageError
from stage4.market.bar import Bar, Feed
from stage4.runtime.broker import PaperBroker
from stage4.runtime.faults import NONE, Faults
from stage4.runtime.gate import GateVerdict
from stage4.runtime.market_view import MarketView
from stage4.runtime.risk import Account, Book, EquityTrack, limit
from stage4.runtime.signal import Evaluation, Signal, Snapshot
from stage4.runtime.strategies import Strategy, StrategySpec, configured
from stage4.runtime.strategies.cross_exchange import LEGS
from stage4.telemetry.catalogue import DESK

LARGEST_GAP = 0.9
"""A staged loss takes at most this part of a price away, and at most adds three times as much to it."""


class GatePort(Protocol):
    """The question before every submission; it fails closed."""

    def permits(self, *, schedule: str, strategy: str, tags: Sequence[str] = ()) -> GateVerdict:
        """Whether a signal of this schedule may leave now."""


class Shut:
    """The gate of a desk that does not run yet."""

    def permits(self, *, schedule: str, strategy: str, tags: Sequence[str] = ()) -> GateVerdict:
        return GateVerdict(False, "runtime.not_running")


@dataclass(frozen=True, slots=True)
class DeskSchedule:
    """One schedule with everything its settings refer to."""

    name: str
    settings: ScheduleSettings
    spec: StrategySpec
    strategy: Strategy
    profile: RiskProfile

    @property
    def warmup_bars(self) -> int:
        """Bars of the primary venue before its first evaluation."""
        return max(self.settings.warmup_bars, self.strategy.required_bars)

    @property
    def max_position_pct(self) -> float:
        """The largest position of the profile times the share that it allots to this strategy, in per cent."""
        return self.profile.max_position_pct * (allotted(self.profile, self.settings.strategy, self.spec.kind) or 0.0)


def allotted(profile: RiskProfile, strategy: str, kind: str) -> float | None:
    """The share of its limits that `profile` allots to a strategy, by the name of its parameters or by its kind.

    A profile that names nobody allots all of it to each; one that names others only gives None. A share above 1 counts
    as 1, because a limit can only be cut.
    """
    if not profile.strategy_allocations:
        return 1.0
    share = profile.strategy_allocations.get(strategy, profile.strategy_allocations.get(kind))
    return None if share is None else min(1.0, share)


def desk_schedules(settings: Settings) -> tuple[str, tuple[DeskSchedule, ...]]:
    """The name of the scheduler and its schedules.

    Raises UsageError: `runtime.one_scheduler`, `no_schedules`, `unknown_strategy`, `unknown_profile`, `no_allocation`,
    `one_leg_only`.
    """
    schedulers = settings.runtime.multi_strategy_schedulers
    if len(schedulers) != 1:
        raise UsageError("runtime.one_scheduler", count=len(schedulers))
    ((scheduler, of_scheduler),) = schedulers.items()
    if not of_scheduler.schedules:
        raise UsageError("runtime.no_schedules", scheduler=scheduler)
    specs = configured(settings)
    schedules = []
    for name, chosen in of_scheduler.schedules.items():
        if chosen.strategy not in specs:
            raise UsageError("runtime.unknown_strategy", schedule=name, strategy=chosen.strategy)
        if chosen.risk_profile not in settings.risk_profiles:
            raise UsageError("runtime.unknown_profile", schedule=name, profile=chosen.risk_profile)
        spec, profile = specs[chosen.strategy], settings.risk_profiles[chosen.risk_profile]
        if allotted(profile, chosen.strategy, spec.kind) is None:
            # It could never trade, and would look like a strategy that sees no chance.
            raise UsageError(
                "runtime.no_allocation", schedule=name, strategy=chosen.strategy, profile=chosen.risk_profile
            )
        if spec.kind == "cross_exchange" and chosen.max_signals < LEGS:
            # It would open the first leg of every pair and never the second.
            raise UsageError(
                "runtime.one_leg_only", schedule=name, strategy=chosen.strategy, count=chosen.max_signals, legs=LEGS
            )
        schedules.append(DeskSchedule(name, chosen, spec, spec.build(), profile))
    return scheduler, tuple(schedules)


class Desk:
    """Books and accounts of the schedules; capital is shared out equally among them."""

    def __init__(
        self,
        schedules: Sequence[DeskSchedule],
        feed: Feed,
        gate: GatePort | None = None,
        *,
        start_equity: float,
        daily_loss_limit_pct: float,
        day_starts: time = time(),
        begins: datetime,
    ) -> None:
        self.schedules: Mapping[str, DeskSchedule] = {schedule.name: schedule for schedule in schedules}
        self.gate: GatePort = gate or Shut()
        self.broker = PaperBroker(refuses=lambda: self._faults.orders_refused)
        self._faults: Faults = NONE
        self._gapped = False
        self._day_starts = day_starts
        longest = max(schedule.strategy.window_bars for schedule in schedules)
        self.market = MarketView(feed.venues, feed.symbol, feed.interval, longest)
        capital = start_equity / len(schedules)
        self.books: dict[str, Book] = {name: Book(capital) for name in self.schedules}
        members: dict[str, list[str]] = {}
        for schedule in schedules:
            members.setdefault(schedule.settings.risk_profile, []).append(schedule.name)
        limits = {schedule.settings.risk_profile: schedule.profile.max_daily_loss_pct for schedule in schedules}
        members[DESK], limits[DESK] = list(self.schedules), daily_loss_limit_pct
        self._members = members
        self.accounts: dict[str, Account] = {
            name: Account(name, limits[name], EquityTrack.begin(capital * len(names), begins, day_starts))
            for name, names in members.items()
        }
        """By risk profile, and one for the whole desk."""

    def take(self, bars: Iterable[Bar], now: datetime, faults: Faults = NONE) -> None:
        """New bars and the faults in force; then every account is valued anew."""
        self._faults = faults
        if not faults.loss_multiple:
            self._gapped = False
        elif not self._gapped:
            factor = self._gap_factor(faults.loss_multiple)
            if factor is not None:
                self.market.gap(factor)
                self._gapped = True
        self.market.take(bars, faults.volatility_factor)
        self._value(now)

    def warmed_up(self, schedule: DeskSchedule) -> bool:
        """Whether there are enough bars to evaluate it."""
        return self.market.primary_bars() >= schedule.warmup_bars

    def snapshot(self, schedule: DeskSchedule, now: datetime) -> Snapshot:
        """What the strategy may know now."""
        book = self.books[schedule.name]
        return Snapshot(
            schedule=schedule.name,
            strategy=schedule.settings.strategy,
            symbol=self.market.symbol,
            at=now.timestamp(),
            interval_seconds=self.market.interval.total_seconds(),
            equity=book.equity(self.market.marks),
            max_position=schedule.max_position_pct / 100.0,
            target_volatility=schedule.profile.target_volatility,
            windows=self.market.windows(schedule.strategy.window_bars),
            held=book.held(self.market.symbol),
        )

    def permitted(self, schedule: DeskSchedule) -> bool:
        """Whether the gate would let a signal of `schedule` through at this moment."""
        settings = schedule.settings
        return self.gate.permits(schedule=schedule.name, strategy=settings.strategy, tags=settings.tags).open

    def settle(self, schedule: DeskSchedule, evaluation: Evaluation, now: datetime) -> int:
        """Submit what may be submitted, at most `max_signals` signals; how many were.

        The gate is asked before each of them, with nothing between its answer and the broker.
        """
        submitted = 0
        wanted = [signal for signal in evaluation.signals if signal.actionable]
        for signal in wanted[: schedule.settings.max_signals]:
            price = self.market.marks.get((signal.venue, signal.symbol))
            if price is None:
                continue
            quantity = self._allowed(schedule, signal, price)
            if quantity == 0.0:
                continue
            if not self.permitted(schedule):
                continue
            fill = self.broker.submit(signal, quantity, price, now)
            submitted += 1
            if fill is not None:
                self.books[schedule.name] = self.books[schedule.name].filled(fill)
        if submitted:
            self._value(now)
        return submitted

    def prices_stale(self, market_now: datetime) -> bool:
        """Whether a position cannot be valued: a venue that holds one is stale, all are, or its value is no number."""
        if not all(math.isfinite(account.track.equity) for account in self.accounts.values()):
            return True
        allowed = min(schedule.profile.data_quality.max_staleness_seconds for schedule in self.schedules.values())
        stale = self.market.stale_venues(market_now, timedelta(seconds=allowed))
        holding = {venue for book in self.books.values() for venue, _ in book.positions}
        return bool(stale & holding) or len(stale) == len(self.market.venues)

    def _allowed(self, schedule: DeskSchedule, signal: Signal, price: float) -> float:
        book, profile = self.books[schedule.name], schedule.profile
        account = self.accounts[schedule.settings.risk_profile]
        position = book.positions.get((signal.venue, signal.symbol))
        verdict = limit(
            signal.signed_quantity,
            position.quantity if position else 0.0,
            price=price,
            equity=book.equity(self.market.marks),
            max_position_pct=schedule.max_position_pct,
            drawdown_pct=account.track.drawdown_pct,
            hard_drawdown_pct=profile.hard_drawdown_pct,
            loss_ratio=account.loss_ratio,
        )
        return verdict.quantity

    def _value(self, now: datetime) -> None:
        for name, members in self._members.items():
            books = [self.books[member] for member in members]
            self.accounts[name] = self.accounts[name].observed(books, self.market.marks, now, self._day_starts)

    def _gap_factor(self, multiple: float) -> float | None:
        """The price factor that takes one account to `multiple` times its daily limit; None when all are flat."""
        nearest, against = math.inf, 0.0
        for account in self.accounts.values():
            track = account.track
            to_lose = track.equity - track.day_start * (1 - multiple * account.daily_loss_limit_pct / 100.0)
            if account.net_exposure and to_lose / abs(account.net_exposure) < nearest:
                nearest, against = to_lose / abs(account.net_exposure), account.net_exposure
        if not against or nearest <= 0:
            return None
        return 1.0 - min(nearest, LARGEST_GAP) if against > 0 else 1.0 + min(nearest, 3 * LARGEST_GAP)
