"""TLS: what the services ask of their peers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from stage4.audit.evidence import CertificateFile, Evidence, ServiceFacts
from stage4.audit.finding import Control, Opinion, Severity, failed, of_problem, passed, skipped, unknown
from stage4.audit.policy import Policy
from stage4.clock import format_instant

if TYPE_CHECKING:
    from stage4.security.certificate_facts import CertificateFacts

_PIN = re.compile(r"sha256:([0-9a-f]{64})")


def _speaking_tls(evidence: Evidence) -> Iterator[ServiceFacts]:
    return (service for service in evidence.services if service.tls_enabled is not None)


def mutual(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
    """TLS-01: an enabled service speaks TLS only and demands a client certificate."""
    for service in _speaking_tls(evidence):
        if not service.enabled:
            yield skipped(service.name, "audit.service_disabled", service=service.name)
        elif not service.tls_enabled:
            yield failed(service.name, "audit.tls_off", service=service.name)
        elif not service.furnished:
            yield failed(service.name, "exposure.tls_unfurnished", service=service.name)
        elif not service.require_client_auth:
            yield failed(service.name, "audit.client_auth_off", service=service.name)
        else:
            yield passed(service.name, "audit.mutual_tls", service=service.name)


def believed_authorities(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
    """TLS-02: services and their clients believe the CA that issued the bundle's certificates and nobody else."""
    believed = {"metrics_service": evidence.bundle.client_ca, "risk_service": evidence.bundle.risk_client_ca}
    judged: set[str] = set()
    for service in _speaking_tls(evidence):
        file = believed.get(service.name)
        if not service.enabled or not service.tls_enabled:
            yield skipped(service.name, "audit.service_without_tls", service=service.name)
        elif file is None:
            yield failed(service.name, "audit.client_ca_unset", service=service.name)
        elif file.path not in judged:
            # One file is one subject, also where several services believe it.
            judged.add(file.path)
            yield _believed(file, evidence, now)
    authority = evidence.bundle.certificate("ca")
    if judged and authority is not None and authority.path not in judged and authority.problem is None:
        # Whom the clients believe when a service shows its certificate.
        yield _believed(authority, evidence, now)


def _believed(file: CertificateFile, evidence: Evidence, now: datetime) -> Opinion:
    """The worst that can be said of what a service believes."""
    path, authority = file.path, evidence.bundle.certificate("ca")
    if authority is not None and authority.path == path and authority.problem is not None:
        # The bundle's own file, whose problem X509-01 names.
        return unknown(path, "audit.believes_unread", path=path)
    if file.problem is not None:
        return of_problem(path, file.problem)
    if file.stray_text:
        return failed(path, "cert.stray_text", path=path)
    for facts in file.certificates:
        if not facts.is_ca:
            return failed(path, "audit.believes_leaf", path=path, subject=facts.subject)
        if now > facts.not_after:
            return failed(path, "audit.believes_expired", path=path, not_after=format_instant(facts.not_after))
    if authority is None or not authority.certificates or not file.certificates:
        return unknown(path, "audit.believes_unread", path=path)
    own = {facts.fingerprint for facts in authority.certificates}
    for facts in file.certificates:
        if facts.fingerprint not in own:
            return failed(path, "audit.believes_foreign", path=path, subject=facts.subject)
    if (idle := _idle(file, evidence)) is not None:
        return failed(path, "exposure.authority_idle", path=path, subject=idle.subject, fingerprint=idle.fingerprint)
    return passed(path, "audit.believes_own", path=path)


def _idle(file: CertificateFile, evidence: Evidence) -> CertificateFacts | None:
    """
    The first CA of several that vouches for no certificate of the bundle: whoever has its key is believed all the same.

    While a CA is being replaced there are two; the next one is in the rotation's journal or pinned in the settings. Of
    a single CA X509-04 and X509-05 say whether it is the right one.
    """
    if len({facts.fingerprint for facts in file.certificates}) < 2:
        return None
    pinned = {_plain(pin).removeprefix("sha256:") for service in evidence.services for pin in service.pinned}
    known = {fingerprint for chain in evidence.bundle.chains for fingerprint in chain.path} | pinned
    known.add(evidence.bundle.next_authority or "")
    return next((facts for facts in file.certificates if facts.fingerprint not in known), None)


def pins(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
    """TLS-03: pinned fingerprints are well formed, and the served certificate is among them."""
    for service in _speaking_tls(evidence):
        if not service.enabled or not service.pinned:
            yield skipped(service.name, "audit.no_pins", service=service.name)
            continue
        served = evidence.bundle.certificate(service.name) or evidence.bundle.certificate("server")
        wanted = [_PIN.fullmatch(_plain(pin)) for pin in service.pinned]
        if not all(wanted):
            yield failed(service.name, "audit.pin_malformed", service=service.name)
        elif served is None or not served.certificates:
            yield unknown(service.name, "audit.pin_unproven", service=service.name)
        elif served.certificates[0].fingerprint not in {match.group(1) for match in wanted if match}:
            yield failed(service.name, "audit.pin_differs", service=service.name)
        else:
            yield passed(service.name, "audit.pin_matches", service=service.name)


def _plain(pin: str) -> str:
    """A fingerprint as `sha256:` and digits, from the spellings with capitals and with a colon at each byte."""
    algorithm, _, digits = pin.strip().lower().partition(":")
    return f"{algorithm}:{digits.replace(':', '')}"


CONTROLS = (
    Control("TLS-01", mutual, Severity.CRITICAL, ("RFC 8446 4.3.2",)),
    Control("TLS-02", believed_authorities, Severity.HIGH),
    Control("TLS-03", pins, Severity.MEDIUM, ("RFC 9325 3.1",)),
)
