"""The report as the one document that is printed, kept and compared."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from stage4 import __version__, words
from stage4.audit.evidence import Evidence
from stage4.audit.finding import Finding, Outcome
from stage4.audit.policy import Policy
from stage4.audit.report import CANNOT_TELL, Report, control_code, demands, message, remedy, since
from stage4.clock import format_instant


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the evidence comes from: the installation's root, the settings it was read by, and its id."""

    root: Path
    config: Path
    installation_id: str


def document(
    report: Report,
    evidence: Evidence,
    policy: Policy,
    origin: Origin,
    *,
    schema: str,
    now: datetime,
    what_if: bool = False,
    replayed: bool = False,
    fail_on_warn: bool = False,
) -> dict[str, object]:
    """
    The report as JSON values; `issues` and `warnings` are the short lists that people and the field's tools read.

    `what_if` marks a report that judges another instant than its own, `replayed` one of stored evidence: both answer a
    question and call nobody.
    """
    return {
        "schema": schema,
        "status": report.status,
        "verdict": report.verdict,
        "exit_code": int(report.exit_code(fail_on_warn)),
        "checked_at": format_instant(now),
        "what_if": what_if,
        "replayed": replayed,
        "installation": {"id": origin.installation_id, "kind": evidence.installation, "root": str(origin.root)},
        "config": str(origin.config),
        "config_sha256": evidence.config_sha256,
        "tool": {"name": "stage4", "version": __version__, "catalogue_sha256": report.catalogue},
        "policy": demands(policy) | {"fail_on": "warn" if fail_on_warn else "fail"},
        "summary": {str(outcome): count for outcome, count in report.counts.items()},
        "issues": [_short(f) for f in report.by_weight if f.outcome in (Outcome.FAIL, Outcome.UNKNOWN)],
        "warnings": [_short(f) for f in report.by_weight if f.outcome is Outcome.WARN],
        "waivers": [use.document() for use in report.waivers],
        "results": [_result(report, f) for f in report.findings],
        "certificates": certificates(evidence),
        "inputs": [{"path": read.path, "sha256": read.sha256} for read in evidence.inputs],
        "comparison": compared(report, evidence),
    }


def certificates(evidence: Evidence) -> list[dict[str, object]]:
    """
    The public facts of each certificate, by which a later audit tells whether a rotation changed the key.

    Files that are believed have the fingerprints of all their CAs as `authorities`.
    """
    believed = evidence.bundle.believed
    return [
        {
            "role": file.role,
            "path": file.path,
            "fingerprint": file.certificates[0].fingerprint,
            "spki_sha256": file.certificates[0].spki_sha256,
            "not_before": format_instant(file.certificates[0].not_before),
            "not_after": format_instant(file.certificates[0].not_after),
            **({"authorities": [each.fingerprint for each in file.certificates]} if file in believed else {}),
        }
        for file in (*evidence.bundle.certificates, *(file for file in believed if file.role != "ca"))
        if file.certificates
    ]


def compared(report: Report, evidence: Evidence) -> dict[str, object] | None:
    """The comparison as JSON values, `with` the path of the earlier report; None where there is none."""
    if report.comparison is None or evidence.earlier_report is None:
        return None
    line = since(report.comparison, "en")
    return {"with": evidence.earlier_report.path, "line": line, **report.comparison.document()}


def _short(finding: Finding) -> dict[str, object]:
    short: dict[str, object] = {
        "check": finding.control,
        "subject": finding.subject,
        "outcome": CANNOT_TELL if finding.outcome is Outcome.UNKNOWN else str(finding.outcome),
        "code": finding.code,
        "message": message(finding, "en"),
    }
    if step := remedy(finding, "en"):
        short["remediation"] = step
    return short


def _result(report: Report, finding: Finding) -> dict[str, object]:
    result: dict[str, object] = {
        "control": finding.control,
        "severity": str(report.severity(finding)),
        "title": words.text(control_code(finding), "en"),
        "subject": finding.subject,
        "outcome": str(finding.outcome),
        "code": finding.code,
        "message": message(finding, "en"),
        "params": dict(finding.params),
        "remediation": remedy(finding, "en"),
        "fingerprint": finding.fingerprint,
    }
    if finding.waiver is not None:
        result |= {"outcome_before_waiver": str(finding.before), "waiver": finding.waiver.document()}
    return result
