"""`stage4 log show`: the newest entries for people."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from stage4.cli.root import Session

if TYPE_CHECKING:
    from stage4.decisionlog.entry import Entry


@click.command()
@click.option("--category", help="Only entries of this category, such as stage4_incident.")
@click.option("--incident", help="Only entries of this incident.")
@click.option("--last", type=click.IntRange(1, 100_000), default=50, show_default=True, help="How many at most.")
@click.pass_obj
def show(session: Session, category: str | None, incident: str | None, last: int) -> int:
    """Print the newest entries, the oldest of them first. Showing is not verifying."""
    from stage4.decisionlog.reading import entries

    installation = session.installation
    found = deque(entries(installation.decision_log_path, category=category, incident=incident), maxlen=last)
    if not session.as_json:
        for entry in found:
            click.echo(_line(entry))
    session.emit(
        {"schema": "stage4.log/1", "root": str(installation.root), "entries": [asdict(entry) for entry in found]}
    )
    return 0


def _line(entry: Entry) -> str:
    incident = entry.metadata.get("incident_id", "")
    place = f"{entry.seq:>7}  {entry.timestamp:<27}  {entry.category:<16}"
    return f"{place}  {entry.kind:<24}  {entry.stage:<6}  {entry.status:<14}  {incident}".rstrip()
