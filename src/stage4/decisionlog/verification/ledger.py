"""Collects findings and islands, a bounded number of each, while a log passes by."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from stage4.decisionlog.verification.blame import Blame
from stage4.decisionlog.verification.verdict import Fault, Finding, Island

KEPT = 1000


@dataclass(slots=True)
class Ledger:
    """What was found so far; memory stays bounded however broken the log is."""

    findings: list[Finding] = field(default_factory=list)
    faults: Counter[Fault] = field(default_factory=Counter)
    islands: list[Island] = field(default_factory=list)
    islands_total: int = 0

    def report(self, line: int, offset: int, seq: int | None, blame: Blame) -> None:
        """Count a finding, and keep it while there is room."""
        self.faults[blame.fault] += 1
        if len(self.findings) < KEPT:
            self.findings.append(Finding(line, offset, seq, blame.fault, blame.code, blame.params))

    def island(self, island: Island) -> None:
        """Count an island, and keep it while there is room."""
        self.islands_total += 1
        if len(self.islands) < KEPT:
            self.islands.append(island)

    def in_order(self) -> tuple[Finding, ...]:
        """The kept findings by line, and on one line by entry number."""
        return tuple(sorted(self.findings, key=lambda finding: (finding.line, finding.seq is None, finding.seq or 0)))
