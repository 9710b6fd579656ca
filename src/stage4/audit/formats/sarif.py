"""
The report as SARIF 2.1.0 (OASIS, errata 01): a rule for each control, a result for each control and subject.

`kind` is `pass`, `notApplicable` or `fail`; with `fail` the level is `error`, or `warning` for a warn. What could not
be told counts as fail here too, and its property `outcome` says `unknown`: a reader who drops everything but fails
must not lose it. A waiver is a suppression of kind `external`. `baselineState` stands in every result where an
earlier report was compared, and what is in that one alone is `absent` (SARIF 3.27.24).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from stage4 import files, words
from stage4.audit.comparison import Change, Comparison
from stage4.audit.finding import Control, Finding, Outcome, Severity, fingerprint
from stage4.audit.report import Report, message, remedy
from stage4.words import Language

SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_KINDS: Final = {"pass": ("pass", "none"), "skipped": ("notApplicable", "none"), "warn": ("fail", "warning")}
_FAILS: Final = ("fail", "error")
# How consumers sort findings of security: a number out of ten.
_WEIGHTS: Final = {Severity.CRITICAL: "9.5", Severity.HIGH: "8.0", Severity.MEDIUM: "5.5", Severity.LOW: "2.0"}


def render(report: Report, document: Mapping[str, object], lang: Language) -> bytes:
    """UTF-8 JSON; in English."""
    places = {control.id: place for place, control in enumerate(report.controls)}
    changed = report.comparison.kinds() if report.comparison is not None else {}
    results = [_result(report, finding, places, changed) for finding in report.findings]
    if report.comparison is not None:
        results += [_absent(change, places) for change in _gone(report.comparison)]
    installation, tool = document["installation"], document["tool"]
    named = installation.get("id") if isinstance(installation, Mapping) else None
    run = {
        "tool": {
            "driver": {
                "name": "stage4",
                "version": tool.get("version") if isinstance(tool, Mapping) else None,
                "rules": [_rule(control) for control in report.controls],
            }
        },
        "automationDetails": {"id": f"{document['schema']}/{named}/"},
        "invocations": [
            {
                "executionSuccessful": not report.nothing_judged,
                "exitCode": document["exit_code"],
                "endTimeUtc": document["checked_at"],
            }
        ],
        "results": results,
        "properties": {"verdict": report.verdict, "catalogue_sha256": report.catalogue},
    }
    return _log(run)


def failure(document: Mapping[str, object], error: Mapping[str, object], lang: Language) -> bytes:
    """A run that was not successful, with a notification that says why (SARIF 3.20.14, 3.20.21)."""
    notification = {
        "level": "error",
        "message": {"text": str(error.get("message"))},
        "descriptor": {"id": str(error.get("code"))},
    }
    invocation = {
        "executionSuccessful": False,
        "exitCode": document["exit_code"],
        "toolExecutionNotifications": [notification],
    }
    return _log({"tool": {"driver": {"name": "stage4"}}, "invocations": [invocation], "results": []})


def _log(run: Mapping[str, object]) -> bytes:
    return files.json_bytes({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]})


def _rule(control: Control) -> dict[str, object]:
    step = words.hint(control.code, "en") or ""
    return {
        "id": control.id,
        "shortDescription": {"text": words.text(control.code, "en")},
        "fullDescription": {"text": words.text(control.rationale_code, "en")},
        "help": {"text": step},
        "defaultConfiguration": {"level": "error"},
        "properties": {
            "severity": str(control.severity),
            "security-severity": _WEIGHTS[control.severity],
            "applies_to": words.text(control.group_code, "en"),
            "references": list(control.references),
            "waivable": control.waivable,
            "tags": ["security", control.group],
        },
    }


def _result(
    report: Report, finding: Finding, places: Mapping[str, int], changed: Mapping[tuple[str, str], str]
) -> dict[str, Any]:
    outcome = finding.before or finding.outcome
    kind, level = _KINDS.get(outcome, _FAILS)
    step = remedy(finding, "en")
    result = _base(finding.control, finding.subject, kind, level, message(finding, "en"), places)
    result["properties"] = {
        "outcome": str(finding.outcome),
        "severity": str(report.severity(finding)),
        "code": finding.code,
        **({"remediation": step} if step else {}),
    }
    if report.comparison is not None:
        name = (finding.control, finding.subject)
        result["baselineState"] = _state(name in report.comparison.before, changed.get(name))
    if finding.waiver is not None:
        waiver = finding.waiver.document()
        result["suppressions"] = [
            {
                "kind": "external",
                "status": "accepted",
                "justification": finding.waiver.justification,
                "properties": {name: waiver[name] for name in ("owner", "approver", "ticket", "granted", "expires")},
            }
        ]
    return result


def _base(control: str, subject: str, kind: str, level: str, text: str, places: Mapping[str, int]) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": control,
        "kind": kind,
        "level": level,
        "message": {"text": text},
        "locations": [{"logicalLocations": [{"name": subject, "kind": "resource"}]}],
        "partialFingerprints": {"stage4/v1": fingerprint(control, subject)},
    }
    if control in places:
        result["ruleIndex"] = places[control]
    return result


def _state(before: bool, kind: str | None) -> str:
    # A pass that became a fail is new to those who look for fails only.
    if not before or kind == "new":
        return "new"
    return "unchanged" if kind in (None, "unchanged") else "updated"


def _gone(comparison: Comparison) -> Iterator[Change]:
    for change in (*comparison.fixed, *comparison.no_longer_evaluated):
        if change.after is None:
            yield change


def _absent(change: Change, places: Mapping[str, int]) -> dict[str, Any]:
    kind, level = _KINDS.get(change.before or "", _FAILS)
    if change.before == Outcome.WAIVED:
        level = "warning"
    result = _base(change.control, change.subject, kind, level, change.message, places)
    return {**result, "baselineState": "absent", "properties": {"outcome": change.before}}
