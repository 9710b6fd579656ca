"""
Which findings only follow from others: a missing file is named once, not once for every question it leaves open.

They keep their outcome, count in the summary and stand in the results; the short lists that people read leave them out
where what they follow from is in the list. AUD-01 names every control that could not tell all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from stage4.audit.finding import Finding, Outcome

_NAMED: Final = frozenset({Outcome.FAIL, Outcome.UNKNOWN, Outcome.WARN})
_BUNDLE: Final = ("X509-01", "X509-02")
_TOKENS: Final = ("RBAC-01", "RBAC-02", "RBAC-03", "RBAC-05")
_TIME: Final = ("X509-07",)
_PROBE: Final = ("LIVE-01",)
_MISSING: Final = "files.missing"
_OF_FILES: Final = "FS-"
# The code of a finding, and the controls that name its cause.
_FOLLOWS: Final[Mapping[str, tuple[str, ...]]] = {
    "audit.pair_unreadable": _BUNDLE,
    "audit.chain_unreadable": _BUNDLE,
    "security.chain_expired": _TIME,
    "security.chain_not_yet_valid": _TIME,
    "security.chain_issuer_expired": _TIME,
    "audit.believes_unread": _BUNDLE,
    "audit.pin_unproven": _BUNDLE,
    "audit.registry_unread": ("ROT-01",),
    "audit.rotation_undated": ("ROT-01", "ROT-02"),
    "audit.rotation_unproven": ("ROT-01", "ROT-02", *_BUNDLE),
    "audit.scope_blocked": _TOKENS,
    "audit.scope_waits": _TOKENS,
    "audit.log_unverified": ("DLOG-01", "DLOG-02"),
    "probe.no_control": _PROBE,
    "probe.no_token_control": _PROBE,
}
# The same for a control of that group that found nothing to look at.
_NOTHING: Final = "audit.no_evidence"
_WITHOUT: Final[Mapping[str, tuple[str, ...]]] = {
    "X509": _BUNDLE,
    "FS": _BUNDLE,
    "TLS": _BUNDLE,
    "RBAC": _TOKENS,
    "ROT": ("ROT-01",),
    "DLOG": ("DLOG-01",),
}


def causes(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """`findings` in their order, without those that only follow from another one of them."""
    listed = tuple(findings)
    named = {f.control for f in listed if f.outcome in _NAMED and f.code not in _FOLLOWS and f.code != _NOTHING}
    missing = _by_missing_path(listed)
    return tuple(
        finding
        for finding in listed
        if named.isdisjoint(_behind(finding)) and missing.get(_missing_path(finding), finding) is finding
    )


def _by_missing_path(findings: Iterable[Finding]) -> Mapping[str | None, Finding]:
    """Who names a missing file: the control of what should be in it before the one of files as such."""
    first: dict[str | None, Finding] = {}
    for finding in sorted(findings, key=lambda finding: finding.control.startswith(_OF_FILES)):
        first.setdefault(_missing_path(finding), finding)
    first.pop(None, None)
    return first


def _missing_path(finding: Finding) -> str | None:
    if finding.code != _MISSING or finding.outcome not in _NAMED:
        return None
    return str(finding.params.get("path"))


def _behind(finding: Finding) -> tuple[str, ...]:
    if finding.outcome not in _NAMED:
        return ()
    if finding.code == _NOTHING:
        return _WITHOUT.get(finding.control.partition("-")[0], ())
    return _FOLLOWS.get(finding.code, ())
