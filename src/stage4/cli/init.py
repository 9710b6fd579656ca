"""`stage4 init [DIR]`: makes an installation."""

from __future__ import annotations

from pathlib import Path

import click

from stage4.cli.root import Session


@click.command()
@click.argument("directory", type=click.Path(path_type=Path), default=Path())
@click.option(
    "--installation",
    type=click.Choice(["demo", "drill"]),
    default="demo",
    help="What it is for; people and certificates made here are a demonstration's, which production refuses.",
)
@click.option("--id", "installation_id", help="Its name in the log and the metrics; default: the directory's name.")
@click.option("--port-base", type=click.IntRange(1024, 65530), default=8740, help="Page 8740, gRPC +1, /metrics +2.")
@click.option("--dry-run", is_flag=True, help="Say what would be made, and write nothing.")
@click.pass_obj
def init(
    session: Session, directory: Path, installation: str, installation_id: str | None, port_base: int, dry_run: bool
) -> int:
    """Make an installation in DIRECTORY, or complete one; nothing that exists is overwritten."""
    from stage4.app.installing import Made, create
    from stage4.clock import SystemClock

    lines = create(
        directory,
        SystemClock(),
        installation=installation,
        installation_id=installation_id,
        port_base=port_base,
        language=session.lang or "pl",
        dry_run=dry_run,
    )
    for line in lines:
        session.say(f"installing.{line.made}", path=line.path)
    created = sum(line.made is Made.CREATED for line in lines)
    session.say("installing.done", root=directory.resolve(), created=created, kept=len(lines) - created)
    session.say("installing.dry_run" if dry_run else "installing.next", root=directory)
    session.emit(
        {
            "schema": "stage4.init/1",
            "root": str(directory.resolve()),
            "dry_run": dry_run,
            "paths": [{"path": line.path, "made": str(line.made)} for line in lines],
        }
    )
    return 0
