"""
A live feed: bars as JSON lines from a named pipe, the example for a desk's own feed.

    {"venue": "kraken", "at": "2026-11-23T09:01:00Z", "open": 1, "high": 2, "low": 1, "close": 2, "volume": 3.5}

`at` is the instant at which the bar was complete. Any program may write: `mkfifo var/feed.pipe`, then send lines. A
writer that ends, hangs or sends nonsense is silence: nothing is invented, prices grow stale, and that raises the alert.
Another writer may come at any time.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from stage4 import files
from stage4.errors import Unavailable
from stage4.market.bar import Bar, prices_agree

LONGEST_LINE = 4096
READ_SIZE = 1 << 16
MOST_READ = 1 << 20
"""Bytes taken at one call, so that a writer in a hurry never holds the scheduler up."""


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    venue: str
    at: datetime
    open: float
    high: float
    low: float
    close: float
    volume: float


_decoder = msgspec.json.Decoder(_Line)


class JsonLinesFeed:
    """Bars of `venues` from the pipe or file at `path`; the first venue is the primary one.

    Raises Unavailable `files.missing` or `market.unreadable` when `path` cannot be opened. Afterwards nothing raises.
    `refused` counts lines that are no bar, of a strange venue, not newer than the last, or of the future.
    """

    def __init__(self, path: Path, *, venues: tuple[str, ...], symbol: str, interval: timedelta) -> None:
        self.venues = venues
        self.symbol = symbol
        self.interval = interval
        self.refused = 0
        self._rest = b""
        self._skipping = False
        self._waiting: list[Bar] = []
        self._newest: dict[str, datetime] = {}
        try:
            # Without O_NONBLOCK the call would wait until somebody writes.
            self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            # A folder opens like a pipe, and would be silence for ever.
            is_folder = stat.S_ISDIR(os.fstat(self._fd).st_mode)
        except FileNotFoundError as error:
            raise Unavailable("files.missing", path=path, reason=files.reason(error)) from error
        except OSError as error:
            raise Unavailable("market.unreadable", path=path, reason=files.reason(error)) from error
        if is_folder:
            self.close()
            raise Unavailable("market.unreadable", path=path, reason=os.strerror(errno.EISDIR))

    def market_time(self, now: datetime) -> datetime:
        return now

    def advance(self, now: datetime) -> Sequence[Bar]:
        for line in self._lines():
            bar = self._bar(line, now)
            if bar is None:
                self.refused += 1
            else:
                self._newest[bar.venue] = bar.at
                self._waiting.append(bar)
        self._waiting.sort(key=lambda bar: bar.at)
        due = [bar for bar in self._waiting if bar.at <= now]
        del self._waiting[: len(due)]
        return due

    def close(self) -> None:
        """Let go of the pipe."""
        os.close(self._fd)

    def _lines(self) -> list[bytes]:
        lines: list[bytes] = []
        taken = 0
        while taken < MOST_READ:
            try:
                piece = os.read(self._fd, READ_SIZE)
            except OSError:
                # Nothing there yet, or no longer: silence either way.
                break
            if not piece:
                break
            taken += len(piece)
            *whole, self._rest = (self._rest + piece).split(b"\n")
            if whole and self._skipping:
                del whole[0]
                self._skipping = False
            lines += [line for line in whole if line.strip()]
            if len(self._rest) > LONGEST_LINE:
                self._rest, self._skipping = b"", True
                self.refused += 1
        return lines

    def _bar(self, line: bytes, now: datetime) -> Bar | None:
        try:
            said = _decoder.decode(line)
        except (msgspec.DecodeError, RecursionError):
            return None
        if said.at.tzinfo is None or said.venue not in self.venues:
            return None
        newest = self._newest.get(said.venue)
        # One interval ahead is a clock that differs; such a bar waits for its time. More is nonsense.
        if (newest is not None and said.at <= newest) or said.at > now + self.interval:
            return None
        if not prices_agree(said.open, said.high, said.low, said.close, said.volume):
            return None
        delay_ms = max(0.0, (now - said.at) / timedelta(milliseconds=1))
        return Bar(said.venue, self.symbol, said.at, said.open, said.high, said.low, said.close, said.volume, delay_ms)
