"""
Finds where a file ends and makes the end fit to be appended to: a torn write is repaired, a v2 log sealed.

Everything here happens under the log's lock.
"""

from __future__ import annotations

import os

from stage4 import files
from stage4.decisionlog import logfile, repair
from stage4.decisionlog.canonical import Malformed, parse_strict
from stage4.decisionlog.entry import Entry, Prepared
from stage4.decisionlog.prefix import Prefix, is_v2
from stage4.decisionlog.spot import Scribe, Spot
from stage4.errors import Unavailable

_NEAR = 1 << 16


class Ending:
    """The end of the file that `scribe` writes."""

    def __init__(self, scribe: Scribe) -> None:
        self._scribe = scribe
        self._path = scribe.path
        # The file, and how far its line numbers are ahead of its entry numbers, which no append changes.
        self._ahead: tuple[int, int] | None = None

    def followed(self, descriptor: int, size: int, left: Spot | None) -> Spot | None:
        """Where to append after what others appended since this process `left`; None where `find` must tell."""
        if left is None or not 0 < size - left.size <= _NEAR:
            return None
        return self._scribe.followed(left, os.pread(descriptor, size - left.size, left.size))

    def find(self, descriptor: int, size: int) -> Spot:
        """Where to append in a file of `size` bytes, with an unfinished write of someone killed repaired first."""
        if size == 0:
            raise Unavailable("log.emptied", path=self._path)
        end = logfile.read_end(descriptor, size)
        if is_v2(end.line) and is_v2(end.fragment):
            return self._continue_v2(descriptor, end)
        entry = self._scribe.authentic(end.line, end.offset)
        spot = self._scribe.after(entry, end.line, end.end, self._line_number(descriptor, entry))
        return self._repaired(descriptor, spot, end.fragment) if end.fragment else spot

    def forget(self) -> None:
        """Another file will be appended to."""
        self._ahead = None

    def _continue_v2(self, descriptor: int, end: logfile.End) -> Spot:
        """Seal a whole v2 file by the genesis entry of the log that goes on after it."""
        prefix = Prefix()
        for lines in logfile.lines_of(descriptor, end.end):
            for line in lines:
                if not prefix.accepts(line):
                    raise Unavailable("log.head_broken", path=self._path, offset=prefix.size)
                prefix.add(line)
        closing = b""
        if end.fragment:
            prefix.add(end.fragment)
            closing = b"\n"
        line = self._scribe.genesis(prefix)
        logfile.add(self._path, descriptor, end.end + len(end.fragment), closing + line + b"\n")
        entry = self._scribe.authentic(line, prefix.size)
        return self._scribe.after(entry, line, prefix.size + len(line) + 1, prefix.lines + 1)

    def _repaired(self, descriptor: int, spot: Spot, fragment: bytes) -> Spot:
        """Account for an unfinished write by a `recovery` entry; the fragment is kept, not lost."""
        finished = self._finished(spot, fragment)
        if finished is not None:
            receipts, after = self._scribe.sealed([Prepared(repair.finished_draft(fragment))], finished)
            logfile.add(self._path, descriptor, spot.size + len(fragment), b"\n" + receipts[0].raw + b"\n")
            return after
        try:
            kept = repair.keep_aside(self._path, fragment)
            receipts, after = self._scribe.sealed([Prepared(repair.cut_draft(fragment, kept))], spot)
            repair.overwrite(self._path, spot.size, receipts[0].raw + b"\n")
        except OSError as error:
            raise Unavailable("log.append_failed", path=self._path, reason=files.reason(error)) from error
        return after

    def _finished(self, spot: Spot, fragment: bytes) -> Spot | None:
        """The spot after a fragment that lacks nothing but its LF: that entry was perhaps acknowledged."""
        try:
            entry = self._scribe.authentic(fragment, spot.size)
        except Unavailable:
            return None
        if (entry.seq, entry.prev) != (spot.head.seq + 1, spot.head.digest):
            return None
        return self._scribe.after(entry, fragment, spot.size + len(fragment) + 1, spot.line)

    def _line_number(self, descriptor: int, entry: Entry) -> int:
        """The number of the line of `entry`, counted from the first v3 line of the file."""
        if self._ahead is None or self._ahead[0] != descriptor:
            self._ahead = (descriptor, _lines_ahead(descriptor, entry))
        return entry.seq + self._ahead[1]


def _lines_ahead(descriptor: int, entry: Entry) -> int:
    number = 0
    for lines in logfile.lines_of(descriptor, entry.offset):
        for line in lines:
            number += 1
            if not is_v2(line):
                first = _sequence(line)
                return number - (number - 1 if first is None else first)
    return number + 1 - entry.seq


def _sequence(line: bytes) -> int | None:
    try:
        members = parse_strict(line)
    except Malformed:
        return None
    seq = members.get("seq") if isinstance(members, dict) else None
    return seq if isinstance(seq, int) else None
