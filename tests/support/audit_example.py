"""The form of an example of the audit's controls."""

from __future__ import annotations

from dataclasses import dataclass

from stage4.audit.evidence import Evidence
from stage4.audit.finding import Outcome
from stage4.audit.policy import Policy
from support.audits import POLICY


@dataclass(frozen=True)
class Example:
    """One thing that is wrong, and what the control says of it."""

    control: str
    name: str
    evidence: Evidence
    outcome: Outcome
    code: str
    policy: Policy = POLICY
