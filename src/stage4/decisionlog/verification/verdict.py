"""
What a verification found: two verdicts, every finding with its place, the islands that still verify.

*Integrity* says whether the lines that are there are the lines that were written. *Completeness* says whether
lines are missing from the end, which only a checkpoint kept elsewhere can tell. No verdict is called complete: a
checkpoint vouches for the entries it covers, and the entries after it are counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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
    ARCHIVE = "archive"
    TORN = "torn"
    UNVERIFIABLE = "unverifiable"
    # Completeness: a checkpoint saw more entries, another history, or is itself not what it should be.
    TRUNCATION = "truncation"
    ROLLBACK = "rollback"
    CHECKPOINT = "checkpoint"


_OF_COMPLETENESS = frozenset({Fault.TRUNCATION, Fault.ROLLBACK, Fault.CHECKPOINT})


class Integrity(Enum):
    """INTACT: every line verifies. UNVERIFIABLE: nothing is wrong, but a secret was not there to judge with."""

    INTACT = "intact"
    BROKEN = "broken"
    TORN = "torn"
    UNVERIFIABLE = "unverifiable"


class Coverage(Enum):
    """The verdict on completeness.

    UNKNOWN: no checkpoint. COVERED: the newest checkpoint fits, and its entries are all there. TRUNCATED: a
    checkpoint saw more entries than there are. CONTRADICTED: a checkpoint saw other entries, or cannot be trusted.
    """

    UNKNOWN = "unknown"
    COVERED = "covered"
    TRUNCATED = "truncated"
    CONTRADICTED = "contradicted"


class Mode(Enum):
    """FULL: every line was read and judged. INCREMENTAL: only the lines after a checkpoint that the caller trusts."""

    FULL = "full"
    INCREMENTAL = "incremental"


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault: line (from 1) and byte offset where it shows, the entry number it concerns where that is known.

    `part` names the file of a log in several parts; line and offset count from its beginning, uncompressed.
    """

    line: int
    offset: int
    seq: int | None
    fault: Fault
    code: str
    params: Mapping[str, object]
    part: str = ""


@dataclass(frozen=True, slots=True)
class Island:
    """A run of lines, first to last, that verify and follow one another; the lines count in their own parts."""

    first_line: int
    last_line: int
    first_seq: int
    last_seq: int


@dataclass(frozen=True, slots=True)
class SealedPrefix:
    """The v2 lines before the genesis entry: their count and size in bytes.

    `judged` of them had their own signatures judged, with the v2 key that was given.
    """

    lines: int
    size: int
    judged: int = 0


@dataclass(frozen=True, slots=True)
class Completeness:
    """`covered` entries are vouched for by the newest fitting checkpoint, `uncovered` ones by none.

    `checkpoints` fitted. `pinned`: the first checkpoint key was pinned by the caller, so that the keys of this
    machine alone could not have made the checkpoints. `own`: the trust begins with a checkpoint that the caller keeps
    himself. Otherwise they vouch no further than the machine is trusted.
    """

    coverage: Coverage
    covered: int
    uncovered: int
    checkpoints: int = 0
    pinned: bool = False
    own: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """One file of the log: its name, lines and uncompressed bytes."""

    name: str
    lines: int
    size: int


@dataclass(frozen=True, slots=True)
class Unmet:
    """A requirement of the caller that the log does not meet: a code of the catalogue and its parameters."""

    code: str
    params: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The whole answer. `entries` counts the v3 entries that verify and stand in their place, `v2_entries` those of v2.

    `findings` and `islands` are the first ones by line; `findings_total` and `islands_total` count all. `root` is
    the RFC 6962 tree head (base64) over the entries 0 to `last_seq`, None where the log is broken before its end.
    `matched` counts the entries that the caller's filters let through, None without filters. `first_read` is the
    first entry that was read in INCREMENTAL mode. `key_ids` counts the entries that verify by the id of their key,
    those of v2 without an id under ""; `unjudged_key_ids` are named by entries that no secret was there to judge.
    `next_key_id` has to sign the entry after the last one.
    """

    log_id: str | None
    lines: int
    size: int
    entries: int
    first_seq: int | None
    last_seq: int | None
    head: str | None
    root: str | None
    prefix: SealedPrefix | None
    findings: tuple[Finding, ...]
    findings_total: int
    faults: Mapping[Fault, int]
    islands: tuple[Island, ...]
    islands_total: int
    completeness: Completeness
    mode: Mode = Mode.FULL
    first_read: int = 0
    v2_entries: int = 0
    parts: tuple[Part, ...] = ()
    matched: int | None = None
    key_ids: Mapping[str, int] = field(default_factory=dict)
    unjudged_key_ids: tuple[str, ...] = ()
    next_key_id: str | None = None
    unmet: tuple[Unmet, ...] = field(default=())

    @property
    def integrity(self) -> Integrity:
        """The verdict on the lines that are there."""
        faults = self.faults.keys() - _OF_COMPLETENESS
        if not faults:
            return Integrity.INTACT
        if faults == {Fault.UNVERIFIABLE}:
            return Integrity.UNVERIFIABLE
        return Integrity.TORN if faults <= {Fault.TORN, Fault.UNVERIFIABLE} else Integrity.BROKEN

    @property
    def exit_code(self) -> ExitCode:
        """1 where anything is wrong, missing or not as required; else 3 where only a secret was missing; else 0."""
        failed = self.completeness.coverage in (Coverage.TRUNCATED, Coverage.CONTRADICTED) or bool(self.unmet)
        match self.integrity:
            case Integrity.BROKEN | Integrity.TORN:
                return ExitCode.NO
            case Integrity.UNVERIFIABLE:
                return ExitCode.NO if failed else ExitCode.CANNOT_TELL
            case Integrity.INTACT:
                return ExitCode.NO if failed else ExitCode.DONE
