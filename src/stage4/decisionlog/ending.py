"""
Finds where a file ends and makes the end fit to be appended to: a torn write is repaired, a v2 log sealed.

Everything here happens under the log's lock. What this process acknowledged it expects to find again: a log that went
back to an older copy gets no more entries from it, because their numbers would be given a second time.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from stage4 import files
from stage4.decisionlog import archives, logfile, repair, traces
from stage4.decisionlog.canonical import Malformed, parse_strict
from stage4.decisionlog.chain import leaf_digest
from stage4.decisionlog.entry import SEGMENT, Entry, Prepared
from stage4.decisionlog.prefix import Prefix, begins_v2, is_v2
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
        # The spot after the newest entry that this process acknowledged. `_moved`: the file has been opened anew since,
        # so that the line may stand in an archive. `_refused`: it was missed once, and whatever others make of the log
        # since then does not bring it back.
        self._acknowledged: Spot | None = None
        self._moved = self._refused = False

    def acknowledged(self, spot: Spot) -> None:
        """The line before `spot` was acknowledged: it is there for good."""
        self._acknowledged, self._moved = spot, False

    def require_none_before(self, code: str) -> None:
        """Raise Unavailable, `code` for traces, where a log of version 3 was at this path: none begins there anew.

        Whoever has no key could otherwise remove what it said, and have it begin once more.
        """
        if self._acknowledged is not None:
            raise self._went_back(self._acknowledged)
        trace = traces.find(self._path, self._scribe.keyring.path)
        if trace is not None:
            raise Unavailable(code, path=self._path, trace=trace)

    def followed(self, descriptor: int, size: int, left: Spot | None) -> Spot | None:
        """Where to append after what others appended since this process `left`; None where `find` must tell."""
        self._require_acknowledged(descriptor, size)
        if left is None or not 0 < size - left.size <= _NEAR:
            return None
        return self._scribe.followed(left, os.pread(descriptor, size - left.size, left.size))

    def find(self, descriptor: int, size: int) -> Spot:
        """Where to append in a file of `size` bytes, with an unfinished write of someone killed repaired first."""
        if size == 0:
            raise Unavailable("log.emptied", path=self._path)
        end = logfile.read_end(self._path, descriptor, size)
        if is_v2(end.line) and (end.end or is_v2(end.fragment)):
            return self._continue_v2(descriptor, end)
        entry = self._scribe.authentic(end.line, end.offset)
        self._require_chained(descriptor, entry)
        self._require_newer(entry, end.line)
        number = self._line_number(descriptor, entry)
        self._require_not_behind(descriptor, entry, number)
        spot = self._scribe.after(entry, end.line, end.end, number)
        return self._repaired(descriptor, spot, end.fragment) if end.fragment else spot

    def require_whole(self, descriptor: int, entry: Entry) -> None:
        """Raise Unavailable where the open file ends, with `entry`, before what lies beside it says that the log went.

        Whoever never appended to it has nothing else to hold it against.
        """
        self._require_not_behind(descriptor, entry, entry.seq + _lines_ahead(descriptor, entry))

    def forget(self) -> None:
        """Another file will be appended to."""
        self._ahead = None
        self._moved = True

    def _continue_v2(self, descriptor: int, end: logfile.End) -> Spot:
        """Seal the whole lines of a v2 file by the genesis entry of the log that goes on after them."""
        prefix = Prefix()
        for lines in logfile.lines_of(descriptor, end.end):
            for line in lines:
                self._take_v2(prefix, line)
        torn = not is_v2(end.fragment)
        if end.fragment and not torn:
            self._take_v2(prefix, end.fragment)
        self.require_none_before("log.began_before")
        line = self._scribe.genesis(prefix)
        spot = self._scribe.after(
            self._scribe.authentic(line, prefix.size), line, prefix.size + len(line) + 1, prefix.lines + 1
        )
        if torn:
            from stage4.decisionlog import locate

            stated = locate.seq_of(end.fragment)
            if stated is not None and stated > 0:
                # No beginning was torn here: entries before this one are gone.
                raise Unavailable("log.head_misplaced", path=self._path, seq=stated, offset=end.end)
            return self._begun_over(end, line, spot)
        closing = b"\n" if end.fragment else b""
        logfile.add(self._path, descriptor, end.end + len(end.fragment), closing + line + b"\n")
        try:
            # What lies beside a log proves that it began: nothing may be put there before this is on the disk.
            os.fdatasync(descriptor)
        except OSError as error:
            raise Unavailable("log.flush_failed", path=self._path, reason=files.reason(error)) from error
        return spot

    def _begun_over(self, end: logfile.End, genesis: bytes, spot: Spot) -> Spot:
        """Begin where a line of version 2, or an earlier beginning, was torn: nobody acknowledged what stands there."""
        kept_in = repair.aside_before(self._path)
        try:
            kept = repair.keep_aside(kept_in, end.fragment)
            draft = repair.cut_draft(end.fragment, kept, kept_in)
            receipts, after = self._scribe.sealed([Prepared(draft)], spot)
            repair.overwrite(self._path, end.end, genesis + b"\n" + receipts[0].raw + b"\n")
        except OSError as error:
            raise Unavailable("log.append_failed", path=self._path, reason=files.reason(error)) from error
        return after

    def _take_v2(self, prefix: Prefix, line: bytes) -> None:
        if not prefix.accepts(line):
            raise Unavailable("log.head_broken", path=self._path, offset=prefix.size)
        if not prefix.lines and not begins_v2(line):
            raise Unavailable("log.not_a_log", path=self._path)
        prefix.add(line)

    def _require_acknowledged(self, descriptor: int, size: int) -> None:
        """Raise Unavailable where the last line that this process acknowledged no longer stands in the open file."""
        spot = self._acknowledged
        if spot is None:
            return
        if self._refused or (not self._moved and (size < spot.size or not ends_so(descriptor, spot))):
            raise self._missed(spot)

    def _require_newer(self, entry: Entry, line: bytes) -> None:
        """Raise Unavailable where the log, in whatever file, lacks what this process acknowledged."""
        spot = self._acknowledged
        if spot is None:
            return
        head = spot.head
        if entry.log_id != head.log_id or entry.seq < head.seq:
            raise self._missed(spot)
        found = line if entry.seq == head.seq else self._archived(head.seq) if self._moved else None
        if found is not None and leaf_digest(found) != head.digest:
            raise self._missed(spot)

    def _archived(self, seq: int) -> bytes | None:
        """The line of entry `seq`, in whatever file of the log; None where it cannot be had: archives may be put away.

        It may take the time of decompressing an archive, so it is asked once after each change of the file.
        """
        # Loaded here, as below, because who appends to a log in good order does not need it.
        from stage4.decisionlog import locate

        with contextlib.suppress(Unavailable):
            found = locate.find(self._path, seq)
            return None if found is None else found.line
        return None

    def _require_not_behind(self, descriptor: int, entry: Entry, number: int) -> None:
        """Raise Unavailable where the note or an archive beside the file knows more than its last `entry` tells.

        `number` is that line's, from which the first entry of the file follows.
        """
        traces.require_not_behind(self._path, entry.log_id, entry.seq)
        archive = archives.ahead(self._path, max(0, entry.seq - number + 1))
        if archive is not None:
            # Where the first line is damaged, that was no more than a guess.
            archive = archives.ahead(self._path, _first_stated(descriptor, entry))
        if archive is not None and _log_id_of(archive) == entry.log_id:
            raise Unavailable("log.behind_archive", path=self._path, trace=archive)

    def _require_chained(self, descriptor: int, entry: Entry) -> None:
        """Raise Unavailable where the last line is an entry, but not the one that belongs after the line before it."""
        if entry.offset == 0:
            chained = entry.seq == 0 or entry.kind == SEGMENT
        else:
            before = logfile.line_before(descriptor, entry.offset)
            chained = is_v2(before) if entry.seq == 0 else entry.prev == leaf_digest(before)
        if not chained:
            raise Unavailable("log.head_misplaced", path=self._path, seq=entry.seq, offset=entry.offset)

    def _missed(self, spot: Spot) -> Unavailable:
        self._refused = True
        return self._went_back(spot)

    def _went_back(self, spot: Spot) -> Unavailable:
        return Unavailable("log.went_back", path=self._path, seq=spot.head.seq)

    def _repaired(self, descriptor: int, spot: Spot, fragment: bytes) -> Spot:
        """Account for an unfinished write by a `recovery` entry; the fragment is kept, not lost."""
        finished = self._finished(spot, fragment)
        if finished is not None:
            receipts, after = self._scribe.sealed([Prepared(repair.finished_draft(fragment))], finished)
            logfile.add(self._path, descriptor, spot.size + len(fragment), b"\n" + receipts[0].raw + b"\n")
            return after
        try:
            kept_in = repair.aside_path(self._path)
            draft = repair.cut_draft(fragment, repair.keep_aside(kept_in, fragment), kept_in)
            receipts, after = self._scribe.sealed([Prepared(draft)], spot)
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


def ends_so(descriptor: int, spot: Spot) -> bool:
    """Whether the line before `spot` still stands there: another one may have as many bytes."""
    return leaf_digest(os.pread(descriptor, spot.length, spot.size - 1 - spot.length)) == spot.head.digest


def _log_id_of(archive: Path) -> str | None:
    """The log id of the first entry in the first block of an archive; None where there is none to be read."""
    from stage4.decisionlog.decompression import archive_blocks

    with contextlib.suppress(Unavailable), contextlib.closing(archive_blocks(archive)) as blocks:
        for block in blocks:
            return next((_log_id(line) for line in block.lines() if not is_v2(line)), None)
    return None


def _log_id(line: bytes) -> str | None:
    try:
        members = parse_strict(line)
    except Malformed:
        return None
    log_id = members.get("log_id") if isinstance(members, dict) else None
    return log_id if isinstance(log_id, str) else None


def _first_stated(descriptor: int, entry: Entry) -> int:
    """The first number that a line of the file up to `entry` states; 0 where a line of version 2 stands there."""
    for lines in logfile.lines_of(descriptor, entry.offset):
        for line in lines:
            stated = 0 if is_v2(line) else _sequence(line)
            if stated is not None:
                return stated
    return entry.seq


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
