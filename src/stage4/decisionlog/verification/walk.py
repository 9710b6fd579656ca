"""
Walks a log line by line and says where it stops being what was written.

State is the last entry in place: its number and digest. A line that is no entry of this log is pending until the next
one that is. A number that is missing is a deletion until it turns up later, which makes it a reordering; a number that
was already seen is a replay. Memory is bounded.

Lines that were judged in bulk are set in place as one run where they follow; the findings are the same.
"""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from stage4.decisionlog.blocks import Block
from stage4.decisionlog.canonical import MIN_LINE
from stage4.decisionlog.chain import genesis_prev
from stage4.decisionlog.checkpoints.tree import Frontier, leaf
from stage4.decisionlog.entry import CHECKPOINT, GENESIS, Entry
from stage4.decisionlog.filter import Filter
from stage4.decisionlog.logfile import length
from stage4.decisionlog.verification import revocation
from stage4.decisionlog.verification.blame import Blame
from stage4.decisionlog.verification.examine import Examiner
from stage4.decisionlog.verification.gaps import Gaps
from stage4.decisionlog.verification.input import ARCHIVE_MISSING, LIVE_MISSING, InputPart, InputProblem
from stage4.decisionlog.verification.key_uses import KeyUses, Unjudged
from stage4.decisionlog.verification.ledger import KEPT, Ledger, Position
from stage4.decisionlog.verification.opening import Opening
from stage4.decisionlog.verification.pending import Pending
from stage4.decisionlog.verification.run import Judge, Run, Stretch
from stage4.decisionlog.verification.succession import Succession
from stage4.decisionlog.verification.trail import Trail
from stage4.decisionlog.verification.v2 import V2Judge
from stage4.decisionlog.verification.verdict import (
    Completeness,
    Fault,
    Island,
    Mode,
    Part,
    SealedPrefix,
    Verdict,
)

_SOUGHT_LINES = 1000
_SOUGHT_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Start:
    """The entry after which an incremental walk begins, on the caller's trust, and what was known there.

    `lines` of the first part were left out.
    """

    log_id: str
    seq: int
    digest: str
    key_id: str
    frontier: Frontier
    lines: int


@dataclass(frozen=True, slots=True)
class Task:
    """What the caller wants besides the judgement of every line.

    `partial`: entries may be missing before the first one and after the last one.
    """

    trail: Trail = field(default_factory=Trail)
    v2: V2Judge | None = None
    wanted: Filter | None = None
    partial: bool = False
    start: Start | None = None


class Walk:
    """Feed it every block in order, then ask for the verdict."""

    def __init__(self, examiner: Examiner, judge: Judge, parts: Sequence[InputPart], task: Task) -> None:
        self._examiner = examiner
        self._judge = judge
        self._parts = parts
        self._task = task
        self._trail = task.trail
        self._ends = task.trail.sizes()
        self._succession = Succession(None if examiner.keyring is None else examiner.key)
        self._uses = KeyUses()
        self._unjudged = Unjudged()
        self._ledger = Ledger()
        self._gaps = Gaps(self._ledger)
        self._opening = Opening(self._ledger, task.v2, task.wanted)
        self._in_opening = True
        # Lines held back while the genesis entry is looked for, so that foreign lines before it are known as such.
        self._held: list[bytes] | None = []
        self._held_size = 0
        self._begun = False
        self._part = self._line = self._offset = 0
        self._passed: list[tuple[int, int]] = []
        self._log_id: str | None = None
        self._first: int | None = None
        self._seq = -1
        self._digest = ""
        self._frontier: Frontier | None = Frontier()
        self._last, self._last_authentic = Position(0, 0, 0), True
        # The key in force while runs may be set in place, that is inside an island.
        self._key_id: str | None = None
        self._pending = Pending(self._ledger, self._gaps)
        self._island: tuple[int, int] | None = None
        self._entries: Counter[str] = Counter()
        self._matched = 0
        self._said: set[tuple[str, str]] = set()
        if task.start is not None:
            self._begin_after(task.start)

    @property
    def is_under_way(self) -> bool:
        """Whether the beginning of the log is passed, so that runs from other processes can be taken."""
        return self._held is None

    def take(self, block: Block, stretches: Sequence[Stretch] | None = None) -> None:
        """The next block; its lines as stretches where they were judged elsewhere."""
        self._go_to(block.part)
        if not self._begun:
            # An incremental walk begins with a block that others stand before.
            self._begun, self._offset = True, block.offset
        if self._held is None and stretches is not None:
            self._stretches(stretches, block.lines)
        else:
            self._take_lines(block.lines())

    def finish(self, fragment: bytes, problems: Sequence[InputProblem]) -> Verdict:
        """The verdict, once every block was fed; `fragment` stands after the last LF."""
        self._go_to(len(self._parts) - 1)
        self._release()
        self._close_island()
        self._pending.settle(self._seq + 1, None, self._next())
        self._passed.append((self._line, self._offset))
        lines, size = sum(each for each, _ in self._passed), sum(each for _, each in self._passed)
        if fragment:
            torn = Blame(Fault.TORN, "log.torn", {"size": length(fragment)})
            self._ledger.report(self._next(), self._seq + 1, torn)
        elif lines == 0 or (self._opening.judged and lines == self._opening.blank):
            self._ledger.report(Position(0, 1, 0), None, Blame(Fault.DELETION, "log.empty"))
        self._gaps.report_all()
        opening = self._opening
        prefix = opening.prefix
        if self._first is None and prefix.lines and not opening.judged:
            blame = Blame(Fault.UNVERIFIABLE, "log.v2_unsealed", {"n": prefix.lines})
            self._ledger.report(Position(0, 1, 0), None, blame)
        names = self._report_problems(problems)
        start = self._task.start
        last_seq = None if self._first is None and start is None else self._seq
        completeness, (proven, proven_matched) = self._judge_as_a_whole(last_seq)
        if last_seq is None:
            completeness = replace(completeness, uncovered=completeness.uncovered + opening.entries)
        frontier = self._frontier
        return Verdict(
            log_id=self._log_id,
            lines=lines + bool(fragment),
            size=size + length(fragment),
            entries=self._entries.total() + proven,
            first_seq=self._first,
            last_seq=last_seq,
            head=self._digest or None,
            root=b64encode(frontier.root()).decode("ascii") if frontier is not None and frontier.size else None,
            prefix=SealedPrefix(prefix.lines, prefix.size, opening.judged_lines) if prefix.lines else None,
            findings=self._ledger.in_order(names),
            findings_total=self._ledger.faults.total(),
            faults=dict(self._ledger.faults),
            islands=tuple(self._ledger.islands),
            islands_total=self._ledger.islands_total,
            completeness=completeness,
            mode=Mode.FULL if start is None else Mode.INCREMENTAL,
            first_read=0 if start is None else start.seq + 1,
            v2_entries=opening.entries,
            parts=tuple(Part(part.name, *counts) for part, counts in zip(self._parts, self._passed, strict=False)),
            matched=None if self._task.wanted is None else self._matched + proven_matched + opening.matched,
            key_ids=+(self._entries + Counter({opening.key_id: opening.entries})),
            unjudged_key_ids=self._unjudged.key_ids,
            next_key_id=self._succession.key_id,
        )

    def _begin_after(self, start: Start) -> None:
        self._in_opening, self._held = False, None
        self._line = start.lines
        self._log_id, self._seq, self._digest = start.log_id, start.seq, start.digest
        self._succession.key_id = start.key_id
        self._frontier = start.frontier.copy()

    def _go_to(self, part: int) -> None:
        """What comes next stands in that part; those before it are over."""
        while self._part < part:
            self._release()
            self._passed.append((self._line, self._offset))
            self._part, self._line, self._offset = self._part + 1, 0, 0

    def _next(self) -> Position:
        """Where the next line stands."""
        return Position(self._part, self._line + 1, self._offset)

    def _take_lines(self, lines: Sequence[bytes]) -> None:
        if self._in_opening:
            count, size = self._opening.take(lines, self._next())
            self._line, self._offset = self._line + count, self._offset + size
            lines = lines[count:]
            self._in_opening = not lines
        for index, line in enumerate(lines):
            if self._held is None:
                self._judge_here(lines[index:])
                return
            self._hold(self._held, line)

    def _hold(self, held: list[bytes], line: bytes) -> None:
        held.append(line)
        self._held_size += len(line)
        self._log_id = self._examiner.genesis_log_id(line)
        if self._log_id is not None or len(held) >= _SOUGHT_LINES or self._held_size >= _SOUGHT_BYTES:
            self._release()

    def _release(self) -> None:
        """Judge the lines held back; from now on lines are judged as they come."""
        if self._held:
            held, self._held = self._held, []
            self._judge_here(held)
        self._held = None

    def _judge_here(self, lines: Sequence[bytes]) -> None:
        self._stretches(self._judge(lines), lambda: lines)

    def _stretches(self, stretches: Sequence[Stretch], lines_of: Callable[[], Sequence[bytes]]) -> None:
        lines: Sequence[bytes] | None = None
        index = 0
        for stretch in stretches:
            begin, index = index, index + stretch.count
            if isinstance(stretch, Run) and self._follows(stretch):
                self._attach(stretch)
                continue
            if lines is None:
                lines = lines_of()
            if isinstance(stretch, Run):
                self._through(lines[begin:index])
            else:
                self._slowly(lines[begin:index])

    def _slowly(self, lines: Sequence[bytes]) -> None:
        """Lines that are judged one by one, unless they are more rubbish where there was too much of it already."""
        for start in range(0, len(lines), KEPT):
            some = lines[start : start + KEPT]
            if self._pending.is_full and self._ledger.is_full and max(map(len, some)) < MIN_LINE:
                blank = sum(not line.strip() for line in some)
                self._pending.pass_over(len(some) - blank, blank, self._seq + 1)
                self._line, self._offset = self._line + len(some), self._offset + sum(map(len, some)) + len(some)
                continue
            for line in some:
                self._unusual(line)

    def _through(self, lines: Sequence[bytes]) -> None:
        """The lines of a run that does not follow: one by one, until one is in its place, which the others follow."""
        for index, line in enumerate(lines):
            if index and self._key_id is not None:
                for rest in self._judge(lines[index:]):
                    assert isinstance(rest, Run)
                    self._attach(rest)
                return
            self._unusual(line)

    def _follows(self, run: Run) -> bool:
        return (
            self._key_id == run.key_id
            and self._seq + 1 == run.first_seq
            and self._digest == run.first_prev
            and self._log_id == run.log_id
        )

    def _attach(self, run: Run) -> None:
        """Set a run in its place, which is after the last entry."""
        self._uses.add(run.key_id, run.first_seq, run.last_seq, self._next())
        self._entries[run.key_id] += run.count
        self._matched += run.matched
        self._seq, self._digest = run.last_seq, run.last_digest
        if self._frontier is not None:
            self._frontier.extend(run.leaves)
        self._line, self._offset = self._line + run.count, self._offset + run.size
        self._last, self._last_authentic = Position(self._part, self._line, self._offset - run.last_size), True

    def _unusual(self, line: bytes) -> None:
        at = self._next()
        self._line, self._offset = self._line + 1, self._offset + length(line) + 1
        examined = self._examiner.examine(line, at.line, at.offset, self._log_id)
        entry, blame = examined.entry, examined.blame
        if blame is not None and not examined.authentic:
            self._close_island()
            self._pending.add(at, None if entry is None else entry.seq, blame, self._seq + 1)
            return
        assert entry is not None
        if blame is not None:
            self._report_once(entry.key_id, entry.seq, at, blame)
        if entry.seq <= self._seq:
            self._close_island()
            self._gaps.displaced(at, entry.seq)
        else:
            self._place(entry, line, at, authentic=examined.authentic, sound=blame is None)

    def _place(self, entry: Entry, line: bytes, at: Position, *, authentic: bool, sound: bool) -> None:
        """Set an entry after the last one, and settle what stood between them."""
        self._pending.settle(self._seq + 1, entry.seq, at, partial=self._task.partial and self._seq < 0)
        follows = entry.seq == self._seq + 1
        if not follows:
            self._break()
        elif entry.prev != (_first_prev(entry.log_id) if entry.seq == 0 else self._digest):
            self._break()
            self._blame_link(entry, at, authentic)
        misuse = self._succession.follow(entry, gap=not follows)
        if misuse is not None:
            self._ledger.report(at, entry.seq, misuse)
        if entry.seq == 0:
            self._judge_genesis(entry, at)
        elif self._first is None:
            self._judge_prefix(None)
        if self._first is None:
            self._first, self._log_id = entry.seq, entry.log_id
        hashed = leaf(line)
        if self._frontier is not None:
            self._frontier.add(hashed)
        self._seq, self._digest = entry.seq, b64encode(hashed).decode("ascii")
        sound = sound and misuse is None and authentic
        if not sound:
            self._close_island()
        self._last, self._last_authentic = at, authentic
        if sound:
            self._open_island(entry, at)
        self._tell(entry, at, hashed, authentic)

    def _tell(self, entry: Entry, at: Position, hashed: bytes, authentic: bool) -> None:
        """Let those know who follow checkpoints and keys."""
        for blame in self._trail.placed(entry, hashed, self._frontier, authentic):
            self._ledger.report(at, entry.seq, blame)
        if authentic:
            self._uses.add(entry.key_id, entry.seq, entry.seq, at)
        else:
            self._unjudged.add(entry.key_id, entry.seq, at, matched=self._matches(entry))
        if entry.kind == CHECKPOINT:
            self._uses.cut(entry.seq + 1)
            self._unjudged.may_end(entry.seq + 1, self._trail.proven_below)

    def _blame_link(self, entry: Entry, at: Position, authentic: bool) -> None:
        """The entry has the next number but names another predecessor: blame the one that is not authentic."""
        if entry.seq == 0:
            self._ledger.report(at, 0, Blame(Fault.FORMAT, "log.format_genesis"))
        elif authentic and self._last_authentic:
            self._ledger.report(at, entry.seq, Blame(Fault.INSERTION, "log.fork"))
        elif self._last_authentic:
            self._ledger.report(at, entry.seq, Blame(Fault.EDIT, "log.link_edited"))
        else:
            self._ledger.report(self._last, self._seq, Blame(Fault.EDIT, "log.not_followed", {"next": at.line}))

    def _judge_genesis(self, entry: Entry, at: Position) -> None:
        if entry.kind != GENESIS:
            self._ledger.report(at, 0, Blame(Fault.FORMAT, "log.format_genesis"))
        self._judge_prefix(entry.metadata.get("sealed_prefix"))

    def _judge_prefix(self, sealed: object) -> None:
        """Hold the lines of version 2 against what the genesis entry says of them, None where nothing does."""
        prefix = self._opening.prefix
        if sealed is None and prefix.lines:
            blame = Blame(Fault.INSERTION, "log.prefix_unsealed", {"n": prefix.lines})
            self._ledger.report(Position(0, 1, 0), None, blame)
        elif sealed is not None and sealed != prefix.seal():
            blame = Blame(Fault.EDIT, "log.prefix_edited", {"last": max(1, prefix.lines)})
            self._ledger.report(Position(0, 1, 0), None, blame)

    def _report_once(self, key_id: str, seq: int, at: Position, blame: Blame) -> None:
        """What holds for a key holds for all its lines: it is said at the first."""
        if (blame.code, key_id) not in self._said and len(self._said) < KEPT:
            self._said.add((blame.code, key_id))
            self._ledger.report(at, seq, blame)

    def _open_island(self, entry: Entry, at: Position) -> None:
        if self._island is None:
            self._island = (at.line, entry.seq)
        # After a rotation the next entry is under another key.
        self._key_id = entry.key_id if self._succession.key_id == entry.key_id else None
        self._entries[entry.key_id] += 1
        self._matched += self._matches(entry)

    def _matches(self, entry: Entry) -> bool:
        wanted = self._task.wanted
        return wanted is not None and wanted.takes(entry)

    def _close_island(self) -> None:
        """End the run of lines that verify, if one is open; its last line is that of the last entry."""
        if self._island is not None:
            first_line, first_seq = self._island
            self._ledger.island(Island(first_line, self._last.line, first_seq, self._seq))
        self._island = self._key_id = None

    def _break(self) -> None:
        """The chain does not go on here."""
        self._close_island()
        self._frontier = None

    def _judge_as_a_whole(self, last_seq: int | None) -> tuple[Completeness, tuple[int, int]]:
        """What checkpoints and revocations say at the end; how many entries only they prove, and match the filter."""
        verdict = self._trail.finish(self._entries.total() + self._unjudged.count, last_seq, self._frontier is not None)
        for blame in verdict.blames:
            self._ledger.report(max(self._last, Position(0, 1, 0)), last_seq, blame)
        for key_id, seq, at in self._unjudged.remaining(verdict.proven_below):
            self._ledger.report(at, seq, Blame(Fault.UNVERIFIABLE, "log.unverifiable", {"key_id": key_id}))
        ring = self._examiner.ring_after(frozenset(each.revoked for each in verdict.revocations))
        for use, blame in revocation.judge(self._uses, verdict.revocations, ring):
            self._ledger.report(use.at, use.first_seq, blame)
            self._entries[use.key_id] -= use.last_seq - use.first_seq + 1
        return verdict.completeness, self._unjudged.proven(verdict.proven_below)

    def _report_problems(self, problems: Sequence[InputProblem]) -> list[str]:
        """Report what is wrong with the files as such; returns the names by which findings call the parts."""
        names = [part.name for part in self._parts]
        if self._task.partial:
            problems = [each for each in problems if each.code not in (LIVE_MISSING, ARCHIVE_MISSING)]
        for problem in problems:
            if problem.part not in names:
                names.append(problem.part)
            part = names.index(problem.part)
            line = self._passed[part][0] + 1 if part < len(self._passed) else 1
            blame = Blame(Fault.ARCHIVE, problem.code, problem.params)
            self._ledger.report(Position(part, line, problem.offset), None, blame)
        return names if len(names) > 1 else [""]


def _first_prev(log_id: str) -> str | None:
    return genesis_prev(log_id) if log_id.isascii() else None
