"""DLOG: the decision log has a key, the key is good, and the log verifies with it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from stage4.audit.controls.rbac import judge_strength, missing_allowed
from stage4.audit.evidence import Evidence
from stage4.audit.finding import Control, Opinion, Outcome, Severity, failed, of_problem, passed, unknown, warned
from stage4.audit.policy import Policy
from stage4.clock import format_instant
from stage4.errors import ExitCode
from stage4.security.keyring import SECRET_BYTES
from stage4.security.rotation import RotationState, always_due, judge

_DAY = timedelta(days=1)


def configured(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
    """DLOG-01: the log has a key ring with an active key; a router key has one source and an id."""
    log = evidence.log
    if log.ring_problem is not None:
        yield of_problem("keyring", log.ring_problem)
    elif log.active is not None:
        yield passed("keyring", "audit.ring_active", key_id=log.active.key_id)
    if log.router_sources > 1:
        yield failed("live_router", "audit.router_sources", count=log.router_sources)
    elif log.router_sources == 1 and not log.router_key_id:
        yield failed("live_router", "audit.router_key_id")
    elif log.router_sources == 1:
        yield passed("live_router", "audit.router_key", key_id=log.router_key_id, reference=log.router_reference)


def key_strength(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
    """DLOG-02: the secrets are there and hard to guess (the ring itself takes no key below 32 bytes)."""
    log = evidence.log
    if log.active is not None:
        key_id = log.active.key_id
        secret = next((other.secret for other in log.ring_secrets if other.subject == key_id), None)
        opinion = None if secret is None else judge_strength(f"keyring/{key_id}", secret, policy)
        if log.active.problem is not None:
            yield missing_allowed(f"keyring/{key_id}", log.active.problem, log.active.missing_variable, policy)
        elif opinion is not None and opinion.outcome is not Outcome.PASS:
            yield opinion
        else:
            yield passed(f"keyring/{key_id}", "audit.ring_secret", key_id=key_id)
    subject = f"live_router/{log.router_key_id or '-'}"
    if log.router_problem is not None:
        yield missing_allowed(subject, log.router_problem, log.router_missing_variable, policy)
    elif log.router_secret is not None and log.router_short:
        yield failed(subject, "audit.hmac_key_short", subject=subject, bytes=SECRET_BYTES)
    elif log.router_secret is not None:
        yield judge_strength(subject, log.router_secret, policy)


def verifies(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
    """DLOG-03: the log verifies with the keys of the ring, is the one that was here before, and not shorter than it."""
    log = evidence.log
    for doubt in log.doubts:
        yield warned(str(doubt.params["place"]), doubt.code, path=log.path, **doubt.params)
    if not log.present and log.entries_before:
        yield failed(log.path, "audit.log_gone", path=log.path, before=log.entries_before)
    elif not log.present and log.trace:
        yield failed(log.path, "audit.log_vanished", path=log.path, trace=log.trace)
    elif log.problem is not None:
        yield of_problem(log.path, log.problem)
    elif not log.present:
        yield warned(log.path, "audit.log_absent", path=log.path)
    elif log.verdict is None or log.verdict.exit_code == ExitCode.CANNOT_TELL:
        yield unknown(log.path, "audit.log_unverified", path=log.path)
    elif log.verdict.exit_code != ExitCode.DONE or log.verdict.findings:
        first = log.verdict.first
        params = first.params if first else {"path": log.path, "line": 0, "offset": 0, "fault": "unknown"}
        yield failed(log.path, "audit.log_finding", **params)
    elif log.verdict.entries < log.entries_before:
        counts = {"count": log.verdict.entries, "before": log.entries_before}
        yield failed(log.path, "audit.log_shrunk", path=log.path, **counts)
    else:
        yield passed(log.path, "audit.log_verifies", path=log.path, count=log.verdict.entries)


def key_age(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
    """DLOG-04: the signing key is replaced as often as other keys are, and the router's key is among those watched."""
    log, key = evidence.log, evidence.log.active
    if log.router_sources and log.router_key_id:
        watched = {required.key.lower() for required in policy.rotations if required.registry == "keys"}
        if log.router_key_id.lower() in watched:
            yield passed(f"live_router/{log.router_key_id}", "audit.router_key_watched", key_id=log.router_key_id)
        else:
            yield warned(f"live_router/{log.router_key_id}", "audit.router_key_unwatched", key_id=log.router_key_id)
    if key is None:
        return
    interval, window = policy.rotation_interval_days, policy.rotation_warn_days
    rotation = judge(key.created, interval, window, now)
    params = {"key_id": key.key_id, "created": format_instant(key.created)}
    if rotation.state is RotationState.FRESH:
        yield passed(key.key_id, "audit.log_key_fresh", **params)
    elif rotation.state is RotationState.FUTURE:
        yield failed(key.key_id, "audit.log_key_future", **params)
    elif rotation.state is RotationState.DUE and always_due(interval, window):
        yield warned(key.key_id, "audit.log_key_always_due", **params, interval=interval, warn=window)
    else:
        yield warned(key.key_id, "audit.log_key_old", **params, days=round((now - key.created) / _DAY))


CONTROLS = (
    Control("DLOG-01", configured, Severity.HIGH),
    Control("DLOG-02", key_strength, Severity.HIGH, ("RFC 2104", "NIST SP 800-107")),
    Control("DLOG-03", verifies, Severity.CRITICAL, ("RFC 6962",)),
    Control("DLOG-04", key_age, Severity.LOW, ("NIST SP 800-57",)),
)
