"""`stage4 rotation …`: when keys and certificates were replaced, what falls due, and doing it."""

from __future__ import annotations

import click

from stage4.cli.root import LazyGroup

COMMANDS = {
    "list": ("stage4.cli.rotation_table", "list_"),
    "mark": ("stage4.cli.rotation_renewal", "mark"),
    "plan": ("stage4.cli.rotation_table", "plan"),
    "rotate": ("stage4.cli.rotation_renewal", "rotate"),
}


@click.group(cls=LazyGroup, places=COMMANDS)
def rotation() -> None:
    """Rotations of keys and certificates: list them, plan them, record one, renew a bundle."""
