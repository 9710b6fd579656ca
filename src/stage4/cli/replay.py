"""`stage4 replay`: a recorded day through the three strategies, and the alerts it would have raised."""

from __future__ import annotations

from collections import Counter
from datetime import date
from pathlib import Path

import click

from stage4.cli.root import Session
from stage4.clock import format_instant


@click.command()
@click.argument("recordings", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--day", required=True, metavar="YYYY-MM-DD", help="The UTC day to replay.")
@click.pass_obj
def replay(session: Session, recordings: tuple[Path, ...], day: str) -> int:
    """Replay one day of OHLCV bars (CSV, gzip too; one file a venue, the primary venue first), gaps and all.

    \b
    stage4 replay binance_us_BTCUSDC_1m.csv.gz kraken_BTCUSDC_1m.csv.gz --day 2023-03-11
    """
    from stage4.config import Installation
    from stage4.errors import UsageError
    from stage4.market.csv_replay import venue_and_symbol
    from stage4.monitoring.detector import Detector
    from stage4.monitoring.plan import plan_of
    from stage4.runtime.replay import default_settings, replay_day

    try:
        chosen = date.fromisoformat(day)
    except ValueError:
        raise UsageError("replay.bad_day", text=day) from None
    if len(recordings) < 2:
        raise UsageError("runtime.two_venues")
    settings = default_settings([venue_and_symbol(path)[0] for path in recordings])
    detector = Detector(plan_of(Installation(Path(), settings)))
    report = replay_day(recordings, chosen, detector.observe, settings)
    for alert in report.alerts:
        session.say(
            "replay.alert",
            since=format_instant(alert.since),
            until=format_instant(alert.until) if alert.until else session.text("replay.still_firing"),
            severity=alert.severity,
            name=alert.name,
            of=alert.labels.get("schedule") or alert.labels.get("risk_profile") or alert.labels.get("scheduler", "–"),
            value=f"{alert.value:.2f}",
        )
    for (name, severity), count in sorted(Counter((a.name, a.severity) for a in report.alerts).items()):
        session.say("replay.count", name=name, severity=severity, n=count)
    session.say(
        "replay.done",
        day=chosen,
        bars=report.bars,
        gaps=len(report.gaps),
        evaluations=report.evaluations,
        submissions=report.submissions,
        alerts=len(report.alerts),
    )
    session.emit(
        {
            "schema": "stage4.replay/1",
            "day": chosen.isoformat(),
            "bars": report.bars,
            "gaps": len(report.gaps),
            "evaluations": report.evaluations,
            "signals": report.signals,
            "submissions": report.submissions,
            "start_equity": round(report.start_equity, 2),
            "end_equity": round(report.end_equity, 2),
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
    return 0
