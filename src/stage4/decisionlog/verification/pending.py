"""
Faulty lines whose part in the log is not known yet.

The entry after them decides: its number tells whether they stood in place of entries (edited) or were put between them
(inserted), and how many entries are gone.
"""

from __future__ import annotations

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
class Pending:
    """The lines since the last entry in its place, a bounded number of them."""

    ledger: Ledger
    gaps: Gaps
    _lines: list[_Line] = field(default_factory=list)
    _placed: int = 0

    def add(self, at: Position, claimed: int | None, blame: Blame, expected: int) -> None:
        """One more; `expected` is the number that follows the last entry in its place."""
        self._lines.append(_Line(at, claimed, blame))
        if len(self._lines) > _KEPT:
            # A log this broken is not sorted out line by line: the oldest is taken to stand in its place.
            oldest = self._lines.pop(0)
            self.ledger.report(oldest.at, expected + self._placed, oldest.blame)
            self._placed += 1

    @property
    def is_full(self) -> bool:
        """Whether there are so many that not every one is kept."""
        return len(self._lines) >= _KEPT

    def pass_over(self, lines: int, blank: int) -> None:
        """More of them than are worth a look: `lines` that may have stood for entries, and `blank` ones."""
        self._placed += lines
        self.ledger.faults[Fault.FORMAT] += lines + blank

    def settle(self, expected: int, following: int | None, at: Position, *, partial: bool = False) -> None:
        """Report them now that entry `following` stands at `at` (None: there is none); `expected` as in `add`.

        `partial`: entries may be missing before the first of them, so they stood right before `following`.
        """
        expected += self._placed
        if partial and following is not None:
            expected = max(expected, following - sum(not line.blame.is_blank for line in self._lines))
        for line in self._lines:
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
        self._placed = 0
        if following is not None:
            self.gaps.open(expected, following - 1, at)
