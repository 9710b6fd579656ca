"""Finds the audit report that L2.1 compares the fresh one with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path

from stage4.errors import Unavailable
from stage4.files import read_limited
from stage4.incidents.commands import document_of
from stage4.incidents.evidence import Artefact, EvidenceStore

ACCEPTANCE = Path("var/audit/acceptance")
REPORT = Path("stage4_support/compliance.json")
REPORT_LIMIT = 16 << 20


def earlier_report(
    root: Path, evidence: EvidenceStore, artefacts: Iterable[Artefact], onset: datetime
) -> Mapping[str, object] | None:
    """This incident's L1.2 report, else the newest one from before onset, or None. Never the fresh one itself."""
    own = [each.sha256 for each in artefacts if each.step == "L1.2" and each.role == "report"]
    for sha256 in reversed(own):
        try:
            return document_of(evidence.read(sha256))
        except Unavailable:
            continue
    limit = onset.strftime("%Y%m%dT%H%M%SZ")
    runs = sorted((each for each in (root / ACCEPTANCE).glob("*") if each.name[:16] < limit), reverse=True)
    for run in runs:
        try:
            return document_of(read_limited(run / REPORT, REPORT_LIMIT))
        except Unavailable:
            continue
    return None
