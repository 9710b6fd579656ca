"""
What a verification found: two verdicts, every finding with its place, the islands that still verify.

*Integrity* says whether the lines that are there are the lines that were written. *Completeness* says whether
lines are missing from the end, which only a checkpoint kept elsewhere can tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from stage4.errors import ExitCode


class Fault(Enum):
    """The class of a finding."""

    EDIT = "edit"
    DELETION = "deletion"
    REORDER = "reorder"
    INSERTION = "insertion"
    REPLAY = "replay"
    FOREIGN = "foreign"
    KEY_MISUSE = "key_misuse"
    ALGORITHM = "algorithm"
    FORMAT = "format"
    TORN = "torn"
    UNVERIFIABLE = "unverifiable"


class Integrity(Enum):
    """INTACT: every line verifies. UNVERIFIABLE: nothing is wrong, but a secret was not there to judge with."""

    INTACT = "intact"
    BROKEN = "broken"
    TORN = "torn"
    UNVERIFIABLE = "unverifiable"


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault: line (from 1) and byte offset where it shows, the entry number it concerns where that is known."""

    line: int
    offset: int
    seq: int | None
    fault: Fault
    code: str
    params: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Island:
    """A run of lines, first to last, that verify and follow one another."""

    first_line: int
    last_line: int
    first_seq: int
    last_seq: int


@dataclass(frozen=True, slots=True)
class SealedPrefix:
    """The v2 lines before the genesis entry: their count and size in bytes."""

    lines: int
    size: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """The whole answer. `entries` counts the v3 entries that verify and stand in their place.

    `findings` and `islands` are the first ones by line; `findings_total` and `islands_total` count all.
    `uncovered` entries are covered by no checkpoint.
    """

    log_id: str | None
    lines: int
    size: int
    entries: int
    first_seq: int | None
    last_seq: int | None
    head: str | None
    prefix: SealedPrefix | None
    findings: tuple[Finding, ...]
    findings_total: int
    faults: Mapping[Fault, int]
    islands: tuple[Island, ...]
    islands_total: int
    uncovered: int

    @property
    def integrity(self) -> Integrity:
        """The verdict on the lines that are there."""
        if not self.faults:
            return Integrity.INTACT
        if self.faults.keys() == {Fault.UNVERIFIABLE}:
            return Integrity.UNVERIFIABLE
        return Integrity.TORN if self.faults.keys() <= {Fault.TORN, Fault.UNVERIFIABLE} else Integrity.BROKEN

    @property
    def exit_code(self) -> ExitCode:
        """0 intact, 1 broken or torn, 3 where only a secret was missing."""
        match self.integrity:
            case Integrity.INTACT:
                return ExitCode.DONE
            case Integrity.UNVERIFIABLE:
                return ExitCode.CANNOT_TELL
            case _:
                return ExitCode.NO
