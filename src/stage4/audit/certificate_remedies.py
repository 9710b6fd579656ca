"""What to do about one certificate: what the controls say that it does not meet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from stage4.audit.controls.x509 import CONTROLS, TOPICS
from stage4.clock import format_instant
from stage4.security.certificate_chain import ChainReason, Purpose
from stage4.security.certificate_judgement import Judgement
from stage4.security.certificate_lints import Level
from stage4.security.revocation import RevocationVerdict

_OUT_OF_TIME = (ChainReason.EXPIRED, ChainReason.NOT_YET_VALID, ChainReason.ISSUER_EXPIRED)
_CODES: Mapping[str, str] = {control.id: control.code for control in CONTROLS}


def revocation_params(said: RevocationVerdict) -> Mapping[str, str]:
    """The parameters of the text `security.revocation_<state>`."""
    return {
        "subject": said.subject,
        "issuer": said.issuer,
        "next_update": format_instant(said.next_update) if said.next_update else "-",
        "revoked_at": format_instant(said.revoked_at) if said.revoked_at else "-",
        "reason": said.reason or "-",
    }


def remedies(judgement: Judgement, role: Purpose) -> Iterator[tuple[tuple[str, Mapping[str, object]], ...]]:
    """
    For each thing that is wrong, the gravest first, the texts of which the first that has a next step says it.

    A text is a code with its parameters: that of what is wrong itself, then that of the control of the audit.
    """
    chain, said = judgement.chain, judgement.revocation
    if chain.reason in _OUT_OF_TIME:
        yield ((_CODES["X509-07"], {}),)
    elif not chain.ok:
        yield ((_CODES["X509-04" if role == "server" else "X509-05"], {}),)
    elif said.ok:
        pass
    else:
        yield (f"security.revocation_{said.state}", revocation_params(said)), (_CODES["X509-14"], {})
    for _, lint in sorted(judgement.lints, key=lambda found: found[1].level is not Level.FAIL):
        yield (lint.code, lint.params), (_CODES[TOPICS[lint.topic]], {})
