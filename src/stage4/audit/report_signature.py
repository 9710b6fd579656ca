"""
Signs a report with the installation's key and tells whether one is signed so.

`summary_signature` is {"algorithm", "key_id", "value"}: HMAC by the active key of the decision log's ring over the
document without that member, as JSON with sorted members, no spaces and ASCII escapes; `value` is the digest in
hexadecimal. The key is derived for this purpose and this installation id, so it signs nothing else. Where the ring
does not answer the report goes out unsigned, says why (`not_signed`) and keeps its verdict; a report that is not
signed never verifies.

A signature says that the installation made the report, not that the report is right, and not which person asked for
it. Whoever can read the ring can sign: a copy kept elsewhere is what proves against them.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from stage4.errors import ExitCode, Stage4Error
from stage4.security.keyring import ALGORITHMS, Key, KeyRing, KeyState

PURPOSE: Final = "audit-report"
SIGNATURE: Final = "summary_signature"
UNSIGNED: Final = "audit_report.unsigned"


@dataclass(frozen=True, slots=True)
class Checked:
    """Whether a report is what the installation signed: `code` and `params` are a text of the catalogue."""

    exit_code: ExitCode
    code: str
    params: Mapping[str, object] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        return {ExitCode.DONE: "ok", ExitCode.NO: "fail"}.get(self.exit_code, "cannot tell")


def signature(document: Mapping[str, object], ring: KeyRing, installation_id: str) -> dict[str, object]:
    """The member `summary_signature` of `document`; raises Unavailable where the active key has no secret."""
    key = ring.active_key()
    value = _digest(document, key, installation_id).hex()
    return {"algorithm": key.algorithm, "key_id": key.id, "value": value}


def checked(document: Mapping[str, object], ring: KeyRing, installation_id: str) -> Checked:
    """
    What the signature of `document` proves.

    1. It is there and has the form of one.
    2. The ring lists its key, with its algorithm, and the key is not revoked.
    3. The secret of the key is available: otherwise nothing can be told.
    4. The digest is the one that the key gives.
    """
    given = document.get(SIGNATURE)
    if not isinstance(given, dict) or not all(isinstance(given.get(name), str) for name in ("key_id", "value")):
        return Checked(ExitCode.NO, UNSIGNED)
    params = {"key_id": given["key_id"]}
    key = ring.key(given["key_id"])
    if key is None or given.get("algorithm") != key.algorithm:
        return Checked(ExitCode.NO, "audit_report.signed_by_unknown", params)
    if key.state is KeyState.REVOKED:
        return Checked(ExitCode.NO, "audit_report.signed_by_revoked", params)
    try:
        expected = _digest(document, key, installation_id)
    except Stage4Error:
        return Checked(ExitCode.CANNOT_TELL, "audit_report.signing_key_absent", params)
    except (ValueError, RecursionError):
        # What cannot be written down was never signed: a number without end, or lists in lists too deep.
        return Checked(ExitCode.NO, "audit_report.signature_differs", params)
    # Compared as bytes: what was given may hold any character.
    if not hmac.compare_digest(expected.hex().encode(), given["value"].encode("utf-8", "backslashreplace")):
        return Checked(ExitCode.NO, "audit_report.signature_differs", params)
    return Checked(ExitCode.DONE, "audit_report.signature_holds", params)


def _digest(document: Mapping[str, object], key: Key, installation_id: str) -> bytes:
    signed = {name: value for name, value in document.items() if name != SIGNATURE}
    content = json.dumps(signed, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    # The ring takes ids in ASCII, and an installation may be called anything.
    secret = key.secret_for(PURPOSE, installation_id.encode("unicode_escape").decode("ascii"))
    return hmac.digest(secret, content.encode("ascii"), ALGORITHMS[key.algorithm].hash_name)
