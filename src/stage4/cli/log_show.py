"""`stage4 log show`: the newest entries, or one entry whole, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from stage4.cli import _run
from stage4.cli._log_reading import Printer, Reading, reads
from stage4.errors import ExitCode

if TYPE_CHECKING:
    from stage4.decisionlog.entry import Entry


@click.command()
@click.argument("seq", required=False, type=click.IntRange(0))
@reads()
@click.option("--last", type=click.IntRange(1, 100_000), default=50, show_default=True, help="How many at most.")
@click.option("--full", is_flag=True, help="Every member of every entry.")
def show(reading: Reading, seq: int | None, last: int, full: bool) -> int:
    """Print the newest entries, the oldest of them first, or entry SEQ whole. Showing is not verifying."""
    reading.say_unverified()
    found = _newest(reading, last) if seq is None else _one(reading, seq)
    if not reading.session.as_json:
        printer = Printer(reading, full=full or seq is not None)
        with _run.streaming():
            for entry in found:
                printer.show(entry)
    reading.session.emit(reading.document(found))
    if seq is not None and not found:
        _run.say(reading.session.text("logview.no_entry", seq=seq, path=reading.path))
        return ExitCode.NO
    return ExitCode.DONE


def _newest(reading: Reading, last: int) -> list[Entry]:
    from stage4.decisionlog.reading import newest

    return newest(reading.path, last, reading.wanted.takes)


def _one(reading: Reading, seq: int) -> list[Entry]:
    from stage4.decisionlog.locate import find
    from stage4.decisionlog.reading import entry_of

    found = find(reading.path, seq)
    entry = None if found is None else entry_of(found.line, found.number or 0, found.offset)
    return [] if entry is None else [entry]
