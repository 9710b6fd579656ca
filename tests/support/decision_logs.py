"""A decision log in a folder of its own, and what an attacker without its key can do to it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from stage4.clock import Clock
from stage4.decisionlog.chain import Sealer
from stage4.decisionlog.entry import Draft
from stage4.decisionlog.verification.verdict import Finding, Verdict
from stage4.decisionlog.verification.verifier import verify
from stage4.decisionlog.writer import DecisionLog
from stage4.security.keyring import KeyRing, create_keyring
from stage4.testing.clock import ManualClock


def draft(number: int = 1, **changes: object) -> Draft:
    """An entry as an engine would make it."""
    facts: dict[str, object] = {
        "kind": "incident_note",
        "category": "stage4_incident",
        "stage": "L1",
        "status": "recorded",
        "metadata": {"incident_id": "INC-20261123-0001", "note": f"uwaga nr {number} – zażółć", "number": number},
    }
    return Draft(**(facts | changes))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class LogRoom:
    """One log with its key ring and clock."""

    path: Path
    ring: KeyRing
    clock: Clock

    @classmethod
    def create(cls, folder: Path, entries: int = 0, ring: KeyRing | None = None, clock: Clock | None = None) -> LogRoom:
        """A room whose log has a genesis entry and `entries` more; no log at all for 0."""
        clock = clock or ManualClock()
        ring = ring or create_keyring(folder / "secrets" / "keyring.json", clock.now())
        room = cls(folder / "runtime.jsonl", ring, clock)
        if entries:
            room.log().append_many([draft(number) for number in range(1, entries + 1)])
        return room

    def log(self, lock_timeout: float = 2.0) -> DecisionLog:
        return DecisionLog(self.path, self.ring, self.clock, origin="tests", lock_timeout=lock_timeout)

    def lines(self) -> list[bytes]:
        """Lines without LF."""
        return self.path.read_bytes().removesuffix(b"\n").split(b"\n")

    def put(self, lines: list[bytes]) -> None:
        self.path.write_bytes(b"".join(line + b"\n" for line in lines))

    def verify(self, ring: KeyRing | str | None = "own") -> Verdict:
        return verify(self.path, self.ring if isinstance(ring, str) else ring, self.clock)

    def findings(self) -> list[tuple[str, int, int | None]]:
        """Class, line and entry number of each finding."""
        return [(finding.fault.value, finding.line, finding.seq) for finding in self.verify().findings]

    def sealed(self, payload: bytes) -> bytes:
        """A line that a careless holder of the key signed."""
        return Sealer(self.ring.active_key(), self.log_id()).seal(payload)

    def log_id(self) -> str:
        return str(json.loads(self.lines()[0])["log_id"])

    def payload(self, index: int) -> bytes:
        """The signed bytes of a line."""
        return self.lines()[index].rpartition(b',"signature"')[0] + b"}"


def offset_of(lines: list[bytes], number: int) -> int:
    """The byte offset at which line `number` (from 1) begins."""
    return sum(len(line) + 1 for line in lines[: number - 1])


def places(verdict: Verdict) -> list[tuple[int, int]]:
    """Line and byte offset of each finding."""
    return [_place(finding) for finding in verdict.findings]


def _place(finding: Finding) -> tuple[int, int]:
    return finding.line, finding.offset
