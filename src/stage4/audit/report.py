"""
Judges the evidence with every control, and says in words what was found.

`status` is the public word (`ok`, `warn`, `fail`); `verdict` says why a fail is one: `cannot tell` where nothing
failed outright but something could not be evaluated. A fail that is waived is a warning, a warning that is waived
decides nothing, and both are always shown.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from datetime import datetime
from functools import cached_property

from stage4 import words
from stage4.audit import controls as catalogue
from stage4.audit import waiving
from stage4.audit.comparison import CONTINUITY, Comparison, Result, Summary, changes
from stage4.audit.consequences import causes
from stage4.audit.controls import self_audit
from stage4.audit.evidence import Evidence
from stage4.audit.finding import Control, Finding, Opinion, Outcome, Severity
from stage4.audit.policy import Policy
from stage4.audit.waivers import Waiver
from stage4.audit.waiving import Use
from stage4.clock import format_instant, parse_instant
from stage4.errors import ExitCode, UsageError
from stage4.words import Language

CANNOT_TELL = "cannot tell"
# Who has to look first, when all cannot be shown at once.
NOT_WELL = (Outcome.FAIL, Outcome.UNKNOWN, Outcome.WARN)
_RANK = (*NOT_WELL, Outcome.WAIVED, Outcome.SKIPPED, Outcome.PASS)


@dataclass(frozen=True)
class Report:
    """The findings of one audit, worst first; `comparison` is None where no earlier report was given."""

    findings: tuple[Finding, ...]
    catalogue: str  # names the set of controls
    controls: tuple[Control, ...] = ()
    waivers: tuple[Use, ...] = ()
    comparison: Comparison | None = None

    @cached_property
    def counts(self) -> Mapping[Outcome, int]:
        counted = Counter(finding.outcome for finding in self.findings)
        return {outcome: counted[outcome] for outcome in Outcome}

    @cached_property
    def to_name(self) -> tuple[Finding, ...]:
        """The findings without those that only follow from another."""
        return causes(self.findings)

    @property
    def status(self) -> str:
        """`ok`, `warn` or `fail`; unknown counts as fail, a waived fail as warn, an audit without one answer fails."""
        if self.counts[Outcome.FAIL] or self.counts[Outcome.UNKNOWN] or self.nothing_judged:
            return "fail"
        accepted = any(finding.before is Outcome.FAIL for finding in self.findings)
        return "warn" if self.counts[Outcome.WARN] or accepted else "ok"

    @property
    def verdict(self) -> str:
        """As `status`, with `cannot tell` where no control failed but not every one could be evaluated."""
        return CANNOT_TELL if self.status == "fail" and not self.counts[Outcome.FAIL] else self.status

    @property
    def nothing_judged(self) -> bool:
        """Whether no control but the audit's own came to an answer."""
        answers = {Outcome.PASS, Outcome.WARN, Outcome.FAIL, Outcome.WAIVED}
        return not any(f.outcome in answers for f in self.findings if not f.control.startswith("AUD-"))

    def exit_code(self, fail_on_warn: bool = False) -> ExitCode:
        """0 for ok and warn, 1 for fail, 3 where nothing failed but something could not be told."""
        if self.verdict == CANNOT_TELL:
            return ExitCode.CANNOT_TELL
        refused = self.status == "fail" or (fail_on_warn and self.status == "warn")
        return ExitCode.NO if refused else ExitCode.DONE

    @cached_property
    def following(self) -> tuple[Finding, ...]:
        """What is not well and only follows from what is named; the counts have it."""
        named = {id(finding) for finding in self.to_name}
        return tuple(f for f in self.findings if f.outcome in NOT_WELL and id(f) not in named)

    @cached_property
    def by_weight(self) -> tuple[Finding, ...]:
        """
        What is named, by outcome, then by the severity of its control, the audit's own after the others.

        That some controls could not tell is no cause of anything, so it stands behind those controls.
        """
        graver = list(Severity)

        def weight(finding: Finding) -> tuple[int, bool, int, bool, str, str]:
            own, summed_up = finding.control.startswith("AUD-"), finding.code == self_audit.INCOMPLETE
            severity, outcome = graver.index(self.severity(finding)), _RANK.index(finding.outcome)
            return outcome, summed_up, severity, own, finding.control, finding.subject

        return tuple(sorted(self.to_name, key=weight))

    def severity(self, finding: Finding) -> Severity:
        """How grave the finding's control is; the gravest for one that is not in the catalogue."""
        control = self._by_id.get(finding.control)
        return Severity.CRITICAL if control is None else control.severity

    @cached_property
    def _by_id(self) -> Mapping[str, Control]:
        return {control.id: control for control in (*catalogue.CONTROLS, *self.controls)}


def judge(controls: Sequence[Control], evidence: Evidence, policy: Policy, now: datetime) -> Report:
    """Every control over the same evidence, the waivers over their findings, then AUD-01 and AUD-02 over all of it."""
    ids = "\n".join(sorted(control.id for control in controls))
    digest = hashlib.sha256(ids.encode()).hexdigest()
    judged = [finding for control in controls for finding in control.judge(evidence, policy, now)]
    findings, uses = waiving.waived(judged, evidence.waivers, catalogue.CONTROLS, now)
    idle = [use for use in uses if not use.subjects]
    findings += _own(self_audit.COMPLETE, self_audit.used(idle, controls, catalogue.CONTROLS, now))
    findings += _own(self_audit.COMPLETE, [self_audit.complete(findings)])
    comparison = None
    if evidence.earlier_report is not None:
        comparison = changes(evidence.earlier_report, summary(findings, evidence, policy, now, digest))
        if any(control.id == CONTINUITY for control in controls):
            findings += _own(CONTINUITY, self_audit.continued(findings, comparison))
    findings.sort(key=lambda finding: _RANK.index(finding.outcome))
    return Report(tuple(findings), digest, tuple(controls), uses, comparison)


def _own(control: str, opinions: Iterable[Opinion]) -> list[Finding]:
    return [Finding(control, each.subject, each.outcome, each.code, each.params) for each in opinions]


def summary(findings: Iterable[Finding], evidence: Evidence, policy: Policy, now: datetime, digest: str) -> Summary:
    """What another report is compared with."""
    results = tuple(
        Result(f.control, words.visible(f.subject), str(f.outcome), words.visible(message(f, "en")))
        for f in findings
        if f.control != CONTINUITY
    )
    probed = None if evidence.live is None else evidence.live.target
    return Summary(
        format_instant(now),
        results,
        digest,
        evidence.config_sha256,
        demands(policy),
        probed=probed,
        authorities=evidence.bundle.authorities,
    )


def demands(policy: Policy) -> dict[str, object]:
    """The policy as JSON values; the rotations that it requires are those of the settings."""
    members = {field.name: getattr(policy, field.name) for field in fields(policy) if field.name != "rotations"}
    return {name: _plain(value) for name, value in members.items()}


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, tuple | frozenset):
        return sorted(map(str, value))
    return value if isinstance(value, str | int | float) or value is None else str(value)


def since(comparison: Comparison, lang: Language) -> str:
    """The changes in one line."""
    counts = comparison.counts
    line = words.text("audit_report.since", lang, **_readable({"since": comparison.since}, lang), **counts)
    if counts["waived"]:
        line += words.text("audit_report.since_waived", lang, waived=counts["waived"])
    return line


def message(finding: Finding, lang: Language) -> str:
    """What was found, in words."""
    return words.text(finding.code, lang, **_readable(finding.params, lang))


def _readable(params: Mapping[str, object], lang: Language) -> dict[str, object]:
    """Numbers as the reader writes them, and the start of the earlier report as people read a time."""
    told = dict(params)
    for name, value in params.items():
        if isinstance(value, float):
            told[name] = words.number(value, lang, 0 if value.is_integer() else 1)
        elif name == "since":
            # It comes from a file, which may say anything.
            with suppress(UsageError):
                told[name] = words.instant(parse_instant(str(value)))
    return told


def remedy(finding: Finding, lang: Language) -> str | None:
    """The next step: the finding's own, else its control's; None for what needs none."""
    if finding.outcome in (Outcome.PASS, Outcome.SKIPPED, Outcome.WAIVED):
        return None
    own = words.hint(finding.code, lang, **_readable(finding.params, lang))
    return own or words.hint(control_code(finding), lang)


def headline(report: Report, lang: Language) -> str:
    """The verdict with its counts, in one line."""
    counts = report.counts
    line = words.text(
        f"audit.summary_{report.verdict.replace(' ', '_')}",
        lang,
        passed=counts[Outcome.PASS],
        warned=counts[Outcome.WARN],
        failed=counts[Outcome.FAIL],
        unknown=counts[Outcome.UNKNOWN],
    )
    if counts[Outcome.WAIVED]:
        line += words.text("audit_report.summary_waived", lang, waived=counts[Outcome.WAIVED])
    return line


def answered_for(waiver: Waiver, lang: Language) -> str:
    """Who answers for a waived finding, until when and why."""
    return words.text("audit_report.answered_for", lang, **waiver.document())


def control_code(finding: Finding) -> str:
    """The text of the finding's control."""
    return "audit.control_" + finding.control.lower().replace("-", "_")
