"""
Audit the tokens of all services and their transport security.

Prints one document `stage4.security_baseline/1` and keeps it with its command log below var/audit/acceptance/. Exit
codes as of audit_stage4_compliance.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stage4.cli import _run
from stage4.clock import SystemClock

if TYPE_CHECKING:
    from stage4.audit.evidence import Evidence
    from stage4.audit.finding import Control
    from stage4.audit.policy import Policy
    from stage4.audit.report import Report

SCHEMA = "stage4.security_baseline/1"


def main(argv: Sequence[str] | None = None) -> int:
    """The command; `argv` without the program's name, None for the process's own."""
    from stage4.cli import _audit

    kind = _audit.Kind(
        program="audit_security_baseline.py",
        description=(__doc__ or "").strip().splitlines()[0],
        schema=SCHEMA,
        file_name="security_baseline.json",
        controls=_controls,
        sections=_sections,
    )
    return _run.guarded(SCHEMA, lambda: _audit.run(kind, argv, SystemClock()))


def _controls() -> tuple[Control, ...]:
    from stage4.audit.controls import BASELINE

    return BASELINE


def _sections(report: Report, evidence: Evidence, policy: Policy) -> dict[str, object]:
    from stage4.audit import baseline

    return baseline.sections(report, evidence, policy)
