"""TLS: what the services ask of their peers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime

from stage4.audit.evidence import Evidence
from stage4.audit.finding import Control, Opinion, Severity, failed, of_problem, passed, skipped, warned
from stage4.audit.policy import Policy
from stage4.clock import format_instant
from stage4.security.certificate_chain import may_have_issued

_PIN = re.compile(r"sha256:([0-9a-f]{64})")


def mutual(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
    """TLS-01: an enabled service speaks TLS only and demands a client certificate."""
    for service in evidence.services:
        if service.tls_enabled is None:
            continue
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
    """TLS-02: the service believes the bundle's CA and nobody else."""
    service = next((service for service in evidence.services if service.name == "metrics_service"), None)
    if service is None:
        return
    if not service.enabled or not service.tls_enabled:
        yield skipped(service.name, "audit.service_without_tls", service=service.name)
        return
    believed = evidence.bundle.client_ca
    authority = evidence.bundle.certificate("ca")
    if believed is None:
        yield failed(service.name, "audit.client_ca_unset", service=service.name)
        return
    if believed.problem is not None:
        yield of_problem(believed.path, believed.problem)
        return
    if believed.stray_text:
        yield failed(believed.path, "audit.stray_text", path=believed.path)
    if authority is None or not authority.certificates:
        return
    own = {facts.fingerprint for facts in authority.certificates}
    issued = [facts for file in evidence.bundle.certificates if file.role != "ca" for facts in file.certificates]
    for facts in believed.certificates:
        if not facts.is_ca:
            yield failed(believed.path, "audit.believes_leaf", path=believed.path, subject=facts.subject)
        elif now > facts.not_after:
            ended = format_instant(facts.not_after)
            yield failed(believed.path, "audit.believes_expired", path=believed.path, not_after=ended)
        elif facts.fingerprint not in own:
            yield failed(believed.path, "audit.believes_foreign", path=believed.path, subject=facts.subject)
        elif issued and not any(may_have_issued(facts, other) for other in issued):
            # While a CA is being replaced there are two of them; at any other time one of them is nobody's.
            yield warned(believed.path, "exposure.authority_idle", path=believed.path, subject=facts.subject)
        else:
            yield passed(believed.path, "audit.believes_own", path=believed.path)


def pins(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
    """TLS-03: pinned fingerprints are well formed, and the served certificate is among them."""
    service = next((service for service in evidence.services if service.name == "metrics_service"), None)
    if service is None:
        return
    if not service.enabled or not service.pinned:
        yield skipped(service.name, "audit.no_pins", service=service.name)
        return
    served = evidence.bundle.certificate("metrics_service") or evidence.bundle.certificate("server")
    if served is None or not served.certificates:
        return
    wanted = [_PIN.fullmatch(pin.lower().replace(":", "").replace("sha256", "sha256:", 1)) for pin in service.pinned]
    if not all(wanted):
        yield failed(service.name, "audit.pin_malformed", service=service.name)
    elif served.certificates[0].fingerprint not in {match.group(1) for match in wanted if match}:
        yield failed(service.name, "audit.pin_differs", service=service.name)
    else:
        yield passed(service.name, "audit.pin_matches", service=service.name)


CONTROLS = (
    Control("TLS-01", mutual, Severity.CRITICAL, ("RFC 8446 4.3.2",)),
    Control("TLS-02", believed_authorities, Severity.HIGH),
    Control("TLS-03", pins, Severity.MEDIUM, ("RFC 9325 3.1",)),
)
