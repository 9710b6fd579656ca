"""
Audit the tokens of all services and their transport security.

Prints one document `stage4.security_baseline/1` and keeps it, signed, with its evidence, its command log and the same
in Markdown below var/audit/acceptance/. Exit codes as of audit_stage4_compliance.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stage4.audit import schemas
from stage4.clock import SystemClock

if TYPE_CHECKING:
    from stage4.audit.auditing import Audit


def main(argv: Sequence[str] | None = None) -> int:
    """The command; `argv` without the program's name, None for the process's own."""
    from stage4.cli import _audit

    summary = (__doc__ or "").strip().splitlines()[0]
    command = _audit.Command("audit_security_baseline.py", summary, schemas.BASELINE, _audit_meant)
    return _audit.run(command, argv, SystemClock())


def _audit_meant() -> Audit:
    from stage4.audit.auditing import SECURITY_BASELINE

    return SECURITY_BASELINE
