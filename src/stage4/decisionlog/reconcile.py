"""
Entries whose decision never came into force.

An engine appends its decision to the log before it commits to its database, so a crash between the two leaves
an entry that says what was decided and never happened. At start the engine appends a `void` entry for each of
its own: the log is never rewritten, it is continued.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stage4.decisionlog.entry import VOID, Draft
from stage4.decisionlog.reading import entries


@dataclass(frozen=True, slots=True)
class Orphan:
    """An entry of an engine whose decision its database does not know."""

    seq: int
    line: int
    kind: str
    category: str
    decision_id: str
    incident_id: str | None


def orphans(path: Path, engine: str, known: Callable[[str], bool]) -> list[Orphan]:
    """The entries of `engine` (by metadata `engine` and `decision_id`) that are neither known nor void already."""
    found: dict[str, Orphan] = {}
    for entry in entries(path):
        decision = entry.metadata.get("decision_id")
        if entry.metadata.get("engine") != engine or not isinstance(decision, str):
            continue
        if entry.kind == VOID:
            found.pop(decision, None)
        elif not known(decision):
            incident = entry.metadata.get("incident_id")
            found[decision] = Orphan(
                entry.seq,
                entry.line,
                entry.kind,
                entry.category,
                decision,
                incident if isinstance(incident, str) else None,
            )
    return list(found.values())


def void_draft(orphan: Orphan, engine: str) -> Draft:
    """The entry that takes an orphan back."""
    metadata: dict[str, object] = {
        "decision_id": orphan.decision_id,
        "engine": engine,
        "voided_kind": orphan.kind,
        "voided_seq": orphan.seq,
    }
    if orphan.incident_id is not None:
        metadata["incident_id"] = orphan.incident_id
    return Draft(VOID, orphan.category, "log", "void", metadata=metadata)
