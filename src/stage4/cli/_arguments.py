"""A parser whose complaints become errors of stage4, so that a command still prints its one document; and times."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, tzinfo
from functools import partial
from typing import Any, NoReturn

from stage4.clock import Clock, parse_duration
from stage4.errors import UsageError

_MARGIN = 2
_USUAL = 80


class Parser(argparse.ArgumentParser):
    """argparse, except that a wrong call raises UsageError `arguments.malformed`, whose hint leads to the usage."""

    def __init__(self, **settings: Any) -> None:
        form = settings.pop("formatter_class", argparse.HelpFormatter)
        # argparse makes a formatter for every argument, and the first one loads shutil only to learn the width.
        super().__init__(**settings, formatter_class=partial(form, width=_width() - _MARGIN))

    def error(self, message: str) -> NoReturn:
        raise UsageError("arguments.malformed", program=self.prog, reason=message)


def amount(option: str, code: str, most: float) -> Callable[[str], float]:
    """Reads the number of `option`, above 0 and up to `most`; for anything else it raises UsageError `code`."""

    def read(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = 0.0
        if not 0 < number <= most:
            raise UsageError(code, option=option, text=text, most=most)
        return number

    return read


def choice(option: str, known: Sequence[str]) -> Callable[[str], str]:
    """Reads one of the `known` values of `option`; for anything else it raises UsageError `arguments.bad_choice`."""

    def read(text: str) -> str:
        if text not in known:
            raise UsageError("arguments.bad_choice", option=option, text=text, known=", ".join(known))
        return text

    return read


def _width() -> int:
    """The terminal's columns, as shutil.get_terminal_size tells them."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns) > 0:
        return int(columns)
    try:
        return os.get_terminal_size(1).columns or _USUAL
    except OSError:
        return _USUAL


def zone_of(name: str) -> tzinfo:
    """The time zone of that name, UTC where the machine does not know it; whoever shows a time shows its offset too."""
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (OSError, ValueError, LookupError):
        return UTC


def instant(option: str, text: str | None, zone: tzinfo, clock: Clock) -> datetime | None:
    """An instant as people write it: without an offset it is local, a day alone is its beginning, a span lies back.

    Raises UsageError `logview.bad_time`.
    """
    if text is None:
        return None
    try:
        written = datetime.fromisoformat(text.strip())
        return (written.replace(tzinfo=zone) if written.tzinfo is None else written).astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    try:
        return clock.now() - parse_duration(text)
    except UsageError:
        raise UsageError("logview.bad_time", option=option, text=text) from None
