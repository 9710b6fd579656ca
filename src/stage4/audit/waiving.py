"""Takes the waivers to the findings: what is accepted until a day is `waived`, shown and counted, and never a pass."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from stage4.audit.finding import Control, Finding, Outcome
from stage4.audit.waivers import WAIVERS, Waiver, WaiverState

_WAIVED: Final = (Outcome.FAIL, Outcome.WARN)


@dataclass(frozen=True, slots=True)
class Use:
    """A waiver of the file with the subjects that it accepts; `state` is a `WaiverState`, or why it accepts nothing."""

    waiver: Waiver
    state: str  # a WaiverState, else refused or unmatched
    subjects: tuple[str, ...] = ()

    def document(self) -> dict[str, object]:
        """As JSON values."""
        return {
            **self.waiver.document(),
            "line": self.waiver.line,
            "state": self.state,
            "subjects": list(self.subjects),
        }


def waived(
    findings: Iterable[Finding], waivers: Sequence[Waiver], controls: Iterable[Control], now: datetime
) -> tuple[list[Finding], tuple[Use, ...]]:
    """
    The findings with every waiver in force applied, and what each waiver was used for.

    Only a warn or a fail of a control that may be waived is accepted: what cannot be told stays so. The first waiver of
    the file that covers a finding counts, and none covers what is said of the file itself.
    """
    waivable = {control.id for control in controls if control.waivable}
    in_force: dict[str, list[Waiver]] = {}
    for each in waivers:
        if each.state(now) is WaiverState.IN_FORCE and each.control in waivable:
            in_force.setdefault(each.control, []).append(each)
    used: dict[Waiver, list[str]] = {waiver: [] for waiver in waivers}
    judged = []
    for finding in findings:
        waiver = None
        if finding.outcome in _WAIVED and finding.subject != str(WAIVERS):
            held = in_force.get(finding.control, ())
            waiver = next((each for each in held if each.covers(finding.control, finding.subject)), None)
        if waiver is not None:
            used[waiver].append(finding.subject)
            finding = replace(finding, outcome=Outcome.WAIVED, waiver=waiver, before=finding.outcome)
        judged.append(finding)
    return judged, tuple(_use(waiver, waiver.control in waivable, used, now) for waiver in waivers)


def _use(waiver: Waiver, may_be: bool, used: Mapping[Waiver, Sequence[str]], now: datetime) -> Use:
    state = waiver.state(now)
    if not may_be:
        return Use(waiver, "refused")
    if state is WaiverState.IN_FORCE and not used[waiver]:
        return Use(waiver, "unmatched")
    return Use(waiver, str(state), tuple(used[waiver]))
