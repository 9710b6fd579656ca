"""DLOG: the decision log has a key, the key is good, and the log verifies with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from stage4.audit.controls.rbac import judge_strength, missing_allowed
from stage4.audit.evidence import Evidence, LogFacts
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
    if log.router_sources > 1 or (log.router_key_id and not log.router_sources):
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
    # Whatever is found, the next audit has to know how many entries there were, and of which log.
    known = {"before": log.entries_before} | ({"log_id": log.log_id} if log.log_id else {})
    opinion = _verifies(log)
    yield replace(opinion, params={**known, **opinion.params} if log.entries_before or log.log_id else opinion.params)
    if log.present and log.other_log:
        params = {"path": log.path, "log_id": log.log_id, "other": log.other_log}
        yield warned(f"{log.path}#{log.other_log}", "audit.log_other", **params)


def _verifies(log: LogFacts) -> Opinion:
    if not log.present and log.entries_before:
        return failed(log.path, "audit.log_gone", path=log.path, before=log.entries_before)
    if not log.present and log.trace:
        return failed(log.path, "audit.log_vanished", path=log.path, trace=log.trace)
    if log.problem is not None:
        return of_problem(log.path, log.problem)
    if not log.present:
        return warned(log.path, "audit.log_absent", path=log.path)
    if log.verdict is None or log.verdict.exit_code == ExitCode.CANNOT_TELL:
        return unknown(log.path, "audit.log_unverified", path=log.path)
    if log.verdict.exit_code != ExitCode.DONE or log.verdict.findings:
        first = log.verdict.first
        params = first.params if first else {"path": log.path, "line": 0, "offset": 0, "fault": "unknown"}
        return failed(log.path, "audit.log_finding", **params)
    if log.verdict.entries < log.entries_before:
        counts = {"count": log.verdict.entries, "before": log.entries_before}
        return failed(log.path, "audit.log_shrunk", path=log.path, **counts)
    return passed(log.path, "audit.log_verifies", path=log.path, count=log.verdict.entries)


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
    Control("DLOG-03", verifies, Severity.CRITICAL, ("RFC 6962",), waivable=False),
    Control("DLOG-04", key_age, Severity.LOW, ("NIST SP 800-57",)),
)
