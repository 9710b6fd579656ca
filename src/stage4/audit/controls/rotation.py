"""ROT: when keys and certificates were last replaced, and whether the registry tells the truth about it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from stage4.audit.evidence import Evidence
from stage4.audit.finding import Control, Opinion, Severity, failed, of_problem, passed, skipped, unknown, warned
from stage4.audit.policy import Policy, RequiredRotation
from stage4.audit.rotation_rows import mark_command, remedy
from stage4.clock import format_instant
from stage4.security.rotation import SEPARATOR, RotationState, judge

if TYPE_CHECKING:
    from stage4.security.certificate_facts import CertificateFacts

_DAY = timedelta(days=1)
# A registry that is nonsense from end to end must not make a report that nobody can read.
_SHOWN = 20
# What is wrong with a row, by what the registry's reader says of it.
_ROWS = {
    "security.registry_row_name": "rotation.row_name",
    "security.registry_row_twice": "rotation.row_twice",
    "security.registry_row_instant": "rotation.row_instant",
}


def readable(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
    """ROT-01: the registries can be read, row by row, and nothing in them is dated after now."""
    for registry in evidence.registries:
        if registry.problem is not None:
            yield of_problem(registry.path, registry.problem)
            continue
        for row, code in registry.bad_rows[:_SHOWN]:
            wrong = _ROWS.get(code, "rotation.bad_row")
            yield failed(f"{registry.path}#{row}", wrong, path=registry.path, row=row, reason=code)
        ahead = [name for name, at in registry.rows.items() if at > now]
        for key, purpose in ahead[:_SHOWN]:
            at = format_instant(registry.rows[key, purpose])
            row = f"{key}{SEPARATOR}{purpose}"
            yield failed(f"{registry.path}#{row}", "audit.rotation_future", row=row, at=at)
        if (more := len(registry.bad_rows[_SHOWN:]) + len(ahead[_SHOWN:])) > 0:
            yield failed(registry.path, "rotation.more_rows", path=registry.path, count=more)
        if not registry.bad_rows and not ahead:
            yield passed(registry.path, "audit.registry_readable", path=registry.path, count=len(registry.rows))


def _last(evidence: Evidence, required: RequiredRotation) -> datetime | None:
    registry = evidence.registry(required.registry)
    return None if registry is None else registry.rows.get((required.key.lower(), required.purpose.lower()))


def recorded(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
    """ROT-02: every key under rotation has a row."""
    for required in policy.rotations:
        registry = evidence.registry(required.registry)
        subject = f"{required.key}{SEPARATOR}{required.purpose}"
        if registry is None or registry.problem is not None:
            yield unknown(subject, "audit.registry_unread", row=subject)
        elif _last(evidence, required) is None:
            command = mark_command(required.key, required.purpose)
            yield failed(subject, "audit.rotation_missing", row=subject, path=registry.path, command=command)
        else:
            yield passed(subject, "audit.rotation_recorded", row=subject)


def in_time(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
    """ROT-03: nothing is overdue; what falls due within the warning window is named."""
    for required in policy.rotations:
        subject = f"{required.key}{SEPARATOR}{required.purpose}"
        rotation = judge(_last(evidence, required), required.interval_days, required.warn_days, now)
        if rotation.due_at is None or rotation.left is None:
            yield unknown(subject, "audit.rotation_undated", row=subject)
            continue
        days = round(rotation.left / _DAY, 1)
        params = {"row": subject, "due_at": format_instant(rotation.due_at), "days": abs(days)}
        todo = remedy(required.registry, required.key, required.purpose, bundle=policy.bundle, own=_is_own(evidence))
        match rotation.state:
            case RotationState.FRESH:
                yield passed(subject, "audit.rotation_fresh", **params)
            case RotationState.DUE if required.always_due:
                window = {"interval": required.interval_days, "warn": required.warn_days}
                code = "rotation.always_due_asked" if required.asked else "rotation.always_due"
                yield warned(subject, code, **params, **window)
            case RotationState.DUE:
                yield warned(subject, f"rotation.due_{todo.way}", **params, command=todo.command)
            case RotationState.OVERDUE:
                yield failed(subject, f"rotation.overdue_{todo.way}", **params, command=todo.command)
            case _:
                yield unknown(subject, "audit.rotation_undated", row=subject)


def truthful(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
    """ROT-04: the registry and the certificate on disk tell of the same rotation, and none was left unfinished."""
    if evidence.unfinished is not None:
        yield failed(policy.bundle, "rotation.unfinished", bundle=policy.bundle, path=evidence.unfinished)
    for required in policy.rotations:
        if required.registry != "tls":
            continue
        proof = _proof(evidence, required, now)
        if isinstance(proof, Opinion):
            yield proof
            continue
        subject, certificate, at = proof
        begins = certificate.not_before
        params = {"row": subject, "at": format_instant(at), "not_before": format_instant(begins)}
        if at - begins > policy.deployment_days * _DAY:
            yield failed(subject, "audit.rotation_claimed", **params)
        elif begins - at > policy.registry_lag_days * _DAY:
            command = mark_command(required.key, required.purpose, begins)
            yield warned(subject, "audit.rotation_unrecorded", **params, command=command)
        else:
            yield passed(subject, "audit.rotation_agrees", **params)


def changed(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
    """
    ROT-05: a rotation on record replaced the key, not only the certificate around it.

    The public key (SPKI) on disk is compared with the one from before the rotation: the newest kept report, or backup,
    that is older than the rotation. A registry may lag behind the certificate, so a certificate that could have come
    with the rotation on record is compared with what was there before it began, not with itself.
    """
    for required in policy.rotations:
        if required.registry != "tls":
            continue
        proof = _proof(evidence, required, now)
        if isinstance(proof, Opinion):
            yield proof
            continue
        subject, certificate, at = proof
        came_with_it = timedelta(0) <= at - certificate.not_before <= policy.deployment_days * _DAY
        since = certificate.not_before if came_with_it else at
        before = [
            earlier
            for earlier in evidence.earlier_certificates
            if earlier.role == _role(required) and (earlier.at < since or (earlier.replaced and earlier.at <= at))
        ]
        if not before:
            yield skipped(subject, "rotation.nothing_earlier", row=subject)
            continue
        previous = max(before, key=lambda earlier: earlier.at)
        params = {"row": subject, "at": format_instant(at), "source": previous.source}
        if previous.spki_sha256 == certificate.spki_sha256:
            yield failed(subject, "rotation.key_kept", **params)
        else:
            yield passed(subject, "rotation.key_changed", **params)


def _proof(
    evidence: Evidence, required: RequiredRotation, now: datetime
) -> tuple[str, CertificateFacts, datetime] | Opinion:
    """The row's name, the certificate on disk and the rotation on record, or why they cannot be compared."""
    subject = f"{required.key}{SEPARATOR}{required.purpose}"
    certificate, at = _certificate(evidence, required), _last(evidence, required)
    if certificate is None or at is None:
        return unknown(subject, "audit.rotation_unproven", row=subject)
    if at > now:
        # ROT-01 says so; nothing follows for certificate or key.
        return unknown(subject, "audit.rotation_undated", row=subject)
    return subject, certificate, at


def _is_own(evidence: Evidence) -> bool:
    """Whether the project's own PKI can renew the bundle."""
    authority = evidence.bundle.certificate("ca")
    return evidence.installation != "production" and authority is not None and authority.demo


def _role(required: RequiredRotation) -> str:
    return required.purpose.lower().removeprefix("tls_")


def _certificate(evidence: Evidence, required: RequiredRotation) -> CertificateFacts | None:
    file = evidence.bundle.certificate(_role(required))
    return file.certificates[0] if file is not None and file.certificates else None


CONTROLS = (
    Control("ROT-01", readable, Severity.MEDIUM),
    Control("ROT-02", recorded, Severity.MEDIUM, ("NIST SP 800-57",)),
    Control("ROT-03", in_time, Severity.HIGH, ("NIST SP 800-57",)),
    Control("ROT-04", truthful, Severity.HIGH),
    Control("ROT-05", changed, Severity.HIGH, ("NIST SP 800-57",)),
)
