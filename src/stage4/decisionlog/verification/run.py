"""
Judges lines in bulk: what is plainly sound becomes a run, everything else is left to the walk.

A run is lines that are authentic, canonical, of an ordinary kind, and follow one another. Whether it also follows what
stands before it, only the walk knows. A run is judged without knowledge of other lines, so that worker processes can
do it in any order.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from stage4.decisionlog.canonical import MAX_LINE, MIN_LINE
from stage4.decisionlog.chain import Sealer
from stage4.decisionlog.checkpoints.tree import Range, leaf
from stage4.decisionlog.entry import (
    CHECKPOINT,
    FLUSH_FAILED,
    GENESIS,
    KEY_REVOCATION,
    KEY_ROTATION,
    RECOVERY,
    SEGMENT,
    Entry,
)
from stage4.decisionlog.filter import Filter
from stage4.decisionlog.verification import payload_codec
from stage4.decisionlog.verification.examine import Examiner
from stage4.decisionlog.verification.payload_codec import Payload

# Few enough that their containers do not start the garbage collector, which would look at all of them again and again.
_BATCH = 100
_SPECIAL = frozenset({GENESIS, KEY_ROTATION, KEY_REVOCATION, CHECKPOINT, SEGMENT, RECOVERY, FLUSH_FAILED})


@dataclass(frozen=True, slots=True)
class Run:
    """`count` sound lines that follow one another, under one key, and what the walk needs to set them in place.

    `size` counts their bytes, LFs included; `last_size` those of the last line. `first_prev` and `last_digest` are in
    base64. `matched` of them pass the caller's filter.
    """

    first_seq: int
    first_prev: str
    count: int
    size: int
    last_size: int
    last_digest: str
    key_id: str
    log_id: str
    leaves: Range
    matched: int

    @property
    def last_seq(self) -> int:
        return self.first_seq + self.count - 1


@dataclass(frozen=True, slots=True)
class Slow:
    """`count` lines that only the walk can judge."""

    count: int


Stretch = Run | Slow
Judge = Callable[[Sequence[bytes]], list[Stretch]]


def one_by_one(lines: Sequence[bytes]) -> list[Stretch]:
    """No run at all: the walk judges every line."""
    return [Slow(len(lines))]


class BulkJudge:
    """Judges lists of lines with the keys of an examiner.

    Entries whose number is in `ends` are left to the walk, as are special kinds.
    """

    def __init__(self, examiner: Examiner, ends: frozenset[int] = frozenset(), wanted: Filter | None = None) -> None:
        self._examiner = examiner
        self._ends = ends
        self._wanted = wanted
        self._sealer: Sealer | None = None

    def __call__(self, lines: Sequence[bytes]) -> list[Stretch]:
        """The lines (without LF) as stretches, in their order."""
        stretches: list[Stretch] = []
        growing = _Growing(self._wanted)
        for start in range(0, len(lines), _BATCH):
            batch = lines[start : start + _BATCH]
            if max(map(len, batch)) < MIN_LINE:
                growing.end(stretches)
                _add_slow(stretches, len(batch))
            elif not self._at_once(batch, growing):
                self._singly(batch, growing, stretches)
        growing.end(stretches)
        return stretches

    def _at_once(self, lines: Sequence[bytes], growing: _Growing) -> bool:
        """Add all the lines to the growing run; False, and nothing is done, where that cannot be."""
        sealer = self._sealer
        if sealer is None or max(map(len, lines)) > MAX_LINE:
            return False
        payloads = sealer.open_all(lines)
        if None in payloads:
            return False
        entries = payload_codec.read_all(payloads)  # type: ignore[arg-type]
        if entries is None:
            return False
        first = entries[0].seq
        following = first + len(entries)
        if (
            [entry.seq for entry in entries] != list(range(first, following))
            or {entry.log_id for entry in entries} != {sealer.log_id}
            or {entry.key_id for entry in entries} != {sealer.key_id}
            or not _SPECIAL.isdisjoint([entry.kind for entry in entries])
            or any(first <= end < following for end in self._ends)
            or not growing.takes(entries[0], sealer)
        ):
            return False
        # As `tree.leaf` does, without its call: every line comes here.
        leaves = [sha256(b"\0" + line).digest() for line in lines]
        digests = [b2a_base64(each, newline=False).decode("ascii") for each in leaves]
        if [entry.prev for entry in entries[1:]] != digests[:-1]:
            return False
        growing.add(entries, lines, leaves, digests[-1], sealer)
        return True

    def _singly(self, lines: Sequence[bytes], growing: _Growing, stretches: list[Stretch]) -> None:
        for line in lines:
            entry = self._opened(line)
            if entry is None or entry.kind in _SPECIAL or entry.seq in self._ends:
                growing.end(stretches)
                _add_slow(stretches)
                continue
            assert self._sealer is not None
            if not growing.takes(entry, self._sealer):
                growing.end(stretches)
            hashed = leaf(line)
            growing.add((entry,), (line,), [hashed], b2a_base64(hashed, newline=False).decode("ascii"), self._sealer)

    def _opened(self, line: bytes) -> Payload | Entry | None:
        """The entry of a line that verifies under the key and log it names; that key's sealer is kept."""
        if not MIN_LINE <= len(line) <= MAX_LINE:
            return None
        payload = None if self._sealer is None else self._sealer.open(line)
        if payload is None:
            claim = payload_codec.claimed(line)
            if claim is None or not claim.log_id.isascii():
                return None
            sealer = self._examiner.usable_sealer(claim.key_id, claim.log_id)
            payload = None if sealer is None or sealer is self._sealer else sealer.open(line)
            if payload is None:
                return None
            self._sealer = sealer
        assert self._sealer is not None
        entry = payload_codec.read(payload)
        if entry is None or entry.key_id != self._sealer.key_id or entry.log_id != self._sealer.log_id:
            return None
        return entry


class _Growing:
    """The run that the next lines may belong to."""

    def __init__(self, wanted: Filter | None) -> None:
        self._wanted = wanted
        self._leaves: list[bytes] = []
        self._first: tuple[int, str] = (0, "")
        self._digest = ""
        self._sealer: Sealer | None = None
        self._size = self._last_size = self._matched = 0

    def takes(self, entry: Payload | Entry, sealer: Sealer) -> bool:
        """Whether a sound entry is the next of this run, or its first."""
        return not self._leaves or (
            sealer is self._sealer and entry.seq == self._first[0] + len(self._leaves) and entry.prev == self._digest
        )

    def add(
        self,
        entries: Sequence[Payload | Entry],
        lines: Sequence[bytes],
        leaves: Sequence[bytes],
        last_digest: str,
        sealer: Sealer,
    ) -> None:
        """Entries of which the first was taken and the others follow it."""
        if not self._leaves:
            self._first, self._sealer = (entries[0].seq, entries[0].prev), sealer
        self._leaves += leaves
        self._digest = last_digest
        self._last_size = len(lines[-1]) + 1
        self._size += sum(map(len, lines)) + len(lines)
        wanted = self._wanted
        if wanted is not None:
            self._matched += sum(map(wanted.takes, entries))

    def end(self, stretches: list[Stretch]) -> None:
        """The run so far becomes a stretch, if there is any."""
        if not self._leaves:
            return
        assert self._sealer is not None
        seq, prev = self._first
        stretches.append(
            Run(
                seq,
                prev,
                len(self._leaves),
                self._size,
                self._last_size,
                self._digest,
                self._sealer.key_id,
                self._sealer.log_id,
                Range.of(seq, self._leaves),
                self._matched,
            )
        )
        self._leaves = []
        self._size = self._matched = 0


def _add_slow(stretches: list[Stretch], count: int = 1) -> None:
    last = stretches[-1] if stretches else None
    if isinstance(last, Slow):
        stretches[-1] = Slow(last.count + count)
    else:
        stretches.append(Slow(count))
