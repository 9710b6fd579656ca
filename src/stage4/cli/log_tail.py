"""`stage4 log tail`: the end of the log, and what is appended to it from now on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from stage4 import files
from stage4.cli import _run
from stage4.cli._log_reading import Printer, Reading, facts_of, reads
from stage4.clock import SystemClock
from stage4.errors import ExitCode

if TYPE_CHECKING:
    from stage4.decisionlog.entry import Entry

    Show = Callable[[Entry], None]

ENTRY_SCHEMA = "stage4.log-entry/1"


@click.command()
@click.option("-n", "--last", type=click.IntRange(0, 100_000), default=20, show_default=True, help="How many at most.")
@click.option("-f", "--follow", "following", is_flag=True, help="Wait for more; under --json one document a line.")
@click.option("--full", is_flag=True, help="Every member of every entry.")
@reads()
def tail(reading: Reading, last: int, following: bool, full: bool) -> int:
    """Print the newest entries and, with -f, every further one as it is appended, until Ctrl-C (exit 130)."""
    from stage4.decisionlog.reading import newest

    reading.say_unverified()
    # Asked first: what is appended while the entries are read is either among them or comes after this one.
    head = newest(reading.path, 1)
    found = newest(reading.path, last, reading.wanted.takes) if last else []
    if not following and reading.session.as_json:
        reading.session.emit(reading.document(found))
        return ExitCode.DONE
    show = _show_json if reading.session.as_json else Printer(reading, full=full).show
    try:
        with _run.streaming():
            for entry in found:
                show(entry)
            if following:
                _follow(reading, max((entry.seq for entry in (*head, *found)), default=-1), show)
    except KeyboardInterrupt:
        # How it is meant to end: there is nothing to say about it.
        return ExitCode.INTERRUPTED
    return ExitCode.DONE


def _follow(reading: Reading, after: int, show: Show) -> None:
    from stage4.decisionlog.reading import follow

    _run.stream_now()
    for entry in filter(reading.wanted.takes, follow(reading.path, SystemClock(), after=after)):
        show(entry)
        _run.stream_now()


def _show_json(entry: Entry) -> None:
    _run.stream(files.json_text({"schema": ENTRY_SCHEMA, **facts_of(entry)}))
