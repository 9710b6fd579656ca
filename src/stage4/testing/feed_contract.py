"""The promises of `market.Feed` as checks; call them with a fresh feed of your own whose source has bars."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from stage4.market.bar import Bar, Feed, prices_agree


def bars_come_once_in_order_and_complete(feed: Feed, instants: Iterable[datetime]) -> list[Bar]:
    """Ask `feed` at each of `instants`, which rise; its bars. At least one must come."""
    came: list[Bar] = []
    for now in instants:
        market_now = feed.market_time(now)
        bars = list(feed.advance(now))
        assert all(bar.at <= market_now for bar in bars), "a bar was known before it was complete"
        assert not feed.advance(now), "a bar came twice"
        came += bars
    assert came, "the source had no bars"
    assert [bar.at for bar in came] == sorted(bar.at for bar in came), "bars came out of order"
    assert len({(bar.venue, bar.at) for bar in came}) == len(came), "a bar came twice"
    return came


def bars_are_of_the_feed_and_their_prices_agree(feed: Feed, bars: Iterable[Bar]) -> None:
    """`bars` came from `feed`."""
    assert feed.venues, "a feed has at least one venue"
    for bar in bars:
        assert bar.venue in feed.venues
        assert bar.symbol == feed.symbol
        assert bar.at.utcoffset() is not None, "an instant needs a time zone"
        assert bar.delay_ms >= 0
        assert prices_agree(bar.open, bar.high, bar.low, bar.close, bar.volume)


def silence_invents_nothing(feed: Feed, instants: Iterable[datetime]) -> None:
    """The source of `feed` has no bars left: no call raises, and no price is made up."""
    for now in instants:
        assert not feed.advance(now)
