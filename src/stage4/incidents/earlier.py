"""Finds the audit report that L2.1 compares the fresh one with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from stage4.errors import Unavailable
from stage4.incidents.commands import document_of
from stage4.incidents.evidence import Artefact, EvidenceStore

# The newest report of a real audit that was kept before an instant and may be believed; None where there is none.
KeptAudit = Callable[[datetime], Mapping[str, object] | None]


def no_kept_audit(before: datetime) -> Mapping[str, object] | None:
    """Of a desk that keeps no reports."""
    return None


def earlier_report(
    kept_audit: KeptAudit, evidence: EvidenceStore, artefacts: Sequence[Artefact], onset: datetime
) -> Mapping[str, object] | None:
    """This incident's L1.2 report, else the newest one from before onset, or None. Never the fresh one itself."""
    own = [each.sha256 for each in artefacts if each.step == "L1.2" and each.role == "report"]
    for sha256 in reversed(own):
        try:
            document = document_of(evidence.read(sha256))
        except Unavailable:
            continue
        # An audit that only says why it failed holds nothing to compare with.
        if document is not None and isinstance(document.get("results"), list):
            return document
    return kept_audit(onset)
