"""`stage4 demo`: the first incident, to look at or to be played."""

from __future__ import annotations

import os
from pathlib import Path

import click

from stage4.cli import _run
from stage4.cli.root import Session
from stage4.clock import SystemClock, parse_duration


@click.command()
@click.argument("directory", type=click.Path(path_type=Path), required=False)
@click.option("--auto", is_flag=True, help="Play L1, L2 and the Incident Manager too, to the closed incident.")
@click.option("--duration", default="60s", show_default=True, help="With --auto: how long the story may take.")
@click.option(
    "--time-scale",
    type=click.FloatRange(0.001, 1.0),
    default=1.0,
    show_default=True,
    help="Without --auto: shorten all deadlines by this factor.",
)
@click.pass_obj
def demo(session: Session, directory: Path | None, auto: bool, duration: str, time_scale: float) -> int:
    """
    Make a demo installation in DIRECTORY if there is none, start it, and stage a latency incident.

    Without DIRECTORY: the installation around here, else ./stage4-demo. Ctrl-C stops everything.
    """
    from stage4.app.demo import play, prepare
    from stage4.config import find_root
    from stage4.errors import UsageError

    span = parse_duration(duration)
    if directory is None:
        try:
            directory = find_root(session.root, os.environ, Path.cwd())
        except UsageError:
            if session.root is not None:
                raise
            directory = Path("stage4-demo")
    _run.terminate_as_interrupt()

    def tell(line: str) -> None:
        (_run.say if session.as_json else _run.out)(line)

    # There may be no installation yet to say which language its people read; init writes Polish.
    session.lang = session.lang or _run.language(os.environ, "pl")
    stage = prepare(directory, SystemClock(), session.lang, tell)
    code = play(stage, auto_span=span if auto else None, time_scale=time_scale)
    session.emit({"schema": "stage4.demo/1", "root": str(stage.installation.root), "exit_code": code})
    return code
