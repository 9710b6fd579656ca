"""What the audit commands answer without an audit: what a control asks, whether a report is as it was signed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from difflib import SequenceMatcher
from pathlib import Path

from stage4 import words
from stage4.cli import _run
from stage4.errors import ExitCode, UsageError
from stage4.words import Language

CONTROL_SCHEMA = "stage4.control/1"
SIGNATURE_SCHEMA = "stage4.audit_signature/1"


def explain(asked: str, lang: Language) -> int:
    """All that is known of a control: for people on stderr, as a document on stdout.

    Raises UsageError `audit_report.control_unknown` with the nearest id.
    """
    from stage4.audit.controls import BASELINE, CONTROLS

    by_id = {control.id: control for control in CONTROLS}
    control = by_id.get(asked.strip().upper())
    if control is None:
        nearest = max(by_id, key=lambda known: SequenceMatcher(None, known, asked.strip().upper()).ratio())
        raise UsageError("audit_report.control_unknown", id=asked, nearest=nearest)

    def say(name: str, /, **params: object) -> None:
        _run.say(words.text(f"audit_report.{name}", lang, **params))

    _run.say(f"{control.id}: {words.text(control.code, lang)}")
    say("explain_severity", severity=words.text(f"audit_report.severity_{control.severity}", lang))
    say("explain_why", why=words.text(control.rationale_code, lang))
    say("explain_do", step=words.hint(control.code, lang))
    say("explain_applies", applies=words.text(control.group_code, lang))
    if control.references:
        say("explain_references", references=", ".join(control.references))
    say("explain_waivable" if control.waivable else "explain_not_waivable")
    _run.emit(
        {
            "schema": CONTROL_SCHEMA,
            "exit_code": int(ExitCode.DONE),
            "control": control.id,
            "title": words.text(control.code, "en"),
            "severity": str(control.severity),
            "rationale": words.text(control.rationale_code, "en"),
            "remediation": words.hint(control.code, "en"),
            "applies_to": words.text(control.group_code, "en"),
            "references": list(control.references),
            "waivable": control.waivable,
            "in_baseline": control in BASELINE,
        }
    )
    return int(ExitCode.DONE)


def verify_report(path: Path, root: Callable[[], Path], lang: Language | None) -> int:
    """
    Whether the installation at `root` signed the report in `path` as it stands: 0 yes, 1 no, 3 cannot tell.

    Raises Unavailable where report or key ring do not answer.
    """
    from stage4 import config, files
    from stage4.audit import store
    from stage4.audit.report_signature import Checked, checked
    from stage4.security.keyring import KeyRing

    installation = config.load(root(), None)
    operations = installation.settings.operations
    spoken = lang or _run.language(configured=operations.language)
    content = files.read_limited(path, store.REPORT_LIMIT)
    ring = KeyRing.load(installation.path(operations.decision_log.keyring), os.environ)
    try:
        document = files.parse_json(content, path)
        if not isinstance(document, dict):
            raise UsageError("audit.not_a_report", schema=None)
        answer = checked(document, ring, operations.installation_id)
    except UsageError as error:
        answer = Checked(ExitCode.NO, error.code, error.params)
    said = words.text(answer.code, spoken, **answer.params)
    _run.say(words.text("audit_report.verified", spoken, path=path, said=said))
    if hint := words.hint(answer.code, spoken, **answer.params):
        _run.say(f"hint: {hint}")
    _run.emit(
        {
            "schema": SIGNATURE_SCHEMA,
            "exit_code": int(answer.exit_code),
            "verdict": answer.verdict,
            "report": str(path),
            "sha256": hashlib.sha256(content).hexdigest(),
            "key_id": answer.params.get("key_id"),
            "code": answer.code,
            "message": words.text(answer.code, "en", **answer.params),
        }
    )
    return int(answer.exit_code)
