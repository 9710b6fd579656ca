"""
Faulty lines whose part in the log is not known yet.

The entry after them decides: its number tells whether they stood in place of entries (edited) or were put between them
(inserted), and how many entries are gone.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace

from stage4.decisionlog.verification.blame import Blame
from stage4.decisionlog.verification.gaps import Gaps
from stage4.decisionlog.verification.ledger import Ledger, Position
from stage4.decisionlog.verification.verdict import Fault

_KEPT = 1000


@dataclass(frozen=True, slots=True)
class _Line:
    """`claimed` is the number that the line gives itself."""

    at: Position
    claimed: int | None
    blame: Blame


@dataclass(slots=True)
class _Passed:
    """Lines that were counted at once: `kept` of them would be kept, `places` of all may have stood for entries."""

    kept: int
    places: int


@dataclass(slots=True)
class Pending:
    """The lines since the last entry in its place, a bounded number of them."""

    ledger: Ledger
    gaps: Gaps
    _lines: deque[_Line | _Passed] = field(default_factory=deque)
    _kept: int = 0
    _placed: int = 0

    def add(self, at: Position, claimed: int | None, blame: Blame, expected: int) -> None:
        """One more; `expected` is the number that follows the last entry in its place."""
        self._lines.append(_Line(at, claimed, blame))
        self._kept += 1
        self._let_go(expected)

    @property
    def is_full(self) -> bool:
        """Whether there are so many that not every one is kept."""
        return self._kept >= _KEPT

    def pass_over(self, lines: int, blank: int, expected: int) -> None:
        """More of them than are worth a look: `lines` that may have stood for entries, and `blank` ones."""
        self.ledger.faults[Fault.FORMAT] += lines + blank
        self._lines.append(_Passed(lines + blank, lines))
        self._kept += lines + blank
        self._let_go(expected)

    def _let_go(self, expected: int) -> None:
        """A log this broken is not sorted out line by line: the oldest are taken to stand in their place."""
        while self._kept > _KEPT:
            oldest = self._lines[0]
            if isinstance(oldest, _Line):
                self.ledger.report(oldest.at, None if oldest.blame.is_blank else expected + self._placed, oldest.blame)
                self._placed += not oldest.blame.is_blank
                going = 1
            else:
                # Nothing that claims a number stands before them any more, so their order does not matter.
                self._placed, oldest.places = self._placed + oldest.places, 0
                going = min(oldest.kept, self._kept - _KEPT)
                oldest.kept -= going
            self._kept -= going
            if isinstance(oldest, _Line) or not oldest.kept:
                self._lines.popleft()

    def settle(self, expected: int, following: int | None, at: Position, *, partial: bool = False) -> None:
        """Report them now that entry `following` stands at `at` (None: there is none); `expected` as in `add`.

        `partial`: entries may be missing before the first of them, so they stood right before `following`.
        """
        expected += self._placed
        if partial and following is not None:
            expected = max(expected, following - sum(map(_places, self._lines)))
        for line in self._lines:
            if isinstance(line, _Passed):
                expected = max(expected, min(expected + line.places, following or 0))
                continue
            blame, seq = line.blame, None
            if following is None:
                seq = line.claimed
            elif expected < following and not blame.is_blank:
                claimed = line.claimed
                seq = claimed if claimed is not None and expected <= claimed < following else expected
                self.gaps.open(expected, seq - 1, line.at)
                expected = seq + 1
            elif blame.fault is Fault.EDIT:
                blame = replace(blame, fault=Fault.INSERTION, code="log.insertion")
            self.ledger.report(line.at, seq, blame)
        self._lines.clear()
        self._kept = self._placed = 0
        if following is not None:
            self.gaps.open(expected, following - 1, at)


def _places(line: _Line | _Passed) -> int:
    return min(line.kept, line.places) if isinstance(line, _Passed) else not line.blame.is_blank
