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
# The code of a finding, and the controls that name its cause.
_FOLLOWS: Final[Mapping[str, tuple[str, ...]]] = {
    "audit.pair_unreadable": _BUNDLE,
    "audit.chain_unreadable": _BUNDLE,
    "audit.believes_unread": _BUNDLE,
    "audit.pin_unproven": _BUNDLE,
    "audit.registry_unread": ("ROT-01",),
    "audit.rotation_undated": ("ROT-01", "ROT-02"),
    "audit.rotation_unproven": ("ROT-01", "ROT-02", *_BUNDLE),
    "audit.scope_blocked": _TOKENS,
    "audit.scope_waits": _TOKENS,
    "audit.log_unverified": ("DLOG-01", "DLOG-02"),
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
    return tuple(finding for finding in listed if named.isdisjoint(_behind(finding)))


def _behind(finding: Finding) -> tuple[str, ...]:
    if finding.code == _NOTHING:
        return _WITHOUT.get(finding.control.partition("-")[0], ())
    return _FOLLOWS.get(finding.code, ())
