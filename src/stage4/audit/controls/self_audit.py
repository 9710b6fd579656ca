"""AUD: the audit itself. AUD-01 is judged over the findings of all other controls, so `report` asks for it last."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from stage4.audit.controls.rbac import is_inline
from stage4.audit.evidence import Evidence
from stage4.audit.finding import Control, Finding, Opinion, Outcome, Severity, passed, warned
from stage4.audit.policy import Policy

COMPLETE = "AUD-01"


def complete(findings: Iterable[Finding]) -> Finding:
    """AUD-01: every control came to an outcome; the ones that could not are named."""
    undecided = sorted({finding.control for finding in findings if finding.outcome is Outcome.UNKNOWN})
    if undecided:
        params = {"controls": ", ".join(undecided)}
        return Finding(COMPLETE, "audit", Outcome.UNKNOWN, "audit.incomplete", params)
    return Finding(COMPLETE, "audit", Outcome.PASS, "audit.complete", {})


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


CONTROLS = (Control("AUD-03", settings_known, Severity.LOW),)
