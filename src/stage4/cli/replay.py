"""`stage4 replay`: recorded bars through the three strategies, and the alerts they would have raised."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stage4.cli.root import Session
from stage4.clock import format_instant

if TYPE_CHECKING:
    from stage4.runtime.replay import RaisedAlert, ReplayReport


@click.command()
@click.argument("recordings", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--day", metavar="YYYY-MM-DD", help="Replay this UTC day only; default: all that is recorded.")
@click.option(
    "--name",
    "named",
    metavar="FIRST[..LAST]",
    help="Name the alerts of these UTC days one by one and count the others; default: the --day, else none.",
)
@click.pass_obj
def replay(session: Session, recordings: tuple[Path, ...], day: str | None, named: str | None) -> int:
    """Replay OHLCV bars (CSV, gzip too; one file a venue, the primary venue first), gaps and all.

    The digest in the report covers every decision: equal digests mean that two replays decided alike.

    \b
    stage4 replay binance_us_BTCUSDC_1m.csv.gz kraken_BTCUSDC_1m.csv.gz --day 2023-03-11
    stage4 replay binance_us_BTCUSDC_1m.csv.gz kraken_BTCUSDC_1m.csv.gz --name 2023-03-10..2023-03-13
    """
    from stage4.config import Installation
    from stage4.errors import UsageError
    from stage4.market.csv_replay import venue_and_symbol
    from stage4.monitoring.detector import Detector
    from stage4.monitoring.plan import plan_of
    from stage4.runtime.replay import default_settings, replay_all, replay_day

    chosen = None if day is None else _day(day)
    first, last = _days(named) if named is not None else (chosen or date.max, chosen or date.min)
    if len(recordings) < 2:
        raise UsageError("runtime.two_venues")
    settings = default_settings([venue_and_symbol(path)[0] for path in recordings])
    observe = Detector(plan_of(Installation(Path(), settings))).observe
    if chosen is None:
        report = replay_all(recordings, observe, settings)
    else:
        report = replay_day(recordings, chosen, observe, settings)
    for each, alerts in report.alerts_by_day().items():
        session.say("replay.day", day=each, n=len(alerts), critical=_critical(alerts))
        if first <= each <= last:
            for alert in alerts:
                _name(session, alert)
        _count(session, alerts, "replay.count")
    if chosen is None:
        session.say("replay.all_days")
        _count(session, report.alerts, "replay.count")
    _sum(session, report)
    return 0


def _sum(session: Session, report: ReplayReport) -> None:
    session.say(
        "replay.done",
        since=format_instant(report.since),
        until=format_instant(report.until),
        bars=report.bars,
        gaps=len(report.gaps),
        evaluations=report.evaluations,
        submissions=report.submissions,
        alerts=len(report.alerts),
    )
    session.say("replay.digest", digest=report.decisions)
    session.emit(
        {
            "schema": "stage4.replay/2",
            "since": format_instant(report.since),
            "until": format_instant(report.until),
            "bars": report.bars,
            "gaps": len(report.gaps),
            "evaluations": report.evaluations,
            "signals": report.signals,
            "submissions": report.submissions,
            "start_equity": round(report.start_equity, 2),
            "end_equity": round(report.end_equity, 2),
            "decisions_sha256": report.decisions,
            "days": [
                {"day": day.isoformat(), "alerts": len(alerts), "critical": _critical(alerts)}
                for day, alerts in report.alerts_by_day().items()
            ],
            "alerts": [
                {
                    "name": alert.name,
                    "severity": alert.severity,
                    "since": format_instant(alert.since),
                    "until": format_instant(alert.until) if alert.until else None,
                    "value": round(alert.value, 6),
                    "labels": dict(alert.labels),
                }
                for alert in report.alerts
            ],
        }
    )


def _name(session: Session, alert: RaisedAlert) -> None:
    session.say(
        "replay.alert",
        since=format_instant(alert.since),
        until=format_instant(alert.until) if alert.until else session.text("replay.still_firing"),
        severity=alert.severity,
        name=alert.name,
        of=alert.labels.get("schedule") or alert.labels.get("risk_profile") or alert.labels.get("scheduler", "–"),
        value=f"{alert.value:.2f}",
    )


def _count(session: Session, alerts: Iterable[RaisedAlert], code: str) -> None:
    for (name, severity), count in sorted(Counter((a.name, a.severity) for a in alerts).items()):
        session.say(code, name=name, severity=severity, n=count)


def _critical(alerts: Iterable[RaisedAlert]) -> int:
    return sum(alert.severity == "critical" for alert in alerts)


def _day(text: str) -> date:
    from stage4.errors import UsageError

    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UsageError("replay.bad_day", text=text) from None


def _days(text: str) -> tuple[date, date]:
    """The first and the last day of `FIRST..LAST`, or one day."""
    from stage4.errors import UsageError

    first, _, last = text.partition("..")
    days = _day(first), _day(last or first)
    if days[0] > days[1]:
        raise UsageError("replay.days_backwards", first=days[0], last=days[1])
    return days
