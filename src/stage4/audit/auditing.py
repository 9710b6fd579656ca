"""The two audits, and one run of either: from an installation, or from stored evidence, to its document."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from stage4 import files, ids
from stage4.audit import baseline, report, report_document, schemas, store
from stage4.audit.collect import collect
from stage4.audit.comparison import Summary
from stage4.audit.controls import BASELINE, CONTROLS
from stage4.audit.evidence import Evidence
from stage4.audit.evidence_codec import StoredEvidence
from stage4.audit.evidence_live import Live
from stage4.audit.finding import Control
from stage4.audit.kept_reports import KeptReports
from stage4.audit.policy import Policy
from stage4.audit.report import Report
from stage4.audit.report_document import Origin
from stage4.clock import Clock
from stage4.config import CORE, Installation
from stage4.errors import UsageError

Sections = Callable[[Report, Evidence, Policy], dict[str, object]]


@dataclass(frozen=True, slots=True)
class Audit:
    """One of the two audits: what it judges, and how its document is called."""

    schema: str
    file_name: str
    controls: tuple[Control, ...]
    sections: Sections | None = None


COMPLIANCE: Final = Audit(schemas.COMPLIANCE, store.COMPLIANCE, CONTROLS)
SECURITY_BASELINE: Final = Audit(schemas.BASELINE, baseline.DOCUMENT, BASELINE, baseline.sections)


@dataclass(frozen=True, slots=True)
class Run:
    """One run: its report, the document it makes, and the evidence it can be judged from again."""

    report: Report
    document: dict[str, object]
    stored: StoredEvidence


def audited(
    audit: Audit,
    installation: Installation,
    policy: Policy,
    *,
    config: Path | None,
    environ: Mapping[str, str],
    clock: Clock,
    at: datetime | None = None,
    earlier: Summary | None = None,
    kept: KeptReports | None = None,
    fail_on_warn: bool = False,
    live: Live | None = None,
) -> Run:
    """Collect and judge as of `at` (default: now), beside the `earlier` report where there is one.

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
        earlier=earlier,
        kept=kept,
    )
    evidence = replace(evidence, live=live)
    settings = str(config or installation.root / CORE)
    named = installation.settings.operations.installation_id
    stored = StoredEvidence(named, str(installation.root), settings, policy.bundle, policy.min_secret_bits, evidence)
    return _judged(audit, stored, policy, now, what_if=at is not None, replayed=False, fail_on_warn=fail_on_warn)


def replayed(
    audit: Audit,
    stored: StoredEvidence,
    policy: Policy,
    *,
    at: datetime | None = None,
    fail_on_warn: bool = False,
) -> Run:
    """Judge stored evidence as of `at` (default: the instant it was collected).

    Raises UsageError `audit_report.evidence_of_other` where the evidence is of another bundle, or divided the secrets
    by another strength, than the policy asks for: those are facts that judging does not bring back.
    """
    for name, held, asked in (
        ("bundle", stored.bundle, policy.bundle),
        ("min_secret_bits", stored.strong_from_bits, policy.min_secret_bits),
    ):
        if held != asked:
            raise UsageError("audit_report.evidence_of_other", name=name, held=held, asked=asked)
    now = at or stored.evidence.collected_at
    return _judged(audit, stored, policy, now, what_if=True, replayed=True, fail_on_warn=fail_on_warn)


def _judged(
    audit: Audit,
    stored: StoredEvidence,
    policy: Policy,
    now: datetime,
    *,
    what_if: bool,
    replayed: bool,
    fail_on_warn: bool,
) -> Run:
    judged = report.judge(audit.controls, stored.evidence, policy, now)
    document = report_document.document(
        judged,
        stored.evidence,
        policy,
        Origin(Path(stored.root), Path(stored.config), stored.installation_id),
        schema=audit.schema,
        now=now,
        what_if=what_if,
        replayed=replayed,
        fail_on_warn=fail_on_warn,
    )
    if stored.evidence.live is not None:
        document["probe"] = stored.evidence.live.document()
    if audit.sections is not None:
        document |= audit.sections(judged, stored.evidence, policy)
    return Run(judged, document, stored)


def newest_report(kept: KeptReports, policy: Policy, *, what_if: bool) -> Summary | None:
    """The newest kept report of the same sort and bundle that may be believed, or None."""
    found = kept.newest(what_if=what_if, bundle=policy.bundle)
    if found is None:
        return None
    try:
        return Summary.of(found.document, str(found.path.relative_to(kept.root)))
    except UsageError:
        return None


def named_report(path: Path, schema: str, kept: KeptReports) -> Summary:
    """
    The report of the same audit (`schema`) in `path`.

    Raises Unavailable `files.*` where the file does not answer, UsageError `audit_report.no_report` where there is
    none, `files.bad_json` or `audit.not_a_report` where it is something else.
    """
    if not path.is_file():
        raise UsageError("audit_report.no_report", path=path)
    content = files.read_json(path, store.REPORT_LIMIT)
    if not isinstance(content, dict) or content.get("schema") != schema:
        raise UsageError("audit.not_a_report", schema=content.get("schema") if isinstance(content, dict) else None)
    forged = kept.can_tell and not kept.signed(content)
    named = content.get("installation")
    foreign = isinstance(named, dict) and named.get("id") != kept.installation_id
    return replace(Summary.of(content, str(path)), forged=forged, foreign=foreign)
