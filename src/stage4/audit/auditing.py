"""The two audits, and one run of either: from an installation to its document."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from stage4 import ids
from stage4.audit import baseline, report, store
from stage4.audit.collect import collect
from stage4.audit.comparison import Comparison, compare
from stage4.audit.controls import BASELINE, CONTROLS
from stage4.audit.evidence import Evidence
from stage4.audit.evidence_live import Live
from stage4.audit.finding import Control
from stage4.audit.policy import Policy
from stage4.audit.report import Report
from stage4.clock import Clock
from stage4.config import CORE, Installation

Sections = Callable[[Report, Evidence, Policy], dict[str, object]]


@dataclass(frozen=True, slots=True)
class Audit:
    """One of the two audits: what it judges, and how its document is called."""

    schema: str
    file_name: str
    controls: tuple[Control, ...]
    sections: Sections | None = None


COMPLIANCE: Final = Audit(report.SCHEMA, store.COMPLIANCE, CONTROLS)
SECURITY_BASELINE: Final = Audit(baseline.SCHEMA, baseline.DOCUMENT, BASELINE, baseline.sections)


def audited(
    audit: Audit,
    installation: Installation,
    policy: Policy,
    *,
    config: Path | None,
    environ: Mapping[str, str],
    clock: Clock,
    at: datetime | None = None,
    fail_on_warn: bool = False,
    live: Live | None = None,
) -> tuple[Report, dict[str, object]]:
    """Collect and judge as of `at` (default: now): the report, and the document it makes.

    `config` is the settings file that was named instead of the installation's own, `live` what a probe saw.
    """
    now = at or clock.now()
    evidence = collect(
        installation,
        policy.bundle,
        environ=environ,
        now=now,
        clock=clock,
        pepper=ids.random_bytes(32),
        config=config,
    )
    evidence = replace(evidence, live=live)
    judged = report.judge(audit.controls, evidence, policy, now)
    document = report.document(
        judged,
        evidence,
        policy,
        schema=audit.schema,
        root=str(installation.root),
        config=str(config or installation.root / CORE),
        installation_id=installation.settings.operations.installation_id,
        now=now,
        what_if=at is not None,
        fail_on_warn=fail_on_warn,
    )
    if live is not None:
        document["probe"] = live.document()
    if audit.sections is not None:
        document |= audit.sections(judged, evidence, policy)
    return judged, document


def since_newest(root: Path, document: Mapping[str, object]) -> tuple[Path, Comparison] | None:
    """The changes since the newest report of the same sort that was kept, and its path; None where none was."""
    earlier = store.newest(root, what_if=document.get("what_if") is True)
    if earlier is None:
        return None
    path, kept = earlier
    return path, compare(kept, document)
