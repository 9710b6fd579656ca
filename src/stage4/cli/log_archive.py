"""`stage4 log archive`: cut the live log off, compress what was cut off, and go on in a new file."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from stage4 import words
from stage4.cli._log_reading import begun
from stage4.cli.root import Session
from stage4.clock import SystemClock

if TYPE_CHECKING:
    from stage4.decisionlog.archive import Codec, Rotated

SCHEMA = "stage4.log_archive/1"


@click.command()
@click.option(
    "--compression", type=click.Choice(["zst", "gz"]), default="zst", show_default=True, help="How to compress."
)
@click.option("--if-larger", "megabytes", type=click.IntRange(0), metavar="MB", help="Only above this size, in MiB.")
@click.option("--dry-run", is_flag=True, help="Say what would happen, change nothing.")
@click.pass_obj
def archive(session: Session, compression: str, megabytes: int | None, dry_run: bool) -> int:
    """Archive the log. What an interrupted archiving left is finished first."""
    from stage4.decisionlog import archive as archiving

    path = begun(session.installation)
    cuttable = archiving.would_cut(path) and (megabytes is None or archiving.is_larger(path, max(1, megabytes << 20)))
    waiting = archiving.unfinished(path)
    done: Rotated | None = None
    if not cuttable and not waiting:
        session.say("archive.nothing", path=path, size=_size(session, path))
    elif dry_run:
        for name in waiting:
            session.say("archive.would_finish", path=path.with_name(name))
        if cuttable:
            session.say("archive.would_cut", path=path, size=_size(session, path))
    else:
        done = _archived(session, cast("Codec", compression), cut=cuttable)
    session.emit(
        {
            "schema": SCHEMA,
            "path": str(path),
            "dry_run": dry_run,
            "would_cut": cuttable,
            "unfinished": list(waiting),
            "cut": done.cut if done else None,
            "finished": [asdict(listed) for listed in done.finished] if done else [],
        }
    )
    return 0


def _archived(session: Session, compression: Codec, *, cut: bool) -> Rotated:
    from stage4.decisionlog import archive as archiving
    from stage4.decisionlog.open import open_log

    path = session.installation.decision_log_path
    log = open_log(session.installation, SystemClock(), os.environ)
    told = _Told(session)
    done = archiving.rotate(log, compression=compression, progress=told if sys.stderr.isatty() else None, cut=cut)
    told.clear()
    if done.cut is not None:
        session.say("archive.cut", path=path.with_name(done.cut), live=path.name)
    for listed in done.finished:
        session.say(
            "archive.finished",
            path=path.with_name(listed.file),
            first=listed.first_seq,
            last=listed.last_seq,
            before=words.number(listed.bytes, session.language),
            after=_size(session, path.with_name(listed.file)),
        )
    return done


def _size(session: Session, path: Path) -> str:
    return words.number(path.stat().st_size, session.language)


class _Told:
    """The progress of the compression on a terminal, in one line that is taken away at the end."""

    def __init__(self, session: Session) -> None:
        self._language = session.language
        self._percent = -1

    def __call__(self, done: int, size: int) -> None:
        percent = done * 100 // max(1, size)
        if percent > self._percent:
            self._percent = percent
            print("\r" + words.text("archive.progress", self._language, percent=percent), end="", file=sys.stderr)
            sys.stderr.flush()

    def clear(self) -> None:
        """Leave the line as if nothing had been there."""
        if self._percent >= 0:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
