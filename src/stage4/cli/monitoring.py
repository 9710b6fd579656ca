"""`stage4 monitoring write`: the files for Prometheus, Alertmanager and Grafana."""

from __future__ import annotations

import click

from stage4.cli.root import Session


@click.group()
def monitoring() -> None:
    """What Prometheus, Alertmanager and Grafana need to watch this installation."""


@monitoring.command()
@click.option("--dry-run", is_flag=True, help="Name the files that differ, and write nothing.")
@click.pass_obj
def write(session: Session, dry_run: bool) -> int:
    """Write deploy/ again from the settings: rules with their tests, routes, dashboard. Overwrites what differs."""
    from stage4 import files
    from stage4.monitoring.generate import generate

    installation = session.installation
    changed = []
    for relative, content in generate(installation).items():
        path = installation.path(relative)
        if path.is_file() and path.read_bytes() == content:
            continue
        changed.append(str(relative))
        session.say("monitoring.would_write" if dry_run else "monitoring.written", path=relative)
        if not dry_run:
            files.atomic_write(path, content)
    if not changed:
        session.say("monitoring.up_to_date")
    session.emit({"schema": "stage4.monitoring/1", "dry_run": dry_run, "changed": changed})
    return 0
