"""`stage4 log show|verify`: the decision log for people."""

from __future__ import annotations

import os
from collections import deque
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stage4.cli import _run
from stage4.cli.root import Session
from stage4.clock import SystemClock

if TYPE_CHECKING:
    from stage4.decisionlog.entry import Entry


@click.group()
def log() -> None:
    """The decision log: read it, verify it."""


@log.command()
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.pass_obj
def verify(session: Session, path: Path | None) -> int:
    """Judge every line of the log (default: the configured one)."""
    from stage4.decisionlog import report
    from stage4.decisionlog.open import load_keyring
    from stage4.decisionlog.verifier import verify as judge

    installation = session.installation
    path = path or installation.decision_log_path
    verdict = judge(path, load_keyring(installation, os.environ), SystemClock())
    for sentence in report.sentences(verdict, path, session.language):
        if session.as_json:
            _run.say(sentence)
        else:
            click.echo(sentence)
    session.emit(report.document(verdict, path) | {"root": str(installation.root)})
    return verdict.exit_code


@log.command()
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
