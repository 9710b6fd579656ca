"""`stage4 override show`: what is stopped, by whom and why, and the scheduler's own word on it."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stage4 import words
from stage4.cli.root import Session
from stage4.clock import Clock, SystemClock, format_instant
from stage4.errors import Stage4Error

if TYPE_CHECKING:
    from stage4.app.watchdog import WatchdogWord


@click.group()
def override() -> None:
    """The stops in force (var/runtime/overrides)."""


@override.command()
@click.pass_obj
def show(session: Session) -> int:
    """What is stopped, who asked and why, since when, until when they thought, and the scheduler's own word.

    Exit 0 when it could be told, 3 when the gate's memory or the override directory cannot be read (everything counts
    as stopped then).
    """
    from stage4.runtime import override_report
    from stage4.runtime.stop_request import stoppable_root

    root, clock = stoppable_root(session.root, os.environ, Path.cwd()), SystemClock()
    zone = "Europe/Warsaw"
    try:
        zone = session.installation.settings.operations.time_zone
    except Stage4Error:
        session.say("override.no_settings")
    shown = override_report.gather(root, clock)
    for code, params in override_report.lines(shown, clock.now()):
        told = {name: _told(session, name, value, zone) for name, value in params.items()}
        session.say(code, **told)
    watchdog = _watchdog(root, clock)
    if watchdog is None:
        session.say("override.no_watchdog")
    else:
        session.say("override.watchdog", pid=watchdog.pid, n=len(watchdog.unlogged))
    session.emit(
        {
            **override_report.document(root, shown),
            "watchdog": None
            if watchdog is None
            else {"pid": watchdog.pid, "at": format_instant(watchdog.at), "unlogged": len(watchdog.unlogged)},
        }
    )
    return 3 if shown.faults else 0


def _told(session: Session, name: str, value: object, zone: str) -> object:
    """A parameter in people's words: an instant in their time, a fault by its text."""
    if isinstance(value, datetime):
        return words.instant(value, zone)
    return session.text(str(value)) if name == "fault" else value


def _watchdog(root: Path, clock: Clock) -> WatchdogWord | None:
    """The word of a watchdog that runs."""
    from stage4.app.watchdog import WORD_FILE, read_word
    from stage4.runtime.state import process_started

    try:
        word = read_word(root / WORD_FILE)
    except Stage4Error:
        return None
    lives = word.boot_id == clock.boot_id() and 0 < word.process_started == process_started(word.pid)
    return word if lives else None
