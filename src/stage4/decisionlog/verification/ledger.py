"""Collects findings and islands, a bounded number of each, while a log passes by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from stage4.decisionlog.verification.blame import Blame
from stage4.decisionlog.verification.verdict import Fault, Finding, Island

KEPT = 1000


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A line of the log: number of its part (from 0), line (from 1) and byte offset in that part."""

    part: int
    line: int
    offset: int


@dataclass(slots=True)
class Ledger:
    """What was found so far; memory stays bounded however broken the log is."""

    findings: list[tuple[Position, int | None, Blame]] = field(default_factory=list)
    faults: Counter[Fault] = field(default_factory=Counter)
    islands: list[Island] = field(default_factory=list)
    islands_total: int = 0

    @property
    def is_full(self) -> bool:
        """Whether further findings are counted and not kept."""
        return len(self.findings) >= KEPT

    def report(self, at: Position, seq: int | None, blame: Blame) -> None:
        """Count a finding, and keep it while there is room."""
        self.faults[blame.fault] += 1
        if len(self.findings) < KEPT:
            self.findings.append((at, seq, blame))

    def island(self, island: Island) -> None:
        """Count an island, and keep it while there is room."""
        self.islands_total += 1
        if len(self.islands) < KEPT:
            self.islands.append(island)

    def in_order(self, parts: Sequence[str]) -> tuple[Finding, ...]:
        """The kept findings by part and line, and on one line by entry number; `parts` names the parts."""
        found = sorted(self.findings, key=lambda each: (each[0].part, each[0].line, each[1] is None, each[1] or 0))
        return tuple(
            Finding(at.line, at.offset, seq, blame.fault, blame.code, blame.params, parts[at.part])
            for at, seq, blame in found
        )
