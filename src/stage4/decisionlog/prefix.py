"""
A v2 log that was continued: the v3 genesis entry seals everything before it by digest.

The seal proves that the old lines are the bytes that stood there when v3 began. It does not judge their own
signatures.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stage4.decisionlog.canonical import MAX_LINE
from stage4.decisionlog.logfile import length

_V2_MEMBERS = frozenset({"timestamp", "stage", "status"})
_V3_MEMBERS = frozenset({"v", "seq", "prev", "log_id"})


def is_v2(line: bytes) -> bool:
    """Whether a line may stand in a v2 prefix: an object without any member of v3, or blank."""
    if not line.strip():
        return True
    members = _members(line)
    return members is not None and not _V3_MEMBERS & members.keys()


def begins_v2(line: bytes) -> bool:
    """Whether a line that may stand in a v2 prefix is an entry by its members, and no JSON document of this product."""
    members = _members(line) or {}
    named = any(isinstance(members.get(name), str) for name in ("event", "kind"))
    return "schema" not in members and (named or members.keys() >= _V2_MEMBERS)


def _members(line: bytes) -> dict[str, object] | None:
    try:
        members = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return members if isinstance(members, dict) else None


@dataclass(slots=True)
class Prefix:
    """Counts and digests v2 lines as they pass."""

    lines: int = 0
    size: int = 0
    _digest: Any = field(default_factory=hashlib.sha256)

    def accepts(self, line: bytes) -> bool:
        """Whether `line` may come next: of bounded length, and not blank at the very beginning of the file."""
        return len(line) <= MAX_LINE and is_v2(line) and bool(self.lines or line.strip())

    def add(self, line: bytes) -> None:
        """One line without its LF."""
        self.lines += 1
        self.size += length(line) + 1
        self._digest.update(line + b"\n")

    def add_lines(self, count: int, content: bytes) -> None:
        """Several lines, each with its LF."""
        self.lines += count
        self.size += len(content)
        self._digest.update(content)

    def seal(self) -> Mapping[str, object]:
        """What a genesis entry says of the lines so far."""
        return {"bytes": self.size, "lines": self.lines, "sha256": self._digest.hexdigest()}
