"""`stage4 oncall who|gaps`: who is on duty, and when nobody is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from stage4 import words
from stage4.cli.root import Session
from stage4.clock import SystemClock, format_instant, parse_duration, parse_instant

if TYPE_CHECKING:
    from stage4.oncall import Roster


@click.group()
def oncall() -> None:
    """The on-call rotation (ops/oncall_rotation.yaml)."""


@oncall.command()
@click.option("--at", help="The instant to judge for; default: now. Example: 2026-11-23T03:00:00Z")
@click.pass_obj
def who(session: Session, at: str | None) -> int:
    """Who is on duty on each rung, and until when; exit 1 when a rung has nobody."""
    from stage4.oncall import TIERS

    roster, zone = _roster(session)
    instant = parse_instant(at) if at else SystemClock().now()
    rows: list[dict[str, object]] = []
    for rung in TIERS:
        duty = roster.on_duty(rung, instant)
        rows.append(
            {
                "rung": rung,
                "person": duty.person_id if duty else None,
                "until": format_instant(duty.until) if duty else None,
            }
        )
        if duty is None:
            session.say("oncall.who_nobody", rung=session.text(f"oncall.rung_{rung}"))
        else:
            until = words.instant(duty.until, zone)
            session.say("oncall.who_line", rung=session.text(f"oncall.rung_{rung}"), person=duty.person_id, until=until)
    session.emit({"schema": "stage4.oncall/1", "at": format_instant(instant), "on_duty": rows})
    return 0 if all(row["person"] for row in rows) else 1


@oncall.command()
@click.option("--within", default="7d", show_default=True, help="How far ahead to look.")
@click.pass_obj
def gaps(session: Session, within: str) -> int:
    """Spans with nobody on duty; exit 1 when there are any."""
    roster, zone = _roster(session)
    now = SystemClock().now()
    found = list(roster.gaps(now, now + parse_duration(within)))
    for gap in found:
        session.say(
            "oncall.gap_line",
            rung=session.text(f"oncall.rung_{gap.tier}"),
            since=words.instant(gap.since, zone),
            until=words.instant(gap.until, zone),
        )
    if not found:
        session.say("oncall.no_gaps", within=within)
    session.emit(
        {
            "schema": "stage4.oncall_gaps/1",
            "gaps": [
                {"rung": gap.tier, "since": format_instant(gap.since), "until": format_instant(gap.until)}
                for gap in found
            ],
        }
    )
    return 1 if found else 0


def _roster(session: Session) -> tuple[Roster, str]:
    """The rotation of the installation, and the time zone its people read."""
    from stage4.oncall import Roster

    installation = session.installation
    operations = installation.settings.operations
    return Roster.load(installation.path(operations.oncall_file)), operations.time_zone
