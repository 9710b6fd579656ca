"""
When each key and certificate was last replaced, and whether that is long ago.

The registry is the field's flat JSON object, `{"core-oem::tls_ca": "2026-11-23T09:42:01Z", ...}`: key and
purpose joined by `::`, both in lower case, instants in UTC. A row that cannot be read is kept and named in
`RotationRegistry.problems`; it is never taken for a rotation.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final

from stage4 import files
from stage4.clock import format_instant, parse_instant
from stage4.errors import UsageError

SEPARATOR: Final = "::"
_LONGEST_NAME: Final = 128
_MODE: Final = 0o644
_FIRST: Final = datetime(2000, 1, 1, tzinfo=UTC)
_LAST: Final = datetime.max.replace(microsecond=0, tzinfo=UTC)


class RotationState(StrEnum):
    """How a rotation stands: `MISSING` was never recorded, `FUTURE` is dated after now."""

    FRESH = "fresh"
    DUE = "due"
    OVERDUE = "overdue"
    MISSING = "missing"
    FUTURE = "future"


@dataclass(frozen=True, slots=True)
class Rotation:
    """The judgement of one key: its state, the instant it falls due, and the time left (negative when over)."""

    state: RotationState
    due_at: datetime | None = None
    left: timedelta | None = None


@dataclass(frozen=True, slots=True)
class RegistryProblem:
    """A row that could not be read; `reason` is a catalogue code."""

    row: str
    reason: str


@dataclass(frozen=True, slots=True)
class RotationRegistry:
    """The rotations on record, by (key, purpose) in lower case."""

    rotated_at: Mapping[tuple[str, str], datetime] = field(default_factory=dict)
    problems: tuple[RegistryProblem, ...] = ()
    _kept: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> RotationRegistry:
        """
        Read the registry.

        Raises Unavailable `files.missing` and the like, UsageError `files.bad_json`, or UsageError
        `security.registry_not_an_object`.
        """
        rows = files.read_json(path)
        if not isinstance(rows, dict):
            raise UsageError("security.registry_not_an_object", path=path)
        rotated_at: dict[tuple[str, str], datetime] = {}
        problems: list[RegistryProblem] = []
        kept: dict[str, object] = {}
        for row, value in rows.items():
            reason = _add(rotated_at, row, value)
            if reason is not None:
                problems.append(RegistryProblem(row, reason))
                kept[row] = value
        return cls(rotated_at, tuple(problems), kept)

    def get(self, key: str, purpose: str) -> datetime | None:
        """When `key` was last rotated for `purpose`, or None where no row says so."""
        return self.rotated_at.get((key.lower(), purpose.lower()))

    def record(self, key: str, purpose: str, at: datetime) -> RotationRegistry:
        """The registry with one more rotation, which replaces an earlier one of the same key and purpose."""
        if not _is_name(key) or not _is_name(purpose):
            raise UsageError("security.registry_bad_name", key=key, purpose=purpose)
        name = (key.lower(), purpose.lower())
        # A row of the same key that could not be read, or stood twice, is replaced with it.
        problems = tuple(problem for problem in self.problems if _name(problem.row) != name)
        kept = {row: value for row, value in self._kept.items() if _name(row) != name}
        return replace(self, rotated_at={**self.rotated_at, name: at.astimezone(UTC)}, problems=problems, _kept=kept)

    def write(self, path: Path) -> None:
        """Replace the file in one step, with the mode it had; rows that could not be read stay as they were."""
        rows: dict[str, object] = {
            SEPARATOR.join(name): format_instant(at) for name, at in sorted(self.rotated_at.items())
        }
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except OSError:
            mode = _MODE
        files.write_json(path, {**self._kept, **rows}, mode)


def judge(last: datetime | None, interval_days: float, warn_days: float, now: datetime) -> Rotation:
    """
    How a rotation at `last` stands at `now`.

    Due from `warn_days` before the interval ends, overdue only after it has ended: exactly at its end is due. A
    window that is not shorter than the interval makes it due from its first day on.
    """
    if last is None:
        return Rotation(RotationState.MISSING)
    try:
        due_at = last + timedelta(days=interval_days)
    except OverflowError:
        due_at = _LAST
    left = due_at - now
    if last > now:
        return Rotation(RotationState.FUTURE, due_at, left)
    if left < timedelta(0):
        return Rotation(RotationState.OVERDUE, due_at, left)
    if left / timedelta(days=1) <= warn_days:
        return Rotation(RotationState.DUE, due_at, left)
    return Rotation(RotationState.FRESH, due_at, left)


def always_due(interval_days: float, warn_days: float) -> bool:
    """Whether a key is due from its first day on, because the warning window is not shorter than the interval."""
    return judge(_FIRST, interval_days, warn_days, _FIRST).state is RotationState.DUE


def shown(row: str) -> str:
    """The name of a row that could not be read, as it may stand in a message: one line, no control characters."""
    printable = "".join(letter if letter.isprintable() else "\ufffd" for letter in row)
    return printable if len(printable) <= _LONGEST_NAME else printable[:_LONGEST_NAME] + "…"


def _is_name(text: str) -> bool:
    return 0 < len(text) <= _LONGEST_NAME and text.isprintable() and SEPARATOR not in text


def _name(row: str) -> tuple[str, str]:
    key, _, purpose = row.partition(SEPARATOR)
    return key.lower(), purpose.lower()


def _add(rotated_at: dict[tuple[str, str], datetime], row: str, value: object) -> str | None:
    """Put one row in, or say by a code why it cannot be read."""
    key, separator, purpose = row.partition(SEPARATOR)
    if not separator or not _is_name(key) or not _is_name(purpose):
        return "security.registry_row_name"
    name = (key.lower(), purpose.lower())
    if name in rotated_at:
        return "security.registry_row_twice"
    if not isinstance(value, str):
        return "security.registry_row_instant"
    try:
        rotated_at[name] = parse_instant(value)
    except UsageError:
        return "security.registry_row_instant"
    return None
