"""Numbers that are missing from the log: deleted, unless their entries turn up later."""

from __future__ import annotations

from dataclasses import dataclass, field

from stage4.decisionlog.entry import Entry
from stage4.decisionlog.verification.blame import Blame
from stage4.decisionlog.verification.ledger import Ledger
from stage4.decisionlog.verification.verdict import Fault

_KEPT = 1000


@dataclass(frozen=True, slots=True)
class _Gap:
    """Entries `first` to `last` did not stand before this line."""

    first: int
    last: int
    line: int
    offset: int


@dataclass(slots=True)
class Gaps:
    """The open gaps, a bounded number of them: the oldest is reported when there are too many."""

    ledger: Ledger
    _open: list[_Gap] = field(default_factory=list)

    def open(self, first: int, last: int, line: int, offset: int) -> None:
        """Entries `first` to `last` are missing before `line`; nothing where the range is empty."""
        if first <= last:
            self._open.append(_Gap(first, last, line, offset))
            if len(self._open) > _KEPT:
                self._report(self._open.pop(0))

    def displaced(self, entry: Entry) -> None:
        """An entry with a number before the last one: moved if it was missing, otherwise replayed."""
        for index, gap in enumerate(self._open):
            if gap.first <= entry.seq <= gap.last:
                self._open[index : index + 1] = [
                    _Gap(first, last, gap.line, gap.offset)
                    for first, last in ((gap.first, entry.seq - 1), (entry.seq + 1, gap.last))
                    if first <= last
                ]
                self.ledger.report(entry.line, entry.offset, entry.seq, Blame(Fault.REORDER, "log.reorder"))
                return
        self.ledger.report(entry.line, entry.offset, entry.seq, Blame(Fault.REPLAY, "log.replay"))

    def report_all(self) -> None:
        """No more lines come: what is still missing was deleted."""
        for gap in self._open:
            self._report(gap)
        self._open.clear()

    def _report(self, gap: _Gap) -> None:
        blame = Blame(Fault.DELETION, "log.deletion", {"n": gap.last - gap.first + 1, "first": gap.first})
        self.ledger.report(gap.line, gap.offset, gap.first, blame)
