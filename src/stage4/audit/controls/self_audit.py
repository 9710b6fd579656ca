"""
AUD: the audit itself.

AUD-01 and AUD-02 say of the evidence what it shows; what only the findings of all other controls show, `report` asks
`complete`, `used` and `continued` for afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from stage4.audit.comparison import CONTINUITY, Comparison
from stage4.audit.controls.rbac import is_inline
from stage4.audit.evidence import Evidence
from stage4.audit.finding import (
    ENDED,
    NOT_ASKED,
    Control,
    Finding,
    Opinion,
    Outcome,
    Severity,
    failed,
    of_problem,
    passed,
    skipped,
    unknown,
    warned,
)
from stage4.audit.policy import Policy
from stage4.audit.waivers import WAIVERS, Waiver, WaiverState

COMPLETE = "AUD-01"
INCOMPLETE = "audit.incomplete"


def waivers_in_order(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
    """AUD-01: the file of waivers is well formed, and none of them has run out."""
    if evidence.waivers_problem is not None:
        yield of_problem(str(WAIVERS), evidence.waivers_problem)
        return
    for waiver in evidence.waivers:
        if waiver.state(now) is WaiverState.EXPIRED:
            params = {"waiver": waiver.name, "expires": waiver.expires.isoformat(), "owner": waiver.owner}
            yield failed(waiver.name, "audit_report.waiver_expired", **params, line=waiver.line)
    if evidence.waivers:
        yield passed(str(WAIVERS), "audit_report.waivers_parse", count=len(evidence.waivers))
    elif evidence.inputs:
        yield passed(str(WAIVERS), "audit_report.no_waivers")


def same_settings(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
    """AUD-02: the earlier report is what the installation signed, and it judged the settings that are judged now."""
    earlier = evidence.earlier_report
    if earlier is None:
        yield skipped("earlier report", "audit_report.nothing_earlier")
        return
    if earlier.forged:
        yield warned("earlier report", "audit_report.earlier_forged", path=earlier.path)
    if earlier.config is None or evidence.config_sha256 is None:
        yield skipped("settings", "audit_report.settings_not_compared", since=earlier.since)
    elif earlier.config != evidence.config_sha256:
        yield warned("settings", "audit_report.settings_changed", since=earlier.since)
    else:
        yield passed("settings", "audit_report.settings_same", since=earlier.since)


def settings_known(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
    """AUD-03: the settings say nothing that stage4 passes over, because a misspelt demand is not made."""
    odd = [notice for notice in evidence.notices if not is_inline(notice)]
    for notice in odd:
        if notice.value is not None:
            params = {"key": notice.key, "line": notice.line, "value": notice.value}
            yield warned(notice.key, "audit.setting_names_nothing", **params)
        else:
            yield warned(notice.key, "audit.setting_unknown", key=notice.key, line=notice.line)
    if evidence.inputs and not odd:
        yield passed("settings", "audit.settings_known")


def complete(findings: Iterable[Finding]) -> Opinion:
    """AUD-01: every control came to an outcome; the ones that could not are named."""
    undecided = sorted({finding.control for finding in findings if finding.outcome is Outcome.UNKNOWN})
    if undecided:
        return unknown("audit", INCOMPLETE, controls=", ".join(undecided))
    return passed("audit", "audit.complete")


def used(
    waivers: Iterable[Waiver], judged: Sequence[Control], known: Iterable[Control], now: datetime
) -> Iterator[Opinion]:
    """
    AUD-01 of the `waivers` that were not applied: they name a control that is not there or may not be waived, or
    nothing that a control which was judged finds fault with.
    """
    by_id = {control.id: control for control in known}
    judged_ids = {control.id for control in judged}
    for waiver in waivers:
        control = by_id.get(waiver.control)
        params = {"waiver": waiver.name, "line": waiver.line}
        if control is None:
            yield failed(waiver.name, "audit_report.waiver_control_unknown", **params, control=waiver.control)
        elif not control.waivable:
            yield failed(waiver.name, "audit_report.waiver_refused", **params, control=waiver.control)
        elif waiver.state(now) is WaiverState.IN_FORCE and waiver.control in judged_ids:
            yield warned(waiver.name, "audit_report.waiver_unmatched", **params, owner=waiver.owner)


def continued(findings: Sequence[Finding], comparison: Comparison) -> Iterator[Opinion]:
    """AUD-02: every control that the earlier report had an answer of has one, and the catalogue is the same."""
    since = comparison.since
    answered = {finding.control for finding in findings if finding.outcome is not Outcome.SKIPPED}
    explained = {finding.control for finding in findings if finding.code.endswith((NOT_ASKED, ENDED))}
    gone = {change.control for change in comparison.no_longer_evaluated} - answered - explained
    for control in sorted(gone):
        yield warned(control, "audit_report.control_gone", control=control, since=since)
    if comparison.catalogue_changed:
        yield warned("catalogue", "audit_report.catalogue_changed", since=since)
    elif not gone:
        yield passed("catalogue", "audit_report.catalogue_same", since=since)


CONTROLS = (
    Control(COMPLETE, waivers_in_order, Severity.HIGH, waivable=False),
    Control(CONTINUITY, same_settings, Severity.MEDIUM, waivable=False),
    Control("AUD-03", settings_known, Severity.LOW),
)
