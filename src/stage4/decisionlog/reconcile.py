"""
Entries whose decision never came into force.

An engine appends its decision to the log before it commits to its database, so a crash between the two leaves
an entry that says what was decided and never happened. At start the engine appends a `void` entry for each of
its own: the log is never rewritten, it is continued.
"""

from __future__ import annotations

from stage4.decisionlog.entry import VOID, Draft, Entry


def void_draft(entry: Entry, decision_id: str, engine: str) -> Draft:
    """The entry that takes `entry` back, whose decision the database of `engine` does not know."""
    metadata: dict[str, object] = {
        "decision_id": decision_id,
        "engine": engine,
        "voided_kind": entry.kind,
        "voided_seq": entry.seq,
    }
    incident_id = entry.metadata.get("incident_id")
    if isinstance(incident_id, str):
        metadata["incident_id"] = incident_id
    return Draft(VOID, entry.category, "log", "void", metadata=metadata)
