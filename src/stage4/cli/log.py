"""`stage4 log …`: the decision log; a file a command."""

from __future__ import annotations

import click

from stage4.cli.root import LazyGroup

COMMANDS = {
    "append": ("stage4.cli.log_append", "append"),
    "archive": ("stage4.cli.log_archive", "archive"),
    "check-proof": ("stage4.cli.log_prove", "check_proof"),
    "checkpoint": ("stage4.cli.log_checkpoint", "checkpoint"),
    "explain": ("stage4.cli.log_explain", "explain"),
    "grep": ("stage4.cli.log_grep", "grep"),
    "key": ("stage4.cli.log_key", "key"),
    "prove": ("stage4.cli.log_prove", "prove"),
    "show": ("stage4.cli.log_show", "show"),
    "tail": ("stage4.cli.log_tail", "tail"),
    "verify": ("stage4.cli.log_verify", "verify"),
}


@click.group(cls=LazyGroup, places=COMMANDS)
def log() -> None:
    """The decision log: make entries, read them, verify them; its keys, checkpoints, proofs and archives."""
