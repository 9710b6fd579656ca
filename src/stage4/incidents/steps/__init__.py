"""The steps of the support playbook: one file each, and one line here."""

from __future__ import annotations

from collections.abc import Mapping

from stage4.incidents.steps.l1_1_confirm_alert import ConfirmAlert
from stage4.incidents.steps.l1_2_audit import RunAudit
from stage4.incidents.steps.l1_3_panels import LookAtPanels
from stage4.incidents.steps.l1_4_record import RecordIncident
from stage4.incidents.steps.l1_5_escalate import Escalate
from stage4.incidents.steps.l2_1_compare_audits import CompareAudits
from stage4.incidents.steps.l2_2_load_test import LoadTest
from stage4.incidents.steps.l2_3_watch import WatchMetrics
from stage4.incidents.steps.l2_4_rotations import JudgeRotations
from stage4.incidents.steps.l2_5_roll_back import RollBack
from stage4.incidents.steps.l2_6_lessons import Lessons
from stage4.incidents.steps.rule import StepRule

RULES: tuple[StepRule, ...] = (
    ConfirmAlert(),
    RunAudit(),
    LookAtPanels(),
    RecordIncident(),
    Escalate(),
    CompareAudits(),
    LoadTest(),
    WatchMetrics(),
    JudgeRotations(),
    RollBack(),
    Lessons(),
)


def _by_id(rules: tuple[StepRule, ...]) -> Mapping[str, StepRule]:
    known = {rule.id: rule for rule in rules}
    if len(known) != len(rules):
        raise ValueError("two step rules share an id")
    return known


STEPS = _by_id(RULES)

__all__ = ["RULES", "STEPS", "StepRule"]
