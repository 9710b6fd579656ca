"""Takes the waivers to the findings: what is accepted until a day is `waived`, shown and counted, and never a pass."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from stage4.audit.finding import Control, Finding, Outcome, Severity
from stage4.audit.waivers import WAIVERS, Waiver, WaiverState

REFUSED: Final = "refused"
_WAIVED: Final = (Outcome.FAIL, Outcome.WARN)
_GRAVE: Final = (Severity.CRITICAL, Severity.HIGH)
# Nobody answers for a certificate that its own CA has taken back.
_NEVER: Final = frozenset({"security.revocation_revoked"})
# Who may write on the way to the waivers and to the people who approve them may accept what he likes.
_WAY: Final = frozenset({"above", *map(str, WAIVERS.parents), "ops/operators.yaml"})


@dataclass(frozen=True, slots=True)
class Use:
    """A waiver of the file with the subjects that it accepts; `state` is a `WaiverState`, or why it accepts nothing."""

    waiver: Waiver
    state: str  # a WaiverState, else REFUSED or unmatched
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
    by_id = {control.id: control for control in controls}
    may_be = [each for each in waivers if (known := by_id.get(each.control)) and is_admitted(each, known)]
    in_force: dict[str, list[Waiver]] = {}
    for each in may_be:
        if each.state(now) is WaiverState.IN_FORCE:
            in_force.setdefault(each.control, []).append(each)
    used: dict[Waiver, list[str]] = {waiver: [] for waiver in waivers}
    refused = set(waivers) - set(may_be)
    judged = []
    for finding in findings:
        waiver = None
        if finding.outcome in _WAIVED:
            held = in_force.get(finding.control, ())
            waiver = next((each for each in held if each.covers(finding.control, finding.subject)), None)
        if waiver is not None and _is_beyond(finding):
            refused.add(waiver)
        elif waiver is not None:
            used[waiver].append(finding.subject)
            finding = replace(finding, outcome=Outcome.WAIVED, waiver=waiver, before=finding.outcome)
        judged.append(finding)
    return judged, tuple(_use(waiver, waiver in refused, used, now) for waiver in waivers)


def is_admitted(waiver: Waiver, control: Control) -> bool:
    """Whether it may accept findings of its control; of a grave one only such as it names."""
    return control.waivable and not is_too_broad(waiver, control)


def is_too_broad(waiver: Waiver, control: Control) -> bool:
    return waiver.covers_all and control.severity in _GRAVE


def _is_beyond(finding: Finding) -> bool:
    """Whether nobody may accept it, whatever its control says."""
    own_way = finding.control == "FS-02" and finding.subject in _WAY
    return finding.subject == str(WAIVERS) or finding.code in _NEVER or own_way


def _use(waiver: Waiver, refused: bool, used: Mapping[Waiver, Sequence[str]], now: datetime) -> Use:
    state = waiver.state(now)
    if refused and not used[waiver]:
        return Use(waiver, REFUSED)
    if state is WaiverState.IN_FORCE and not used[waiver]:
        return Use(waiver, "unmatched")
    return Use(waiver, str(state), tuple(used[waiver]))
