"""
Recorded bars from CSV files, one file a venue, plain or gzip.

Columns: `timestamp,open,high,low,close,volume`, the timestamp being the RFC 3339 UTC instant at which the bar
began. Rows that do not exist stay missing. A row that cannot be read, or that goes back in time, is an error: wrong
data must not look like a quiet market.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import heapq
import io
import itertools
import re
import stat
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from stage4 import files
from stage4.clock import parse_instant
from stage4.errors import Unavailable, UsageError
from stage4.market.bar import Bar, MarketClock, prices_agree

if TYPE_CHECKING:
    from _csv import Reader as CsvRows

COLUMNS = ("timestamp", "open", "high", "low", "close", "volume")
FIRST_YEAR, LAST_YEAR = 1970, 2200
"""Years in which a bar can have been recorded; what lies outside is a stamp gone wrong."""
LONGEST_LINE = 4096
"""Characters, with the end of the line."""
_NAME = re.compile(r"(?P<venue>[a-z][a-z_]*)_(?P<symbol>[A-Z0-9]{5,12})(_|\.)")


def venue_and_symbol(path: Path) -> tuple[str, str]:
    """What the name of a file says: `kraken_BTCUSDC_1m.csv.gz` is `BTCUSDC` on `kraken`."""
    match = _NAME.match(path.name)
    return (match["venue"], match["symbol"]) if match else (path.name.partition(".")[0], "")


def recordings_by_venue(paths: Iterable[Path]) -> tuple[dict[str, Path], str]:
    """The file of each venue, in the order of `paths`, and the symbol of them all, by the names of the files.

    Raises UsageError `market.same_venue` or `market.two_symbols`.
    """
    found: dict[str, Path] = {}
    symbols: dict[str, Path] = {}
    for path in paths:
        venue, symbol = venue_and_symbol(path)
        if venue in found:
            raise UsageError("market.same_venue", venue=venue, path=found[venue], other=path)
        found[venue] = path
        symbols.setdefault(symbol, path)
        if len(symbols) > 1:
            known, other = symbols
            raise UsageError(
                "market.two_symbols", path=symbols[known], other=path, symbols=f"{known or '–'}, {other or '–'}"
            )
    return found, next(iter(symbols), "")


def read_bars(
    path: Path, *, venue: str, symbol: str, since: datetime, until: datetime, interval: timedelta
) -> Iterator[Bar]:
    """The bars of `path` that were complete after `since` and not after `until`, oldest first.

    Raises Unavailable `files.missing` or `market.unreadable`, UsageError `market.bad_columns` or `market.bad_row`.
    """
    previous: datetime | None = None
    with _rows(path) as rows:
        for row in rows:
            # Of every row up to the end, also of those that are not wanted: as text, a stamp that is none, or one of
            # another zone, would begin or end the span at a wrong row.
            began = _began(row, path, rows.line_num)
            if previous is not None and began <= previous:
                raise UsageError("market.bad_row", path=path, line=rows.line_num, reason="time goes back")
            previous = began
            if began + interval <= since:
                continue
            bar = _bar(row, path, rows.line_num, venue, symbol, interval)
            if bar.at > until:
                return
            yield bar


def read_as_it_is(
    path: Path, *, venue: str, symbol: str, interval: timedelta, until: datetime | None = None
) -> Iterator[Bar | UsageError]:
    """Every row of `path` in the order of the file: its bar, or why it is none. For those who judge a recording.

    Bars that were complete after `until` are left out; a row without an instant is of the time of the row above it.

    Raises Unavailable `files.missing` or `market.unreadable`, UsageError `market.bad_columns`.
    """
    is_later = False
    with _rows(path) as rows:
        for row in rows:
            try:
                is_later = until is not None and _began(row, path, rows.line_num) + interval > until
                if not is_later:
                    yield _bar(row, path, rows.line_num, venue, symbol, interval)
            except UsageError as error:
                if not is_later:
                    yield error


@contextlib.contextmanager
def _rows(path: Path) -> Iterator[CsvRows]:
    """The rows below the header."""
    try:
        with _opened(path) as recording:
            rows = csv.reader(_lines(recording, path))
            if tuple(next(rows, ())) != COLUMNS:
                raise UsageError("market.bad_columns", path=path, expected=",".join(COLUMNS))
            yield rows
    except FileNotFoundError as error:
        raise Unavailable("files.missing", path=path, reason=files.reason(error)) from error
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error) as error:
        raise Unavailable("market.unreadable", path=path, reason=str(error)) from error


def _opened(path: Path) -> io.TextIOBase:
    # A pipe would be waited for, a device has no end: a recording is a file.
    if not stat.S_ISREG(path.stat().st_mode):
        raise Unavailable("market.unreadable", path=path, reason="not a regular file")
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", newline="")
    return path.open(encoding="utf-8", newline="")


def _lines(recording: io.TextIOBase, path: Path) -> Iterator[str]:
    """The lines, none longer than `LONGEST_LINE`: a longer one is refused before it is read whole."""
    for number in itertools.count(1):
        line = recording.readline(LONGEST_LINE + 1)
        if len(line) > LONGEST_LINE:
            reason = f"longer than {LONGEST_LINE} characters"
            raise UsageError("market.bad_row", path=path, line=number, reason=reason)
        if not line:
            return
        yield line


def _as_written(instant: datetime) -> str:
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _began(row: Sequence[str], path: Path, line: int) -> datetime:
    try:
        began = parse_instant(row[0] if row else "")
    except UsageError as error:
        raise UsageError("market.bad_row", path=path, line=line, reason=str(error)) from error
    if not FIRST_YEAR <= began.year <= LAST_YEAR:
        raise UsageError(
            "market.bad_row", path=path, line=line, reason=f"the year is not between {FIRST_YEAR} and {LAST_YEAR}"
        )
    return began


def _bar(row: Sequence[str], path: Path, line: int, venue: str, symbol: str, interval: timedelta) -> Bar:
    began = _began(row, path, line)
    try:
        opened, high, low, close, volume = (float(cell) for cell in row[1:])
    except ValueError as error:
        raise UsageError("market.bad_row", path=path, line=line, reason=str(error)) from error
    if not prices_agree(opened, high, low, close, volume):
        raise UsageError(
            "market.bad_row", path=path, line=line, reason="prices contradict each other or are out of bounds"
        )
    return Bar(venue, symbol, began + interval, opened, high, low, close, volume)


class CsvReplayFeed:
    """Recorded bars, as if they came now, `speed` times as fast; the first venue is the primary one.

    Raises what `read_bars` raises, Unavailable `market.no_bars` for a venue without a bar after `since` and not after
    `until`, and UsageError `market.no_such_time`.
    """

    def __init__(
        self,
        paths: Mapping[str, Path],
        *,
        symbol: str,
        since: datetime,
        until: datetime,
        begins: datetime,
        speed: float = 1.0,
        history: int = 300,
        interval: timedelta = timedelta(minutes=1),
    ) -> None:
        self.venues = tuple(paths)
        self.symbol = symbol
        self.interval = interval
        self.until = until
        self._clock = MarketClock(begins, since, speed)
        try:
            early = since - history * interval
        except OverflowError as error:
            raise UsageError("market.no_such_time", time=since.date()) from error
        merged = heapq.merge(
            *(
                read_bars(path, venue=venue, symbol=symbol, since=early, until=until, interval=interval)
                for venue, path in paths.items()
            ),
            key=lambda bar: bar.at,
        )
        self._bars = list(merged)
        heard_of = {bar.venue for bar in self._bars if bar.at > since}
        for venue, path in paths.items():
            if venue not in heard_of:
                raise Unavailable("market.no_bars", path=path, since=_as_written(since), until=_as_written(until))
        self._next = 0

    @property
    def ends(self) -> datetime:
        """When the last bar was complete."""
        return self._bars[-1].at

    def market_time(self, now: datetime) -> datetime:
        return self._clock.at(now)

    def advance(self, now: datetime) -> Sequence[Bar]:
        instant, begin = self.market_time(now), self._next
        while self._next < len(self._bars) and self._bars[self._next].at <= instant:
            self._next += 1
        return self._bars[begin : self._next]


def day_bounds(day: date) -> tuple[datetime, datetime]:
    """The first and the last instant of `day` in UTC; UsageError `market.no_such_time` for the last day of all."""
    begin = datetime.combine(day, time(), UTC)
    try:
        return begin, begin + timedelta(days=1)
    except OverflowError as error:
        raise UsageError("market.no_such_time", time=day) from error


def recorded_span(path: Path) -> tuple[datetime, timedelta]:
    """When the recording in `path` begins, and the span of its bars: the shortest step of its first rows."""
    with _rows(path) as rows:
        stamps = [_began(row, path, rows.line_num) for row in itertools.islice(rows, 100) if row]
    steps = [after - before for before, after in itertools.pairwise(stamps) if after > before]
    if not steps:
        raise UsageError("market.bad_columns", path=path, expected=",".join(COLUMNS))
    return stamps[0], min(steps)
