"""`stage4 watchdog`: a process of its own that stops a scheduler which no longer beats."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import nullcontext

import click

from stage4.cli.root import Session
from stage4.clock import SystemClock


@click.command()
@click.option("--dry-run", is_flag=True, help="Say what would be done; stop nothing, end nothing, record nothing.")
@click.pass_obj
def watchdog(session: Session, dry_run: bool) -> int:
    """Watch the scheduler's heartbeat until Ctrl-C; stop a scheduler that hangs, then end it by SIGKILL.

    The times stand in the settings (operations.watchdog). Run it beside `stage4 run`, from the same account.
    """
    from stage4.app.service_log import configure, tell
    from stage4.app.watchdog import LOCK_FILE, Watchdog
    from stage4.decisionlog.open import open_log
    from stage4.runtime.heartbeat import WatchdogLimits
    from stage4.runtime.run_lock import sole_holder

    installation, clock = session.installation, SystemClock()
    configure("watchdog", clock)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    watching = Watchdog(
        installation,
        clock,
        WatchdogLimits.of(installation.settings.operations.watchdog),
        # Opened for each entry: a log or a key that is missing now may be back then.
        append=lambda draft: open_log(installation, clock, os.environ).append(draft),
        tell=tell,
        rehearse=dry_run,
    )
    # A rehearsal changes nothing, so it may run beside the one that does.
    alone = nullcontext() if dry_run else sole_holder(installation.path(LOCK_FILE), "watchdog.already_running")
    with alone:
        session.say("watchdog.watching", root=installation.root)
        watching.run(stop)
    session.say("watchdog.ended", n=len(watching.deeds))
    session.emit(
        {
            "schema": "stage4.watchdog/1",
            "dry_run": dry_run,
            "deeds": watching.deeds,
            "unlogged": watching.unlogged,
        }
    )
    return 0
