"""`stage4 run`: the operated environment with its telemetry."""

from __future__ import annotations

import os

import click

from stage4.cli.root import Session
from stage4.clock import SystemClock


@click.command()
@click.pass_obj
def run(session: Session) -> int:
    """Run the scheduler with its strategies, the gate, the paper broker and the telemetry, until Ctrl-C."""
    from stage4.app.environment import run_environment

    installation = session.installation
    run_environment(installation, SystemClock(), os.environ, ready=lambda: session.say("service.environment_started"))
    session.say("service.environment_stopped")
    session.emit({"schema": "stage4.run/1", "root": str(installation.root), "ended": True})
    return 0


@click.command(hidden=True)
@click.argument("fd", type=int)
@click.argument("telling", type=int)
@click.pass_obj
def telemetry(session: Session, fd: int, telling: int) -> int:
    """The telemetry process; `stage4 run` starts it behind a pipe."""
    from stage4.app.environment import run_telemetry_process

    run_telemetry_process(session.installation, fd, telling, SystemClock(), os.environ)
    return 0
