"""Attempts to get into the metrics service, with what should open it and with what must not.

A refusal proves something only while the door works: the positive control runs before the others and after them, and
where it fails the others cannot tell.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography import x509

from stage4.clock import format_instant
from stage4.errors import Refused, Stage4Error, Unavailable
from stage4.security import certificates
from stage4.security.certificate_facts import CertificateFacts, facts_of
from stage4.telemetry.grpc_client import Endpoint, Headers, MetricsClient, Status
from stage4.telemetry.watch import Probe

HANDSHAKE_SECONDS = 5.0
_TOKEN_KEYS = ("authorization", "x-bot-auth")


@dataclass(frozen=True, slots=True)
class Access:
    """What the probes found; `status` and `answer` are the positive control's, None when it did not get in."""

    probes: tuple[Probe, ...]
    status: Status | None
    answer: Headers
    problem: Stage4Error | None


def try_access(endpoint: Endpoint, headers: Headers, wrong_token: str) -> Access:
    """Knock with everything, without a token, with a wrong one, without a certificate, and with everything again."""
    status: Status | None = None
    answer: Headers = ()
    try:
        with MetricsClient(endpoint, headers) as client:
            status, answer = client.status_and_headers()
    except (Refused, Unavailable) as error:
        refused = isinstance(error, Refused)
        outcome = "refused" if refused else "cannot_tell"
        control = Probe("positive_control", "admitted", outcome, _status(error), False if refused else None)
        return Access((control,), None, (), error)
    control = Probe("positive_control", "admitted", "admitted", "OK", True)
    without = tuple((key, value) for key, value in headers if key not in _TOKEN_KEYS)
    forged = (*without, ("authorization", f"Bearer {wrong_token}"))
    negative = [
        _refusal("no_token", endpoint, without),
        _refusal("wrong_token", endpoint, forged),
    ]
    if endpoint.material is not None:
        stripped = replace(endpoint, material=replace(endpoint.material, chain=b"", private_key=b""))
        negative.append(_refusal("no_certificate", stripped, headers, at_handshake=True))
    try:
        with MetricsClient(endpoint, headers) as client:
            client.status()
    except (Refused, Unavailable) as error:
        lost = Probe("positive_control_after", "admitted", "cannot_tell", _status(error), None)
        unsure = (replace(probe, right=None) if probe.right else probe for probe in negative)
        return Access((control, *unsure, lost), status, answer, None)
    again = Probe("positive_control_after", "admitted", "admitted", "OK", True)
    return Access((control, *negative, again), status, answer, None)


def _refusal(name: str, endpoint: Endpoint, headers: Headers, *, at_handshake: bool = False) -> Probe:
    try:
        with MetricsClient(endpoint, headers) as client:
            client.status()
    except Refused as error:
        return Probe(name, "refused", "refused", _status(error), True)
    except Unavailable as error:
        # A handshake that was refused looks like a service that is away; the second control tells them apart.
        refused = at_handshake and error.params.get("status") == "UNAVAILABLE"
        return Probe(name, "refused", "refused" if refused else "cannot_tell", _status(error), refused or None)
    return Probe(name, "refused", "admitted", "OK", False)


def _status(error: Stage4Error) -> str:
    return str(error.params.get("status", error.code))


def tls_facts(endpoint: Endpoint, paths: tuple[Path, Path, Path], pins: Sequence[str]) -> dict[str, object]:
    """A TLS handshake of our own with the service, as facts; `right` is False when it, or a pin, does not fit."""
    certificate, private_key, trusted = paths
    context = ssl.create_default_context(cafile=str(trusted))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    context.load_cert_chain(certificate, private_key)
    shown = facts_of(certificates.load_certificates(certificate)[0])
    facts: dict[str, object] = {"enabled": True, "client": _leaf(shown)}
    try:
        with contextlib.ExitStack() as stack:
            plain = stack.enter_context(
                socket.create_connection((endpoint.host, endpoint.port), timeout=HANDSHAKE_SECONDS)
            )
            secured = stack.enter_context(context.wrap_socket(plain, server_hostname=endpoint.host))
            leaf = x509.load_der_x509_certificate(secured.getpeercert(binary_form=True) or b"")
            cipher = secured.cipher()
            version = secured.version()
            # TLS 1.3 tells a client whose certificate is refused only after the handshake, in place of the first data.
            greeted = secured.recv(1)
    except ssl.SSLError as error:
        return facts | {"right": False, "reason": error.reason or "handshake failed"}
    except OSError as error:
        return facts | {"right": None, "reason": error.strerror or type(error).__name__}
    if not greeted:
        return facts | {"right": False, "reason": "closed after the handshake"}
    server = facts_of(leaf)
    pinned = server.fingerprint in {pin.lower().replace(":", "") for pin in pins} if pins else None
    return facts | {
        "right": pinned is not False,
        "version": version,
        "cipher": cipher[0] if cipher else None,
        "server": _leaf(server),
        "pinned": pinned,
    }


def _leaf(facts: CertificateFacts) -> dict[str, object]:
    return {
        "subject": facts.subject,
        "sans": list(facts.sans),
        "not_before": format_instant(facts.not_before),
        "not_after": format_instant(facts.not_after),
        "fingerprint": facts.fingerprint,
    }
