"""Finds the audit report that L2.1 compares the fresh one with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from stage4.errors import Unavailable
from stage4.incidents.commands import document_of
from stage4.incidents.evidence import Artefact, EvidenceStore


def earlier_report(
    root: Path, evidence: EvidenceStore, artefacts: Sequence[Artefact], onset: datetime
) -> Mapping[str, object] | None:
    """This incident's L1.2 report, else the newest one from before onset, or None. Never the fresh one itself."""
    from stage4.audit import store

    own = [each.sha256 for each in artefacts if each.step == "L1.2" and each.role == "report"]
    for sha256 in reversed(own):
        try:
            document = document_of(evidence.read(sha256))
        except Unavailable:
            continue
        # An audit that only says why it failed holds nothing to compare with.
        if document is not None and isinstance(document.get("results"), list):
            return document
    found = store.newest(root, onset, what_if=False)
    return found[1] if found else None
