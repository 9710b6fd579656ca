"""`stage4 log verify`: every line judged, for people or as a document."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stage4.cli import _run
from stage4.cli.root import Session
from stage4.clock import SystemClock

if TYPE_CHECKING:
    pass


@click.command()
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.pass_obj
def verify(session: Session, path: Path | None) -> int:
    """Judge every line of the log (default: the configured one)."""
    from stage4.decisionlog.open import load_keyring
    from stage4.decisionlog.verification import report
    from stage4.decisionlog.verification.verifier import verify as judge

    installation = session.installation
    path = path or installation.decision_log_path
    verdict = judge(path, load_keyring(installation, os.environ), SystemClock())
    for sentence in report.sentences(verdict, path, session.language):
        if session.as_json:
            _run.say(sentence)
        else:
            click.echo(sentence)
    session.emit(report.document(verdict, path) | {"root": str(installation.root)})
    return verdict.exit_code
