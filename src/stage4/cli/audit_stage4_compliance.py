"""
Audit certificates, files, tokens, rotations and the decision log of an installation.

Prints one document `stage4.audit/1` and keeps it, signed, with its evidence, its command log and the same in Markdown
below var/audit/acceptance/. Exit 0 for ok and warn, 1 for fail, 2 for a wrong call or settings, 3 where nothing
failed but a control cannot tell, 4 where a rehearsal would probe another host. `--probe` connects to the running
service, about sixteen times, and to nothing else.
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
    command = _audit.Command(
        "audit_stage4_compliance.py", summary, schemas.COMPLIANCE, _audit_meant, compares=True, probes=True
    )
    return _audit.run(command, argv, SystemClock())


def _audit_meant() -> Audit:
    from stage4.audit.auditing import COMPLIANCE

    return COMPLIANCE
