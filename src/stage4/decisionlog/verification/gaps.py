"""Numbers that are missing from the log: deleted, unless their entries turn up later."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

from stage4.decisionlog.verification.blame import Blame
from stage4.decisionlog.verification.ledger import Ledger, Position
from stage4.decisionlog.verification.verdict import Fault

_KEPT = 1000


@dataclass(frozen=True, slots=True)
class _Gap:
    """Entries `first` to `last` did not stand before this line."""

    first: int
    last: int
    at: Position


@dataclass(slots=True)
class Gaps:
    """The open gaps, a bounded number of them: the oldest is reported when there are too many."""

    ledger: Ledger
    _open: list[_Gap] = field(default_factory=list)

    def open(self, first: int, last: int, at: Position) -> None:
        """Entries `first` to `last` are missing before the line at `at`; nothing where the range is empty."""
        if first <= last:
            self._open.append(_Gap(first, last, at))
            if len(self._open) > _KEPT:
                self._report(self._open.pop(0))

    def displaced(self, at: Position, seq: int) -> None:
        """An entry with a number before the last one: moved if it was missing, otherwise replayed."""
        index = bisect_right(self._open, seq, key=lambda gap: gap.first) - 1
        gap = self._open[index] if index >= 0 else None
        if gap is None or seq > gap.last:
            self.ledger.report(at, seq, Blame(Fault.REPLAY, "log.replay"))
            return
        self._open[index : index + 1] = [
            _Gap(first, last, gap.at) for first, last in ((gap.first, seq - 1), (seq + 1, gap.last)) if first <= last
        ]
        self.ledger.report(at, seq, Blame(Fault.REORDER, "log.reorder"))

    def report_all(self) -> None:
        """No more lines come: what is still missing was deleted."""
        for gap in self._open:
            self._report(gap)
        self._open.clear()

    def _report(self, gap: _Gap) -> None:
        blame = Blame(Fault.DELETION, "log.deletion", {"n": gap.last - gap.first + 1, "first": gap.first})
        self.ledger.report(gap.at, gap.first, blame)
