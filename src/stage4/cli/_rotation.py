"""What the commands of `stage4 rotation` share."""

from __future__ import annotations

from pathlib import Path

import click

from stage4.cli.root import Session

bundle_option = click.option("--bundle", default="core-oem", show_default=True, metavar="NAME", help="The bundle.")


def shown(session: Session, path: Path) -> str:
    """`path` as the audit names it: relative to the installation it lies in."""
    root = session.installation.root
    return str(path.relative_to(root) if path.is_relative_to(root) else path)
