"""What the running environment says of each feed, and of losses against their limit."""

from __future__ import annotations

from datetime import timedelta

import pytest

from stage4.market import Bar
from stage4.runtime.desk import Desk
from stage4.runtime.sampling import Sampler
from stage4.runtime.signal import Evaluation, Signal, SignalKind
from stage4.telemetry import catalogue
from stage4.telemetry.exporter import Exporter
from stage4.telemetry.recorder import Recorder
from stage4.telemetry.sample import Sample
from support.desks import BEGINS, VENUES, desk

VOLATILITY = "volatility_target_daily"


def feeds(made: Desk, seconds: float) -> dict[str, dict[str, float]]:
    at = BEGINS + timedelta(seconds=seconds)
    return {sample.venue: dict(sample.values) for sample in Sampler("core", made, 0).of_feeds(at, at)}


def one(made: Desk, venue: str, seconds: int, factor: float = 1.0) -> Bar:
    price = made.market.marks[venue, "BTC/USD"] * factor
    return Bar(venue, "BTC/USD", BEGINS + timedelta(seconds=seconds), price, price, price, price, 1.0)


def test_each_feed_speaks_for_itself_and_a_silent_one_grows_stale() -> None:
    made = desk()
    made.take([one(made, "alpha", 10)], BEGINS + timedelta(seconds=10))
    said = feeds(made, 11)
    assert list(said) == list(VENUES)
    assert said["alpha"]["stage4_feed_staleness_seconds"] == 0
    assert said["alpha"]["stage4_feed_missing_bars_total"] == 9
    assert said["beta"]["stage4_feed_staleness_seconds"] == 10
    assert said["beta"]["stage4_feed_missing_bars_total"] == 0


def test_a_wild_price_is_counted_once_for_its_feed() -> None:
    made = desk()
    before = feeds(made, 0)
    made.take([one(made, "beta", 1, factor=1.5)], BEGINS + timedelta(seconds=1))
    after = feeds(made, 1)
    outliers = "stage4_feed_outliers_total"
    assert after["beta"][outliers] == before["beta"][outliers] + 1
    assert after["alpha"][outliers] == before["alpha"][outliers]


def test_feeds_are_kept_apart_on_the_way_to_those_who_look() -> None:
    made, recorder, exporter = desk(), Recorder(), Exporter()
    made.take([one(made, "alpha", 10)], BEGINS + timedelta(seconds=10))
    at = BEGINS + timedelta(seconds=11)
    for sample in Sampler("core", made, 0).of_feeds(at, at):
        recorder.apply(sample)
        exporter.apply(sample)
    series = {each.labels["venue"]: each for each in recorder.series("stage4_feed_staleness_seconds", BEGINS)}
    assert {venue: each.points[-1].value for venue, each in series.items()} == {"alpha": 0.0, "beta": 10.0}
    assert {sample.venue for sample in recorder.newest.values()} == set(VENUES)
    value = exporter.registry.get_sample_value
    assert value("stage4_feed_staleness_seconds", {"scheduler": "core", "venue": "beta"}) == 10.0
    assert value("stage4_feed_missing_bars_total", {"scheduler": "core", "venue": "alpha"}) == 9.0


def account(made: Desk, name: str) -> Sample:
    samples = Sampler("core", made, 0).of_accounts(BEGINS, BEGINS, gate_closed=False)
    return next(sample for sample in samples if sample.risk_profile == name)


def test_profit_and_loss_and_the_loss_against_its_limit_are_metrics() -> None:
    made = desk()
    wish = Signal(SignalKind.BUY, VOLATILITY, "core", "BTC/USD", "alpha", 1.0, 1.0, "test")
    made.settle(made.schedules[VOLATILITY], Evaluation((wish,), {}), BEGINS)
    made.take([one(made, venue, 1, factor=0.9) for venue in VENUES], BEGINS)
    price = made.market.marks["alpha", "BTC/USD"] / 0.9
    lost = 0.1 * price + price * 0.00002
    values = account(made, "conservative").values
    assert values["stage4_equity"] == pytest.approx(100_000 - lost)
    # The limit of the profile is one per cent a day, the desk's two per cent of three times the capital.
    assert values["stage4_daily_loss_ratio"] == pytest.approx(lost / 1_000)
    assert values["stage4_pnl_drawdown_pct"] == pytest.approx(lost / 1_000)
    assert account(made, catalogue.DESK).values["stage4_daily_loss_ratio"] == pytest.approx(lost / 6_000)
    assert account(made, "balanced").values["stage4_daily_loss_ratio"] == 0.0
