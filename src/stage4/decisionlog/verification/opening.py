"""The v2 lines before the genesis entry, or a whole v2 file: sealed by digest, and judged where their key was given."""

from __future__ import annotations

from collections.abc import Sequence

from stage4.decisionlog.canonical import MAX_LINE
from stage4.decisionlog.filter import Filter
from stage4.decisionlog.logfile import length
from stage4.decisionlog.prefix import Prefix, is_v2
from stage4.decisionlog.verification.blame import Blame
from stage4.decisionlog.verification.ledger import Ledger, Position
from stage4.decisionlog.verification.v2 import V2Judge
from stage4.decisionlog.verification.verdict import Fault

_V3_NAMES = (b'"v"', b'"seq"', b'"prev"', b'"log_id"')


class Opening:
    """Takes lines as long as they belong before a log of version 3; `entries` of them verify, `matched` the filter.

    `blank` lines are none.
    """

    def __init__(self, ledger: Ledger, judge: V2Judge | None, wanted: Filter | None) -> None:
        self._ledger = ledger
        self._judge = judge
        self._wanted = wanted
        self.prefix = Prefix()
        self.judged = judge is not None
        self.entries = 0
        self.matched = 0
        self.blank = 0

    @property
    def judged_lines(self) -> int:
        """How many of the lines had their own signatures judged."""
        return self.prefix.lines if self.judged else 0

    @property
    def key_id(self) -> str:
        """The id of the key of the entries that verify, "" where they name none."""
        return (self._judge.key_id if self._judge is not None else None) or ""

    def take(self, lines: Sequence[bytes], at: Position) -> tuple[int, int]:
        """How many of the lines, of which the first stands at `at`, belong here, and their bytes with LFs."""
        begin = self.prefix.size
        if self._judge is not None and self.prefix.lines and (content := _surely_old(lines)) is not None:
            self.prefix.add_lines(len(lines), content)
            self._judge_all(self._judge, lines, at)
            return len(lines), len(content)
        taken: list[bytes] = []
        for line in lines:
            if not self._belongs(line, Position(at.part, at.line + len(taken), at.offset + self.prefix.size - begin)):
                break
            self.prefix.add(line)
            taken.append(line)
        if self._judge is not None and taken:
            self._judge_all(self._judge, taken, at)
        return len(taken), self.prefix.size - begin

    def _belongs(self, line: bytes, at: Position) -> bool:
        prefix = self.prefix
        if prefix.lines == 0:
            return prefix.accepts(line) or (self._judge is not None and not line.strip())
        unlike_v3 = not any(name in line for name in _V3_NAMES)
        if self._judge is not None:
            # The judge reads the line anyway, and says what is wrong with it.
            return unlike_v3 or (len(line) <= MAX_LINE and is_v2(line))
        if prefix.accepts(line):
            return True
        if unlike_v3:
            # One bad line among the old ones does not turn those after it into bad entries of version 3.
            blame = Blame(Fault.FORMAT, "log.format_long" if len(line) > MAX_LINE else "log.format_syntax")
            self._ledger.report(at, None, blame)
        return unlike_v3

    def _judge_all(self, judge: V2Judge, lines: Sequence[bytes], first: Position) -> None:
        self.blank += sum(not line.strip() for line in lines)
        judged = judge.judge(lines, self._wanted)
        self.entries += judged.entries
        self.matched += judged.matched
        passed, offset = 0, first.offset
        for index, blame in judged.blames:
            offset += sum(length(line) + 1 for line in lines[passed:index])
            passed = index
            self._ledger.report(Position(first.part, first.line + index, offset), None, blame)


def _surely_old(lines: Sequence[bytes]) -> bytes | None:
    """The lines as they stand in the file, where none of them can be taken for an entry of version 3."""
    if not lines or max(map(len, lines)) > MAX_LINE:
        return None
    content = b"\n".join((*lines, b""))
    return None if any(name in content for name in _V3_NAMES) else content
