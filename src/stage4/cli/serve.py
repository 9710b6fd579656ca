"""`stage4 serve`: the incident service."""

from __future__ import annotations

import os

import click

from stage4.cli.root import Session
from stage4.clock import SystemClock


@click.command()
@click.option(
    "--time-scale",
    type=click.FloatRange(0.001, 1.0),
    default=1.0,
    show_default=True,
    help="Shorten all deadlines by this factor; demo and drill installations only.",
)
@click.pass_obj
def serve(session: Session, time_scale: float) -> int:
    """Take alerts in, lead the checklists, escalate in time, show the pages; until Ctrl-C."""
    from stage4.app.service import serve as run_service

    installation = session.installation
    service = installation.settings.operations.service

    def ready() -> None:
        session.say("service.listening", page=f"http://{service.host}:{service.port}/", socket=service.socket)

    run_service(installation, SystemClock(), os.environ, time_scale=time_scale, ready=ready)
    session.say("service.stopped")
    session.emit({"schema": "stage4.serve/1", "root": str(installation.root), "ended": True})
    return 0
