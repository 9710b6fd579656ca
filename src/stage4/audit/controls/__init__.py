"""
The registry of controls. To add one: write its rule in the file of its group, add it to that file's `CONTROLS`, and
give it a title and a remedy (`control_<id>`) in the catalogue.
"""

from __future__ import annotations

from stage4.audit.controls import decision_log, files, live, rbac, rotation, self_audit, tls, x509
from stage4.audit.finding import Control

CONTROLS: tuple[Control, ...] = (
    *x509.CONTROLS,
    *files.CONTROLS,
    *tls.CONTROLS,
    *rbac.CONTROLS,
    *rotation.CONTROLS,
    *decision_log.CONTROLS,
    *live.CONTROLS,
    *self_audit.CONTROLS,
)
# The part that `audit_security_baseline.py` judges: transport security and tokens, and who can read their secrets.
BASELINE: tuple[Control, ...] = (
    *tls.CONTROLS,
    *rbac.CONTROLS,
    *(control for control in CONTROLS if control.id in {"FS-01", "X509-07", "AUD-01"}),
)

if len({control.id for control in CONTROLS}) != len(CONTROLS):
    raise ValueError("two controls have one id")
