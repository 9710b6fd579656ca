"""
Judges the evidence with every control and makes one document of the findings.

`status` is the public word (`ok`, `warn`, `fail`); `verdict` says why a fail is one: `cannot tell` where nothing
failed outright but something could not be evaluated.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from stage4 import __version__, words
from stage4.audit.controls import self_audit
from stage4.audit.evidence import Evidence
from stage4.audit.finding import Control, Finding, Outcome
from stage4.audit.policy import Policy
from stage4.clock import format_instant
from stage4.errors import ExitCode
from stage4.words import Language

SCHEMA = "stage4.audit/1"
CANNOT_TELL = "cannot tell"
# Who has to look first, when all cannot be shown at once.
_RANK = (Outcome.FAIL, Outcome.UNKNOWN, Outcome.WARN, Outcome.SKIPPED, Outcome.PASS)


@dataclass(frozen=True)
class Report:
    """The findings of one audit, worst first."""

    findings: tuple[Finding, ...]
    catalogue: str  # names the set of controls

    @cached_property
    def counts(self) -> Mapping[Outcome, int]:
        counted = Counter(finding.outcome for finding in self.findings)
        return {outcome: counted[outcome] for outcome in Outcome}

    @property
    def status(self) -> str:
        """`ok`, `warn` or `fail`; unknown counts as fail, and an audit without one answer fails."""
        if self.counts[Outcome.FAIL] or self.counts[Outcome.UNKNOWN] or self.nothing_judged:
            return "fail"
        return "warn" if self.counts[Outcome.WARN] else "ok"

    @property
    def verdict(self) -> str:
        """As `status`, with `cannot tell` where no control failed but not every one could be evaluated."""
        return CANNOT_TELL if self.status == "fail" and not self.counts[Outcome.FAIL] else self.status

    @property
    def nothing_judged(self) -> bool:
        """Whether no control but the audit's own came to an answer."""
        answers = {Outcome.PASS, Outcome.WARN, Outcome.FAIL}
        return not any(f.outcome in answers for f in self.findings if not f.control.startswith("AUD-"))

    def exit_code(self, fail_on_warn: bool = False) -> ExitCode:
        """0 for ok and warn, 1 for fail, 3 where nothing failed but something could not be told."""
        if self.verdict == CANNOT_TELL:
            return ExitCode.CANNOT_TELL
        refused = self.status == "fail" or (fail_on_warn and self.status == "warn")
        return ExitCode.NO if refused else ExitCode.DONE


def judge(controls: Sequence[Control], evidence: Evidence, policy: Policy, now: datetime) -> Report:
    """Every control over the same evidence; AUD-01 over their findings."""
    findings = [finding for control in controls for finding in control.judge(evidence, policy, now)]
    findings.append(self_audit.complete(findings))
    findings.sort(key=lambda finding: _RANK.index(finding.outcome))
    ids = "\n".join(sorted(control.id for control in controls))
    return Report(tuple(findings), hashlib.sha256(ids.encode()).hexdigest())


def document(
    report: Report,
    evidence: Evidence,
    policy: Policy,
    *,
    schema: str,
    root: str,
    config: str,
    installation_id: str,
    now: datetime,
    what_if: bool = False,
    fail_on_warn: bool = False,
) -> dict[str, object]:
    """
    The report as JSON values; `issues` and `warnings` are the short lists that people and the field's tools read.

    `what_if` marks a report that judges another instant than its own: it answers a question and calls nobody.
    """
    return {
        "schema": schema,
        "status": report.status,
        "verdict": report.verdict,
        "exit_code": int(report.exit_code(fail_on_warn)),
        "checked_at": format_instant(now),
        "what_if": what_if,
        "installation": {"id": installation_id, "kind": evidence.installation, "root": root},
        "config": config,
        "tool": {"name": "stage4", "version": __version__, "catalogue_sha256": report.catalogue},
        "policy": {
            "bundle": policy.bundle,
            "rotation_interval_days": policy.rotation_interval_days,
            "rotation_warn_days": policy.rotation_warn_days,
            "expiry_fail_days": policy.expiry_fail_days,
            "min_secret_bits": policy.min_secret_bits,
            "allow_missing_env": policy.allow_missing_env,
            "check_paths": policy.check_paths,
            "fail_on": "warn" if fail_on_warn else "fail",
        },
        "summary": {str(outcome): count for outcome, count in report.counts.items()},
        "issues": [_short(f) for f in report.findings if f.outcome in (Outcome.FAIL, Outcome.UNKNOWN)],
        "warnings": [_short(f) for f in report.findings if f.outcome is Outcome.WARN],
        "results": [_result(f) for f in report.findings],
        "certificates": certificates(evidence),
        "inputs": [{"path": read.path, "sha256": read.sha256} for read in evidence.inputs],
    }


def certificates(evidence: Evidence) -> list[dict[str, object]]:
    """The public facts of each certificate, by which a later audit tells whether a rotation changed the key."""
    return [
        {
            "role": file.role,
            "path": file.path,
            "fingerprint": file.certificates[0].fingerprint,
            "spki_sha256": file.certificates[0].spki_sha256,
            "not_before": format_instant(file.certificates[0].not_before),
            "not_after": format_instant(file.certificates[0].not_after),
        }
        for file in evidence.bundle.certificates
        if file.certificates
    ]


def message(finding: Finding, lang: Language) -> str:
    """What was found, in words."""
    return words.text(finding.code, lang, **finding.params)


def remedy(finding: Finding, lang: Language) -> str | None:
    """The next step: the finding's own, else its control's; None for what needs none."""
    if finding.outcome in (Outcome.PASS, Outcome.SKIPPED):
        return None
    own = words.hint(finding.code, lang, **finding.params)
    return own or words.hint(_control_code(finding), lang)


def lines(report: Report, lang: Language) -> Iterator[str]:
    """What a person on call reads: a summary, then everything that is not well, with its next step."""
    counts = report.counts
    yield words.text(
        f"audit.summary_{report.verdict.replace(' ', '_')}",
        lang,
        passed=counts[Outcome.PASS],
        warned=counts[Outcome.WARN],
        failed=counts[Outcome.FAIL],
        unknown=counts[Outcome.UNKNOWN],
    )
    for finding in report.findings:
        if finding.outcome in (Outcome.FAIL, Outcome.UNKNOWN, Outcome.WARN):
            word = words.text(f"audit.outcome_{finding.outcome}", lang)
            yield f"{word} {finding.control} {finding.subject}: {message(finding, lang)}"
            if step := remedy(finding, lang):
                yield f"  -> {step}"


def _control_code(finding: Finding) -> str:
    return "audit.control_" + finding.control.lower().replace("-", "_")


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


def _result(finding: Finding) -> dict[str, object]:
    return {
        "control": finding.control,
        "title": words.text(_control_code(finding), "en"),
        "subject": finding.subject,
        "outcome": str(finding.outcome),
        "code": finding.code,
        "message": message(finding, "en"),
        "params": dict(finding.params),
        "remediation": remedy(finding, "en"),
        "fingerprint": finding.fingerprint,
    }


def worst(findings: Iterable[Finding]) -> Outcome:
    """The outcome of several findings taken together; unknown for none."""
    return min((f.outcome for f in findings), key=_RANK.index, default=Outcome.UNKNOWN)
