"""
What a log grew by since its newest checkpoint entry, and the tree over all of it.

The tree of that entry is in the entry, so only later lines are read, whatever the length of the log. Nothing is
signed over a broken chain: each line must name the one before it. Reading needs no lock; under the lock only what
came meanwhile is read (`catch_up`).
"""

from __future__ import annotations

import hashlib
import os
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from stage4.decisionlog import archives, logfile
from stage4.decisionlog.archives import Segment
from stage4.decisionlog.blocks import Block, plain_blocks
from stage4.decisionlog.canonical import MAX_LINE
from stage4.decisionlog.checkpoints.facts import MARK, CheckpointFacts
from stage4.decisionlog.checkpoints.lines import segment_lines
from stage4.decisionlog.checkpoints.note import NoteError
from stage4.decisionlog.checkpoints.tree import Frontier, Range, leaf
from stage4.decisionlog.entry import CHECKPOINT, Entry
from stage4.decisionlog.logfile import LongLine
from stage4.decisionlog.prefix import is_v2
from stage4.decisionlog.reading import entry_of
from stage4.decisionlog.spot import Scribe
from stage4.errors import Unavailable

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Sealed:
    """A checkpoint entry of the log, authenticated: its number in the log, what it says, its line without LF."""

    seq: int
    facts: CheckpointFacts
    line: bytes

    def tree(self) -> Frontier:
        """The tree that its checkpoint speaks of: everything up to this entry."""
        tree = self.facts.tree(self.seq)
        tree.add(leaf(self.line))
        return tree


class Growth:
    """The tree over the log at `path` as far as it was read, and its newest checkpoint entry."""

    def __init__(self, path: Path, scribe: Scribe) -> None:
        self.last: Sealed | None = None
        self.tree = Frontier()
        # The leaf hash of the last line, and the whole member in which the next line names it.
        self.head = ""
        self._link = b""
        self._line = b""
        self._path = path
        self._scribe = scribe
        self._file = (0, 0)
        self._read_to = 0

    @classmethod
    def of(cls, path: Path, scribe: Scribe) -> Growth:
        """As far as the log goes now; raises Unavailable, `checkpoint.log_broken` where lines do not follow."""
        growth = cls(path, scribe)
        try:
            descriptor, segments = archives.opened(path)
        except FileNotFoundError as error:
            raise Unavailable("files.missing", path=path) from error
        try:
            growth._read(descriptor, segments)
        finally:
            os.close(descriptor)
        return growth

    @property
    def size(self) -> int:
        """How many entries were read."""
        return self.tree.size

    @property
    def covered(self) -> int:
        """How many of them the newest checkpoint entry covers, itself included."""
        return self.last.seq + 1 if self.last else 0

    @property
    def log_id(self) -> str:
        """The log's id, as its last line has it; raises Unavailable where the log has no entry yet."""
        return self._scribe.authentic(self._line, self._read_to - len(self._line) - 1).log_id

    def catch_up(self, descriptor: int, size: int) -> bool:
        """Read what came since, up to byte `size` of the live file; False where that is not what was read before."""
        if logfile.identity(descriptor) != self._file or size < self._read_to:
            return False
        try:
            self._take(plain_blocks(self._path, descriptor, self._read_to, size))
        except Unavailable:
            # A new file may have got the number of one that is gone. A chain that is truly broken is met again.
            return False
        self._read_to = size
        return True

    def _read(self, descriptor: int, segments: tuple[Segment, ...]) -> None:
        self._file = logfile.identity(descriptor)
        end = logfile.read_end(self._path, descriptor, os.fstat(descriptor).st_size).end
        begin = self._newest_in(descriptor, end)
        if begin == 0:
            self._read_segments(segments)
        self._take(plain_blocks(self._path, descriptor, begin, end))
        self._read_to = end

    def _newest_in(self, descriptor: int, end: int) -> int:
        """Find the newest checkpoint entry of the live file; the byte after it, 0 where there is none."""
        reach = end
        while (found := _last_mark(descriptor, reach)) >= 0:
            line, begin, after = _line_around(descriptor, found, end)
            if self._is_checkpoint(line, begin):
                return after
            # The same bytes within another entry's metadata.
            reach = begin
        return 0

    def _read_segments(self, segments: tuple[Segment, ...]) -> None:
        first, skipped = 0, 0
        for index in range(len(segments) - 1, -1, -1):
            skipped = self._newest_of(segment_lines(segments[index]))
            if skipped:
                first = index
                break
        for segment in segments[first:]:
            for some in segment_lines(segment):
                kept, skipped = some[skipped:], max(0, skipped - len(some))
                self._add(kept)

    def _newest_of(self, lists: Iterable[list[bytes]]) -> int:
        """Find the newest checkpoint entry of an archive; how many lines it has up to there, 0 where there is none."""
        marked, passed = (0, b""), 0
        for lines in lists:
            for number, line in enumerate(lines, passed + 1):
                if MARK in line and _entry(line) is not None:
                    marked = (number, line)
            passed += len(lines)
        number, line = marked
        return number if number and self._is_checkpoint(line, 0) else 0

    def _is_checkpoint(self, line: bytes, offset: int) -> bool:
        """Begin the tree at the checkpoint entry in `line`; False where it is another kind of entry."""
        entry = _entry(line)
        if entry is None:
            return False
        self.last = self._sealed(entry, line, offset)
        self.tree = self.last.tree()
        self._follow(line, leaf(line))
        return True

    def _take(self, blocks: Iterable[Block]) -> None:
        for block in blocks:
            self._add(block.lines())

    def _add(self, lines: list[bytes]) -> None:
        """The next lines of the log; raises Unavailable `checkpoint.log_broken` at one that does not follow."""
        leaves: list[bytes] = []
        for line in lines:
            seq = self.size + len(leaves)
            if seq == 0:
                if is_v2(line):
                    continue
            elif self._link not in line:
                raise self._broken(seq)
            if isinstance(line, LongLine):
                raise self._broken(seq)
            leaves.append(hashlib.sha256(b"\0" + line).digest())
            self._follow(line, leaves[-1])
            entry = _entry(line) if MARK in line else None
            if entry is not None:
                # Made while the log was read, or by a call that was not finished.
                self.last = self._sealed(entry, line, 0)
        self.tree.extend(Range.of(self.size, leaves))

    def _sealed(self, entry: Entry, line: bytes, offset: int) -> Sealed:
        """The checkpoint entry in `line`; raises Unavailable `checkpoint.log_broken` where it cannot be built upon."""
        key = self._scribe.keyring.key(entry.key_id)
        try:
            # Where the secret of a former key is gone, the chain up to the head vouches for the line.
            if key is not None and key.available:
                self._scribe.authentic(line, offset)
            return Sealed(entry.seq, CheckpointFacts.read(entry), line)
        except (NoteError, Unavailable):
            raise self._broken(entry.seq) from None

    def _follow(self, line: bytes, hashed: bytes) -> None:
        encoded = b64encode(hashed)
        self._line = line
        self.head = encoded.decode()
        self._link = b'"prev":"' + encoded + b'"'

    def _broken(self, seq: int) -> Unavailable:
        return Unavailable("checkpoint.log_broken", path=self._path, seq=seq)


def _entry(line: bytes) -> Entry | None:
    entry = entry_of(line, 0, 0)
    return entry if entry is not None and entry.kind == CHECKPOINT else None


def _last_mark(descriptor: int, end: int) -> int:
    """The last place before byte `end` where an entry could be of kind checkpoint; -1 for none."""
    while end > 0:
        begin = max(0, end - _CHUNK)
        found = os.pread(descriptor, end - begin, begin).rfind(MARK)
        if found >= 0:
            return begin + found
        # The next piece overlaps this one, so that a mark across the border is seen.
        end = begin + len(MARK) - 1 if begin else 0
    return -1


def _line_around(descriptor: int, place: int, end: int) -> tuple[bytes, int, int]:
    """The line that byte `place` stands in, the byte it begins at, and the byte after its LF."""
    begin = max(0, place - MAX_LINE)
    content = os.pread(descriptor, min(end, place + MAX_LINE) - begin, begin)
    first = content.rfind(b"\n", 0, place - begin) + 1
    last = content.find(b"\n", place - begin)
    if last < 0:
        last = len(content)
    return content[first:last], begin + first, begin + last + 1
