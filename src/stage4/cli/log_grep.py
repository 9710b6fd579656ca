"""`stage4 log grep`: the entries that say something."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from stage4.cli import _run
from stage4.cli._log_reading import Printer, Reading, reads
from stage4.errors import ExitCode, UsageError

if TYPE_CHECKING:
    import re

    from stage4.decisionlog.entry import Entry


@click.command()
@click.argument("pattern")
@click.option("-i", "--ignore-case", is_flag=True, help="Capital and small letters are the same.")
@click.option("-v", "--invert-match", is_flag=True, help="The entries that do not match.")
@click.option("-c", "--count", is_flag=True, help="Only how many.")
@click.option("--full", is_flag=True, help="Every member of every entry.")
@reads()
def grep(reading: Reading, pattern: str, ignore_case: bool, invert_match: bool, count: bool, full: bool) -> int:
    """Print the entries that match PATTERN, a regular expression, in what `log show` prints or in any value.

    Exit 1 where none does. Showing is not verifying.
    """
    from stage4.decisionlog.presentation import searched
    from stage4.decisionlog.reading import entries

    expression = _compiled(pattern, ignore_case)
    reading.say_unverified()
    printer = Printer(reading, full=full)
    kept: list[Entry] = []
    matched = 0
    word = None if ignore_case or invert_match else _word(pattern)
    read = entries(
        reading.path,
        category=reading.wanted.said.get("category"),
        incident=reading.wanted.incident,
        holding=word,
    )
    with _run.streaming():
        for entry in filter(reading.wanted.takes, read):
            if bool(expression.search(searched(entry))) is invert_match:
                continue
            matched += 1
            if count:
                continue
            if reading.session.as_json:
                kept.append(entry)
            else:
                printer.show(entry)
    if count and not reading.session.as_json:
        _run.out(str(matched))
    reading.session.emit(reading.document(kept) | {"pattern": pattern, "count": matched})
    if not matched:
        _run.say(reading.session.text("logview.no_match", pattern=pattern, path=reading.path))
    return ExitCode.DONE if matched else ExitCode.NO


def _compiled(pattern: str, ignore_case: bool) -> re.Pattern[str]:
    import re

    try:
        # Every value stands on a line of its own, so ^ and $ are its ends.
        return re.compile(pattern, re.MULTILINE | (re.IGNORECASE if ignore_case else re.NOFLAG))
    except (re.error, RecursionError, OverflowError) as error:
        raise UsageError("logview.bad_pattern", pattern=pattern, reason=error) from None


def _word(pattern: str) -> str | None:
    """`pattern` where whatever matches it has it, byte for byte, in its line; None where that is not sure.

    So is a word that cannot begin within an escape such as `\\u202e`, nor be part of a time or of `UTC`, which only the
    visible line has.
    """
    import re

    return pattern if re.fullmatch(r"[G-TV-WYZg-tv-wyz][A-Za-z0-9_-]{2,}", pattern) else None
