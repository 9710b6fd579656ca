"""How the documents of the two audits call themselves; apart, because a command names its document before it loads."""

from __future__ import annotations

from typing import Final

COMPLIANCE: Final = "stage4.audit/1"
BASELINE: Final = "stage4.security_baseline/1"
