"""
What a probe of a running service saw: every connection that was tried, what it showed and what came back.

Frozen and without secrets, as the rest of the evidence: a token appears as the name of the attempt only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from stage4.audit.evidence import Problem
from stage4.clock import format_instant

PLAINTEXT: Final = "plaintext"
CURRENT: Final = ("TLSv1.3", "TLSv1.2")
OUTDATED: Final = ("TLSv1.1", "TLSv1")

# What a connection showed of itself.
CERTIFICATE: Final = "certificate"
CERTIFICATE_AGAIN: Final = "certificate_again"  # once more after all others, with the server's certificate verified
NO_CERTIFICATE: Final = "no_certificate"
FOREIGN_CERTIFICATE: Final = "foreign_certificate"
SERVER_CERTIFICATE: Final = "server_certificate"
NOTHING: Final = "nothing"
# What a call showed, always with the good certificate.
TOKEN: Final = "token"
NO_TOKEN: Final = "no_token"
WRONG_TOKEN: Final = "wrong_token"
LESSER_TOKEN: Final = "token_without_scope"

# What came back: an HTTP/2 SETTINGS frame (RFC 9113 3.4), or anything else. `alert:<name>` stands beside these.
SETTINGS: Final = "settings"
EOF: Final = "eof"
RESET: Final = "reset"
TIMEOUT: Final = "timeout"
REFUSED: Final = "refused"  # by TCP: nobody listens
UNREACHABLE: Final = "unreachable"
OTHER: Final = "other bytes"
UNTRUSTED: Final = "untrusted"  # we refused the server's certificate
NOT_OFFERED: Final = "not offered"  # our own TLS library cannot speak the version
NOT_TRIED: Final = "not tried"  # no time was left, or what was to be shown could not be read
ALERT: Final = "alert:"


@dataclass(frozen=True, slots=True)
class ServedLeaf:
    """The certificate that the service showed; the instants are None where it could not be parsed."""

    fingerprint: str  # SHA-256, lower-case hexadecimal
    not_before: datetime | None
    not_after: datetime | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One connection; `negotiated` is the version of a handshake that was finished on our side."""

    shown: str
    protocol: str  # a TLS version, or plaintext
    outcome: str
    milliseconds: float = 0.0
    negotiated: str | None = None
    served: ServedLeaf | None = None
    detail: str = ""  # the TLS library's own words, evidence for a reader and never parsed
    problem: Problem | None = None  # why it could not be tried

    @property
    def turned_away(self) -> bool:
        """Whether the peer ended it: what a refusal looks like, and a service that is away or broken too."""
        return self.outcome in (EOF, RESET) or self.outcome.startswith(ALERT)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the service; `status` is a gRPC status name, or `not tried`."""

    shown: str
    status: str
    milliseconds: float = 0.0
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class Live:
    """One probe of `target` ("host:port"); `configured` where the settings name it as the metrics service."""

    target: str
    configured: bool
    attempts: tuple[Attempt, ...] = ()
    calls: tuple[Call, ...] = ()

    def of(self, shown: str) -> Iterator[Attempt]:
        return (attempt for attempt in self.attempts if attempt.shown == shown)

    def call(self, shown: str) -> Call | None:
        return next((call for call in self.calls if call.shown == shown), None)

    def document(self) -> dict[str, object]:
        """As JSON values."""
        return {
            "target": self.target,
            "attempts": [_attempt(attempt) for attempt in self.attempts],
            "calls": [
                {"shown": call.shown, "status": call.status, "milliseconds": call.milliseconds} for call in self.calls
            ],
        }


def _attempt(attempt: Attempt) -> dict[str, object]:
    served = attempt.served
    return {
        "shown": attempt.shown,
        "protocol": attempt.protocol,
        "outcome": attempt.outcome,
        "milliseconds": attempt.milliseconds,
        "negotiated": attempt.negotiated,
        "detail": attempt.detail,
        "served": None
        if served is None
        else {
            "fingerprint": served.fingerprint,
            "not_before": served.not_before and format_instant(served.not_before),
            "not_after": served.not_after and format_instant(served.not_after),
        },
    }
