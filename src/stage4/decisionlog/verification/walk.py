"""
Walks a log line by line and says where it stops being what was written.

State is the last entry in place: its number and digest. A line that is no entry of this log waits until the next
one that is: that one's number tells whether the faulty lines stood in place of entries (edited) or were put
between them (inserted), and how many entries are gone. A number that is missing is a deletion until it turns up
later, which makes it a reordering; a number that was already seen is a replay. Memory is bounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from stage4.decisionlog.chain import Sealer, genesis_prev, leaf_digest
from stage4.decisionlog.entry import GENESIS, KEY_ROTATION, Entry
from stage4.decisionlog.logfile import End, length
from stage4.decisionlog.prefix import Prefix
from stage4.decisionlog.verification import payload_codec
from stage4.decisionlog.verification.blame import Blame
from stage4.decisionlog.verification.examine import Examiner
from stage4.decisionlog.verification.gaps import Gaps
from stage4.decisionlog.verification.ledger import Ledger
from stage4.decisionlog.verification.succession import Succession
from stage4.decisionlog.verification.verdict import Completeness, Coverage, Fault, Island, SealedPrefix, Verdict
from stage4.security.keyring import KeyRing

_WAITING = 1000


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A faulty line whose part in the log is not known yet; `claimed` is the number it gives itself."""

    line: int
    offset: int
    claimed: int | None
    blame: Blame


@dataclass(frozen=True, slots=True)
class _Last:
    """The last entry that was set in its place by the slow path."""

    line: int
    offset: int
    authentic: bool


class Walk:
    """Feed it every line in order, then ask for the verdict."""

    def __init__(self, keyring: KeyRing | None) -> None:
        self._examiner = Examiner(keyring)
        self._succession = Succession(keyring)
        self._ledger = Ledger()
        self._gaps = Gaps(self._ledger)
        self._line = 0
        self._offset = 0
        self._prefix = Prefix()
        self._in_prefix = True
        self._log_id: str | None = None
        self._first: int | None = None
        self._seq = -1
        self._digest = ""
        self._last = _Last(0, 0, True)
        # The key in force while the fast path may be taken, that is inside an island.
        self._sealer: Sealer | None = None
        self._waiting: list[_Waiting] = []
        self._counted_early = 0
        self._island: tuple[int, int] | None = None
        self._entries = 0
        self._said: set[tuple[str, str]] = set()

    def feed(self, lines: Sequence[bytes]) -> None:
        """The next lines, without LF."""
        if self._log_id is None:
            self._log_id = self._examiner.genesis_log_id(lines)
        for line in lines:
            self._line += 1
            begin = self._offset
            self._offset = begin + length(line) + 1
            sealer = self._sealer
            if sealer is not None:
                payload = sealer.open(line)
                entry = payload_codec.read(payload) if payload is not None else None
                if (
                    entry is not None
                    and entry.seq == self._seq + 1
                    and entry.prev == self._digest
                    and entry.log_id == sealer.log_id
                    and entry.key_id == sealer.key_id
                    and entry.kind != KEY_ROTATION
                ):
                    self._seq += 1
                    self._digest = leaf_digest(line)
                    continue
            self._unusual(line, begin)

    def finish(self, end: End) -> Verdict:
        """The verdict, once every complete line was fed."""
        self._close_island(self._line)
        self._settle(None)
        if end.fragment:
            torn = Blame(Fault.TORN, "log.torn", {"size": len(end.fragment)})
            self._ledger.report(self._line + 1, self._offset, self._seq + 1, torn)
        elif self._line == 0:
            self._ledger.report(1, 0, None, Blame(Fault.DELETION, "log.empty"))
        self._gaps.report_all()
        prefix = self._prefix
        if self._first is None and prefix.lines:
            self._ledger.report(1, 0, None, Blame(Fault.UNVERIFIABLE, "log.v2_unsealed", {"n": prefix.lines}))
        return Verdict(
            log_id=self._log_id,
            lines=self._line + bool(end.fragment),
            size=self._offset + len(end.fragment),
            entries=self._entries,
            first_seq=self._first,
            last_seq=None if self._first is None else self._seq,
            head=self._digest or None,
            root=None,
            prefix=SealedPrefix(prefix.lines, prefix.size) if prefix.lines else None,
            findings=self._ledger.in_order(),
            findings_total=self._ledger.faults.total(),
            faults=dict(self._ledger.faults),
            islands=tuple(self._ledger.islands),
            islands_total=self._ledger.islands_total,
            completeness=Completeness(Coverage.UNKNOWN, 0, self._entries),
        )

    def _unusual(self, line: bytes, offset: int) -> None:
        if self._in_prefix:
            if self._prefix.accepts(line):
                self._prefix.add(line)
                return
            self._in_prefix = False
        examined = self._examiner.examine(line, self._line, offset, self._log_id)
        entry, blame = examined.entry, examined.blame
        if blame is not None and not examined.authentic:
            self._close_island(self._line - 1)
            self._await(_Waiting(self._line, offset, None if entry is None else entry.seq, blame))
            return
        assert entry is not None
        if not examined.authentic:
            blame = Blame(Fault.UNVERIFIABLE, "log.unverifiable", {"key_id": entry.key_id})
        if blame is not None:
            self._report_once(entry, blame)
        if entry.seq <= self._seq:
            self._close_island(self._line - 1)
            self._gaps.displaced(entry)
        else:
            self._place(entry, line, authentic=examined.authentic, sound=blame is None)

    def _place(self, entry: Entry, line: bytes, *, authentic: bool, sound: bool) -> None:
        """Set an entry after the last one, and settle what stood between them."""
        self._settle(entry)
        follows = entry.seq == self._seq + 1
        if not follows:
            self._close_island(self._line - 1)
        elif entry.prev != (genesis_prev(entry.log_id) if entry.seq == 0 else self._digest):
            self._close_island(self._line - 1)
            self._blame_link(entry, authentic)
        misuse = self._succession.follow(entry, gap=not follows)
        if misuse is not None:
            self._ledger.report(self._line, entry.offset, entry.seq, misuse)
        if entry.seq == 0:
            self._judge_genesis(entry)
        if self._first is None:
            self._first, self._log_id = entry.seq, entry.log_id
        sound = sound and misuse is None
        if not sound:
            self._close_island(self._line - 1)
        self._seq, self._digest = entry.seq, leaf_digest(line)
        self._last = _Last(self._line, entry.offset, authentic)
        if sound:
            self._open_island(entry)

    def _blame_link(self, entry: Entry, authentic: bool) -> None:
        """The entry has the next number but names another predecessor: blame the one that is not authentic."""
        if entry.seq == 0:
            self._ledger.report(self._line, entry.offset, 0, Blame(Fault.FORMAT, "log.format_genesis"))
        elif authentic and self._last.authentic:
            self._ledger.report(self._line, entry.offset, entry.seq, Blame(Fault.INSERTION, "log.fork"))
        elif self._last.authentic:
            self._ledger.report(self._line, entry.offset, entry.seq, Blame(Fault.EDIT, "log.link_edited"))
        else:
            blame = Blame(Fault.EDIT, "log.not_followed", {"next": self._line})
            self._ledger.report(self._last.line, self._last.offset, self._seq, blame)

    def _judge_genesis(self, entry: Entry) -> None:
        if entry.kind != GENESIS:
            self._ledger.report(self._line, entry.offset, 0, Blame(Fault.FORMAT, "log.format_genesis"))
        sealed = entry.metadata.get("sealed_prefix")
        if sealed is None and self._prefix.lines:
            self._ledger.report(1, 0, None, Blame(Fault.INSERTION, "log.prefix_unsealed", {"n": self._prefix.lines}))
        elif sealed is not None and sealed != self._prefix.seal():
            blame = Blame(Fault.EDIT, "log.prefix_edited", {"last": max(1, self._prefix.lines)})
            self._ledger.report(1, 0, None, blame)

    def _await(self, waiting: _Waiting) -> None:
        if len(self._waiting) < _WAITING:
            self._waiting.append(waiting)
            return
        # A log this broken is not sorted out line by line: the oldest is taken to stand in its place.
        oldest = self._waiting.pop(0)
        self._counted_early += 1
        self._ledger.report(oldest.line, oldest.offset, self._seq + self._counted_early, oldest.blame)
        self._waiting.append(waiting)

    def _settle(self, following: Entry | None) -> None:
        """Decide what the waiting lines were, now that the entry after them is known (None: there is none)."""
        expected = self._seq + 1 + self._counted_early
        for waiting in self._waiting:
            blame, seq = waiting.blame, None
            if following is None:
                seq = waiting.claimed
            elif expected < following.seq and not blame.is_blank:
                claimed = waiting.claimed
                seq = claimed if claimed is not None and expected <= claimed < following.seq else expected
                self._gaps.open(expected, seq - 1, waiting.line, waiting.offset)
                expected = seq + 1
            elif blame.fault is Fault.EDIT:
                blame = replace(blame, fault=Fault.INSERTION, code="log.insertion")
            self._ledger.report(waiting.line, waiting.offset, seq, blame)
        self._waiting.clear()
        self._counted_early = 0
        if following is not None:
            self._gaps.open(expected, following.seq - 1, self._line, following.offset)

    def _report_once(self, entry: Entry, blame: Blame) -> None:
        """What holds for a key holds for all its lines: it is said at the first."""
        if (blame.code, entry.key_id) not in self._said:
            self._said.add((blame.code, entry.key_id))
            self._ledger.report(self._line, entry.offset, entry.seq, blame)

    def _open_island(self, entry: Entry) -> None:
        if self._island is None:
            self._island = (self._line, entry.seq)
        self._sealer = self._examiner.sealer_of(entry.key_id, entry.log_id)

    def _close_island(self, last_line: int) -> None:
        """End the run of lines that verify, if one is open, before the current line."""
        if self._island is not None:
            first_line, first_seq = self._island
            self._entries += self._seq - first_seq + 1
            self._ledger.island(Island(first_line, last_line, first_seq, self._seq))
        self._island = self._sealer = None
