"""
A seeded market of two venues, for demonstrations and tests.

The common log price x reverts slowly to its level (Ornstein-Uhlenbeck, exact discretisation; Uhlenbeck and
Ornstein, Phys. Rev. 36, 1930), and each bar adds fast noise that the next one takes back, as bid-ask bounce does
(Roll, J. Finance 39, 1984). The second venue trades at a basis to the first, a faster Ornstein-Uhlenbeck process. The
same seed gives the same bars.

A stormy market has regimes, jumps and outages besides: volatility changes between calm and storm as a Markov chain of
two states (Hamilton, Econometrica 57, 1989), the price jumps by a normal step at a fixed chance a bar (Merton, Journal
of Financial Economics 3, 1976), and the second venue falls silent for a geometric number of bars. They draw from a
chance of their own, so that a calm market of the same seed stays what it was.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from stage4.market.bar import Bar, MarketClock

_YEAR_SECONDS = 365.0 * 86400.0


@dataclass(frozen=True, slots=True)
class MarketModel:
    """Parameters of the market.

    Half-lives in bars, bounce as a ratio of one bar's volatility, basis as a ratio of the price, delays in
    milliseconds. Storms multiply volatility by `storm_factor`; what begins, ends or jumps is a chance for each bar; the
    jump is a deviation of the log price.
    """

    price: float = 24_000.0
    annual_volatility: float = 0.40
    reversion_half_life: float = 240.0
    bounce: float = 0.5
    basis_deviation: float = 0.0007
    basis_half_life: float = 4.0
    secondary_delay_ms: float = 60.0
    secondary_delay_spread: float = 0.35
    storm_begins: float = 0.0
    storm_ends: float = 0.0
    storm_factor: float = 1.0
    jump_chance: float = 0.0
    jump_deviation: float = 0.0
    outage_begins: float = 0.0
    outage_ends: float = 1.0


CALM = MarketModel()
STORMY = MarketModel(
    storm_begins=1 / 180,
    storm_ends=1 / 30,
    storm_factor=4.0,
    jump_chance=1 / 240,
    jump_deviation=0.01,
    outage_begins=1 / 240,
    outage_ends=1 / 6,
)
"""A storm of half an hour in every three and a half, a jump of a per cent and an outage of six bars in every four."""


class SyntheticFeed:
    """Bars of `venues`, one for each interval of market time, with `history` bars before the beginning."""

    def __init__(
        self,
        seed: int,
        *,
        begins: datetime,
        venues: tuple[str, str] = ("alpha", "beta"),
        symbol: str = "BTC/USD",
        interval: timedelta = timedelta(minutes=1),
        speed: float = 1.0,
        history: int = 300,
        model: MarketModel | None = None,
    ) -> None:
        self.venues = venues
        self.symbol = symbol
        self.interval = interval
        self._clock = MarketClock(begins, begins, speed)
        self._model = model or CALM
        self._random = random.Random(seed)
        self._events = random.Random(f"{seed} events")
        self._storm = self._outage = False
        self._begins = begins
        self._next = -history
        self._volatility = self._model.annual_volatility * math.sqrt(interval.total_seconds() / _YEAR_SECONDS)
        self._deviation = 0.0
        self._basis = 0.0
        self._closes = dict.fromkeys(venues, self._model.price)

    def market_time(self, now: datetime) -> datetime:
        return self._clock.at(now)

    def advance(self, now: datetime) -> Sequence[Bar]:
        newest = (self.market_time(now) - self._begins) // self.interval
        bars: list[Bar] = []
        while self._next <= newest:
            bars.extend(self._bars(self._begins + self._next * self.interval))
            self._next += 1
        return bars

    def _bars(self, at: datetime) -> tuple[Bar, ...]:
        model, chance = self._model, self._random
        jump = self._happen()
        volatility = self._volatility * (model.storm_factor if self._storm else 1.0)
        self._deviation = _reverted(self._deviation, model.reversion_half_life, volatility, chance.gauss(0, 1)) + jump
        basis_keep = 0.5 ** (1 / model.basis_half_life)
        basis_step = model.basis_deviation * math.sqrt(1 - basis_keep**2)
        self._basis = self._basis * basis_keep + basis_step * chance.gauss(0, 1)
        middle = math.log(model.price) + self._deviation
        primary = math.exp(middle + model.bounce * volatility * chance.gauss(0, 1))
        secondary = math.exp(middle - self._basis)
        delay = model.secondary_delay_ms * math.exp(model.secondary_delay_spread * chance.gauss(0, 1))
        bars = self._bar(self.venues[0], at, primary, 0.0), self._bar(self.venues[1], at, secondary, delay)
        # The market goes on behind an outage; only nobody hears of it.
        return bars[:1] if self._outage else bars

    def _happen(self) -> float:
        """Let storms and outages begin and end; the jump of this bar, mostly none."""
        model, events = self._model, self._events
        self._storm = events.random() < (1 - model.storm_ends if self._storm else model.storm_begins)
        self._outage = events.random() < (1 - model.outage_ends if self._outage else model.outage_begins)
        jumps, size = events.random() < model.jump_chance, events.gauss(0, 1)
        return model.jump_deviation * size if jumps else 0.0

    def _bar(self, venue: str, at: datetime, close: float, delay_ms: float) -> Bar:
        opened, self._closes[venue] = self._closes[venue], close
        reach = close * self._volatility * self._random.random()
        high, low = max(opened, close) + reach, min(opened, close) - reach
        volume = self._random.lognormvariate(0.0, 0.8)
        return Bar(venue, self.symbol, at, opened, high, low, close, volume, delay_ms)


def _reverted(value: float, half_life: float, volatility: float, shock: float) -> float:
    """One step of an Ornstein-Uhlenbeck process around zero with `volatility` for each step."""
    return value * math.exp(-math.log(2) / half_life) + volatility * shock
