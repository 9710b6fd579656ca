"""
AUD: the audit itself.

AUD-01 and AUD-02 say of the evidence what it shows; what only the findings of all other controls show, `report` asks
`complete`, `used` and `continued` for afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from stage4.audit.comparison import CONTINUITY, Comparison, Summary
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
from stage4.audit.waivers import WAIVERS, WaiverState
from stage4.audit.waiving import REFUSED, Use, is_too_broad
from stage4.clock import format_instant

COMPLETE = "AUD-01"
INCOMPLETE = "audit.incomplete"
# Demands that speak for themselves: a control says that it was not asked, a variable that is not set is a warning.
_SAYS_ITSELF = ("check_paths", "allow_missing_env")


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
    """AUD-02: the installation signed what is kept, and the earlier report judged these settings and believed CAs."""
    if evidence.doubted_reports:
        newest, count = evidence.doubted_reports[0], len(evidence.doubted_reports)
        yield warned("kept reports", "audit_report.kept_doubted", path=newest, count=count)
    elif evidence.unchecked_reports:
        yield skipped("kept reports", "audit_report.kept_unchecked")
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
    if earlier.authorities is not None and earlier.policy.get("bundle") == policy.bundle:
        yield _same_authorities(earlier, earlier.authorities, evidence, policy)


def _same_authorities(earlier: Summary, before: frozenset[str], evidence: Evidence, policy: Policy) -> Opinion:
    """A rotation on record explains that one CA took another's place, but not that one was added."""
    after = evidence.bundle.authorities
    params: dict[str, object] = {"since": earlier.since}
    if after == before:
        return passed("authorities", "exposure.authorities_same", **params)
    registry = evidence.registry("tls")
    rotated_at = registry.rows.get((policy.bundle.lower(), "tls_ca")) if registry else None
    if rotated_at is not None and len(after) == len(before) and format_instant(rotated_at) > earlier.since:
        return passed("authorities", "exposure.authorities_rotated", **params, rotated_at=format_instant(rotated_at))
    counts = {"added": len(after - before), "removed": len(before - after)}
    return warned("authorities", "exposure.authorities_changed", **params, **counts)


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


def used(uses: Iterable[Use], judged: Sequence[Control], known: Iterable[Control], now: datetime) -> Iterator[Opinion]:
    """
    AUD-01 of the waivers that were not applied: they name a control that is not there, something that nobody may accept
    or nothing that a control which was judged finds fault with.
    """
    by_id = {control.id: control for control in known}
    judged_ids = {control.id for control in judged}
    for use in uses:
        waiver = use.waiver
        control = by_id.get(waiver.control)
        params = {"waiver": waiver.name, "line": waiver.line}
        if control is None:
            yield failed(waiver.name, "audit_report.waiver_control_unknown", **params, control=waiver.control)
        elif not control.waivable:
            yield failed(waiver.name, "audit_report.waiver_refused", **params, control=waiver.control)
        elif is_too_broad(waiver, control) and waiver.state(now) is not WaiverState.EXPIRED:
            yield failed(waiver.name, "waiver.too_broad", **params, control=waiver.control)
        elif use.state == REFUSED:
            yield failed(waiver.name, "waiver.finding_refused", **params)
        elif waiver.state(now) is WaiverState.IN_FORCE and waiver.control in judged_ids:
            yield warned(waiver.name, "audit_report.waiver_unmatched", **params, owner=waiver.owner)


def continued(findings: Sequence[Finding], comparison: Comparison) -> Iterator[Opinion]:
    """AUD-02: every control that the earlier report had an answer of has one, by the same demands and catalogue."""
    since = comparison.since
    answered = {finding.control for finding in findings if finding.outcome is not Outcome.SKIPPED}
    explained = {finding.control for finding in findings if finding.code.endswith((NOT_ASKED, ENDED))}
    gone = {change.control for change in comparison.no_longer_evaluated} - answered - explained
    for control in sorted(gone):
        yield warned(control, "audit_report.control_gone", control=control, since=since)
    if demands := [name for name in comparison.policy_changed if name not in _SAYS_ITSELF]:
        yield warned("demands", "audit_report.demands_changed", since=since, names=", ".join(demands))
    if comparison.catalogue_changed:
        yield warned("catalogue", "audit_report.catalogue_changed", since=since)
    elif not gone:
        yield passed("catalogue", "audit_report.catalogue_same", since=since)


CONTROLS = (
    Control(COMPLETE, waivers_in_order, Severity.HIGH, waivable=False),
    Control(CONTINUITY, same_settings, Severity.MEDIUM, waivable=False),
    Control("AUD-03", settings_known, Severity.LOW),
)
