"""`stage4 market quality`: whether the market data can be trusted, the worst feed first."""

from __future__ import annotations

import contextlib
import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stage4.cli.root import Session
from stage4.clock import format_instant

if TYPE_CHECKING:
    from stage4.market.quality import FeedQuality, Outlier, QualityLimits

_VERDICTS = {"good": "market.trust_good", "bad": "market.trust_bad", "unknown": "market.trust_unknown"}


@click.group()
def market() -> None:
    """Market data: what the strategies see, and whether it can be trusted."""


@market.command()
@click.argument("recordings", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--at", "at", metavar="INSTANT", help="Judge what was known at this instant; default: the newest bar of all."
)
@click.option("--live", is_flag=True, help="Judge the feeds of the running environment by its last 15 minutes.")
@click.pass_obj
def quality(session: Session, recordings: tuple[Path, ...], at: str | None, live: bool) -> int:
    """Gaps, staleness, outliers, repeated and disordered bars of each recording; by default those of operations.feed.

    The limits are the strictest of risk_profiles.*.data_quality. Exit 0 every feed can be trusted, 1 one cannot,
    3 cannot tell. Outliers and bars without volume are shown and refuse nothing.

    \b
    stage4 market quality --live
    stage4 market quality kraken_BTCUSDC_1m.csv.gz --at 2023-03-11T08:00:00Z
    """
    from stage4.clock import parse_instant
    from stage4.errors import Unavailable
    from stage4.market.quality import Trust, worst_first
    from stage4.market.recorded_quality import quality_of

    if live and (recordings or at is not None):
        raise click.UsageError("--live takes no recordings and no --at")
    limits = _limits(session, needed=not recordings)
    if live:
        return _live(session, limits)
    if not recordings:
        chosen = session.installation.settings.operations.feed
        recordings = tuple(session.installation.path(path) for path in chosen.paths) if chosen.kind == "csv" else ()
        if not recordings:
            raise Unavailable("market.nothing_recorded", kind=chosen.kind)
    feeds = worst_first(quality_of(recordings, None if at is None else parse_instant(at)), limits)
    for feed in feeds:
        _tell(session, feed, limits)
    verdicts = [feed.trust(limits) for feed in feeds]
    bad, unknown = verdicts.count(Trust.BAD), verdicts.count(Trust.UNKNOWN)
    session.say("market.sum", n=len(feeds), bad=bad, unknown=unknown, **_written(limits))
    session.emit(
        {
            "schema": "stage4.market_quality/1",
            "limits": {
                "max_staleness_seconds": limits.max_staleness.total_seconds(),
                "max_gap_seconds": limits.max_gap.total_seconds(),
            },
            "feeds": [_document(feed, limits) for feed in feeds],
        }
    )
    return 1 if bad else 3 if unknown else 0


def _limits(session: Session, *, needed: bool) -> QualityLimits:
    """The strictest limits of the installation; the defaults where recordings are judged without one."""
    from stage4.config.settings import DataQuality
    from stage4.errors import Stage4Error
    from stage4.market.quality import QualityLimits

    profiles: tuple[DataQuality, ...] = ()
    # Recordings can be judged anywhere; an installation that was named must be readable.
    with contextlib.nullcontext() if needed or session.root is not None else contextlib.suppress(Stage4Error, OSError):
        profiles = tuple(profile.data_quality for profile in session.installation.settings.risk_profiles.values())
    known = profiles or (DataQuality(),)
    return QualityLimits(
        max_staleness=timedelta(seconds=min(each.max_staleness_seconds for each in known)),
        max_gap=timedelta(seconds=min(each.max_gap_seconds for each in known)),
    )


def _live(session: Session, limits: QualityLimits) -> int:
    from stage4.clock import SystemClock
    from stage4.errors import Unavailable
    from stage4.monitoring.feed_quality import live_feeds
    from stage4.monitoring.sources import source_of

    source = source_of(session.installation, os.environ)
    feeds = live_feeds(source, SystemClock().now())
    if not feeds:
        raise Unavailable("market.no_live_feed", source=source.name)
    most = limits.max_staleness.total_seconds()
    verdicts = ["unknown" if f.staleness is None else "bad" if f.staleness > most else "good" for f in feeds]
    for feed, verdict in zip(feeds, verdicts, strict=True):
        session.say(
            "market.live",
            venue=feed.venue,
            scheduler=feed.scheduler,
            verdict=session.text("market.live_unknown" if verdict == "unknown" else _VERDICTS[verdict]),
            staleness=session.text("market.none") if feed.staleness is None else f"{feed.staleness:.0f}",
            worst=session.text("market.none") if feed.worst is None else f"{feed.worst:.0f}",
            missing=feed.missing,
            outliers=feed.outliers,
        )
    bad, unknown = verdicts.count("bad"), verdicts.count("unknown")
    session.say("market.sum", n=len(feeds), bad=bad, unknown=unknown, **_written(limits))
    session.emit(
        {
            "schema": "stage4.market_live/1",
            "source": source.name,
            "limits": {"max_staleness_seconds": most},
            "feeds": [
                {
                    "scheduler": feed.scheduler,
                    "venue": feed.venue,
                    "trust": verdict,
                    "told_at": None if feed.told_at is None else format_instant(feed.told_at),
                    "staleness_seconds": feed.staleness,
                    "worst_staleness_seconds": feed.worst,
                    "missing_bars": feed.missing,
                    "outliers": feed.outliers,
                }
                for feed, verdict in zip(feeds, verdicts, strict=True)
            ],
        }
    )
    return 1 if bad else 3 if unknown else 0


def _tell(session: Session, feed: FeedQuality, limits: QualityLimits) -> None:
    none = session.text("market.none")
    session.say(
        "market.feed",
        venue=feed.venue,
        symbol=feed.symbol,
        verdict=session.text(_VERDICTS[feed.trust(limits)]),
        bars=feed.bars,
        first=none if feed.first is None else format_instant(feed.first),
        last=none if feed.last is None else format_instant(feed.last),
    )
    values = {
        "staleness": none if feed.staleness is None else f"{feed.staleness.total_seconds():g}",
        "gap": f"{feed.longest_gap.total_seconds():g}",
        "unreadable": feed.unreadable,
        "backwards": feed.backwards,
        "twice": feed.twice,
    }
    for code in feed.faults(limits):
        session.say(code, **values, **_written(limits))
    if feed.longest is not None:
        session.say(
            "market.gaps",
            n=feed.gaps,
            missing=feed.missing,
            gap=values["gap"],
            after=format_instant(feed.longest.after),
            before=format_instant(feed.longest.before),
        )
    if feed.largest:
        largest = feed.largest[0]
        session.say(
            "market.outliers",
            n=feed.outliers,
            at=format_instant(largest.at),
            move=_number(session, f"{largest.move_bps:+.1f}"),
            ranges=_number(session, f"{largest.ranges:.1f}"),
        )
    if feed.without_volume:
        session.say("market.without_volume", n=feed.without_volume)


def _number(session: Session, written: str) -> str:
    return written.replace(".", ",") if session.language == "pl" else written


def _written(limits: QualityLimits) -> dict[str, str]:
    return {
        "max_staleness": f"{limits.max_staleness.total_seconds():g}",
        "max_gap": f"{limits.max_gap.total_seconds():g}",
    }


def _document(feed: FeedQuality, limits: QualityLimits) -> dict[str, object]:
    gap = feed.longest
    return {
        "venue": feed.venue,
        "symbol": feed.symbol,
        "trust": str(feed.trust(limits)),
        "faults": [code.removeprefix("market.fault_") for code in feed.faults(limits)],
        "interval_seconds": feed.interval.total_seconds(),
        "as_of": None if feed.as_of is None else format_instant(feed.as_of),
        "bars": feed.bars,
        "first": None if feed.first is None else format_instant(feed.first),
        "last": None if feed.last is None else format_instant(feed.last),
        "staleness_seconds": None if feed.staleness is None else feed.staleness.total_seconds(),
        "gaps": feed.gaps,
        "missing_bars": feed.missing,
        "longest_gap": None
        if gap is None
        else {
            "seconds": feed.longest_gap.total_seconds(),
            "after": format_instant(gap.after),
            "before": format_instant(gap.before),
        },
        "outliers": feed.outliers,
        "largest_outliers": [_outlier(outlier) for outlier in feed.largest],
        "duplicates": feed.twice,
        "out_of_order": feed.backwards,
        "unreadable_rows": feed.unreadable,
        "zero_volume_bars": feed.without_volume,
    }


def _outlier(outlier: Outlier) -> dict[str, object]:
    return {
        "at": format_instant(outlier.at),
        "move_bps": round(outlier.move_bps, 3),
        "interquartile_ranges": round(outlier.ranges, 3),
    }
