"""RBAC: the tokens of services. No finding ever names a secret, its length or its digest."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime

from stage4.audit.evidence import Evidence, Problem, Secret, SettingNotice, TokenFacts
from stage4.audit.finding import (
    Control,
    Opinion,
    Outcome,
    Severity,
    failed,
    of_problem,
    passed,
    skipped,
    unknown,
    warned,
)
from stage4.audit.policy import Policy
from stage4.audit.reading import HIDDEN
from stage4.security.tokens import SCOPES

# Keys under which people write a secret itself into the settings; stage4 reads none of them.
INLINE_KEYS = frozenset({"auth_token", "hmac_key", "signing_key", "private_key", "key_value", "token_value", "api_key"})
_INLINE_ENDS = ("token", "secret", "password", "passphrase")
_WRITES = frozenset(scope for scope in SCOPES if scope.endswith(".write"))
_READERS = ("metrics_service", "risk_service")


def every_service(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
    """RBAC-01: every enabled service and scheduler has a token, and there is a scheduler at all."""
    with_tokens = {token.service for token in evidence.tokens}
    for service in evidence.services:
        if not service.enabled:
            yield skipped(service.name, "audit.service_disabled", service=service.name)
        elif service.name in with_tokens:
            yield passed(service.name, "audit.has_token", service=service.name)
        else:
            yield failed(service.name, "audit.no_token", service=service.name)
    if evidence.services and not any(service.name.startswith("scheduler:") for service in evidence.services):
        yield unknown("scheduler", "audit.no_scheduler")


def one_source(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
    """RBAC-02: a token has one source, and no secret stands in the settings themselves."""
    inline = {notice.key: notice for notice in evidence.notices if is_inline(notice)}
    by_place = {key.rpartition(".")[0]: notice for key, notice in inline.items()}
    for token in evidence.tokens:
        notice = by_place.get(token.place) if token.sources != 1 else None
        if notice is not None:
            yield failed(token.subject, "audit.inline_secret", key=inline.pop(notice.key).key, line=notice.line)
        elif token.sources == 1:
            yield passed(token.subject, "audit.one_source", token=token.subject, reference=token.reference)
        else:
            yield failed(token.subject, "audit.token_sources", token=token.subject, count=token.sources)
    for notice in inline.values():
        yield failed(notice.key, "audit.inline_secret", key=notice.key, line=notice.line)
    for key in evidence.inline_secrets:
        yield failed(key, "audit.inline_setting", key=key)


def is_inline(notice: SettingNotice) -> bool:
    """Whether an unknown key holds a secret itself, by its name and because it has a text."""
    name = notice.key.rpartition(".")[2]
    named = name in INLINE_KEYS or name.endswith(_INLINE_ENDS)
    return named and not notice.blank and notice.value is None


def resolvable(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
    """RBAC-03: the secret can be read and is not blank; what several tokens lack is named at the first of them."""
    named: dict[str, str] = {}
    for token in evidence.tokens:
        if token.sources != 1 or token.hash_tag is not None or token.reference.startswith("hash"):
            yield skipped(token.subject, "audit.no_secret_here", token=token.subject)
        elif token.problem is None:
            yield passed(token.subject, "audit.token_readable", token=token.subject, reference=token.reference)
        elif token.reference in named:
            other = named[token.reference]
            yield skipped(token.subject, "audit.same_source", token=token.subject, other=other)
        else:
            if HIDDEN not in token.reference:
                named[token.reference] = token.subject
            yield missing_allowed(token.subject, token.problem, token.missing_variable, policy)


def missing_allowed(subject: str, problem: Problem, missing_variable: bool, policy: Policy) -> Opinion:
    """The problem, only warned of where it is a variable that is not set and that may be so."""
    if missing_variable and policy.allow_missing_env:
        return Opinion(subject, Outcome.WARN, problem.code, problem.params)
    return of_problem(subject, problem)


def strong(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
    """RBAC-04: a secret is hard to guess and is no placeholder."""
    for token in evidence.tokens:
        if token.guessed:
            yield failed(token.subject, "audit.secret_common", subject=token.subject)
        elif token.secret is None:
            yield skipped(token.subject, "audit.no_secret_here", token=token.subject)
        else:
            yield judge_strength(token.subject, token.secret, policy)


def judge_strength(subject: str, secret: Secret, policy: Policy) -> Opinion:
    """One secret against the policy; the finding says only on which side it falls."""
    # Rounded up, because a finding must not say that less is enough than what was asked for.
    required = math.ceil(policy.min_secret_bits)
    if secret.placeholder:
        return failed(subject, "audit.secret_placeholder", subject=subject)
    if secret.bits < policy.min_secret_bits:
        return failed(subject, "audit.secret_weak", subject=subject, bits=required)
    return passed(subject, "audit.secret_strong", subject=subject, bits=required)


def hashes(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
    """RBAC-05: a token's hash uses SHA-2 or SHA-3, has a digest of the right form, and is the secret's beside it."""
    for token in evidence.tokens:
        if token.hash_problem is not None:
            yield of_problem(token.subject, token.hash_problem)
        elif token.hash_agrees is False:
            yield failed(token.subject, "audit.hash_differs", token=token.subject)
        elif token.hash_agrees:
            yield passed(token.subject, "audit.hash_fits", token=token.subject)
        elif not token.reference.startswith("hash") or token.sources != 1:
            yield skipped(token.subject, "audit.no_hash", token=token.subject)
        elif token.problem is not None:
            yield of_problem(token.subject, token.problem)
        else:
            yield passed(token.subject, "audit.hash_fits", token=token.subject)


def covered(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
    """RBAC-06: each scope that a service needs belongs to a token that works."""
    by_service: dict[str, list[TokenFacts]] = {}
    for token in evidence.tokens:
        by_service.setdefault(token.service, []).append(token)
    for service in evidence.services:
        for scope in policy.required_scopes(service.name):
            subject = f"{service.name}/{scope}"
            holders = [token for token in by_service.get(service.name, ()) if scope in token.scopes]
            params = {"service": service.name, "scope": scope}
            if not service.enabled:
                yield skipped(subject, "audit.service_disabled", service=service.name)
            elif any(token.problem is None for token in holders):
                yield passed(subject, "audit.scope_covered", **params)
            elif policy.allow_missing_env and any(token.missing_variable for token in holders):
                yield warned(subject, "audit.scope_waits", **params)
            elif holders or not by_service.get(service.name):
                yield failed(subject, "audit.scope_blocked", **params)
            else:
                yield failed(subject, "audit.scope_uncovered", **params)


def least_privilege(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
    """RBAC-07: every scope is one we know, none is a wildcard, and readers cannot write."""
    for token in evidence.tokens:
        unknown_scopes = sorted(set(token.scopes) - SCOPES)
        writes = sorted(set(token.scopes) & _WRITES)
        if not token.scopes:
            yield failed(token.subject, "audit.no_scopes", token=token.subject)
        elif unknown_scopes:
            named = ", ".join(scope if scope.isprintable() else "?" for scope in unknown_scopes)
            yield failed(token.subject, "audit.scope_unknown", token=token.subject, scopes=named)
        elif token.service in _READERS and writes:
            yield warned(token.subject, "audit.reader_writes", token=token.subject, scopes=", ".join(writes))
        else:
            yield passed(token.subject, "audit.scopes_fit", token=token.subject, scopes=", ".join(token.scopes))


def unique(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
    """RBAC-08: no id stands twice in a service, and no secret serves two purposes, in the clear or as a hash."""
    owners = _Owners()
    for token in evidence.tokens:
        source = None if token.reference.startswith("hash") else (token.service, token.reference)
        twin = owners.meet(token.subject, source, token.secret, token.hash_tag)
        if not token.token_id.strip():
            yield failed(token.subject, "audit.token_id_blank", token=token.subject)
        elif token.position > 1:
            yield failed(token.subject, "audit.token_id_twice", token=f"{token.service}/{token.token_id}")
        elif twin is not None:
            yield failed(token.subject, "audit.secret_shared", subject=token.subject, other=twin)
        elif token.secret is None and token.hash_tag is None:
            yield skipped(token.subject, "audit.no_secret_here", token=token.subject)
        else:
            yield passed(token.subject, "audit.secret_unique", subject=token.subject)
    others = [(other.subject, other.secret) for other in evidence.other_secrets]
    if evidence.log.router_secret is not None:
        others.append((f"live_router/{evidence.log.router_key_id or '-'}", evidence.log.router_secret))
    others += [(f"keyring/{other.subject}", other.secret) for other in evidence.log.ring_secrets]
    for subject, secret in others:
        twin = owners.meet(subject, None, secret, None)
        if twin is None:
            yield passed(subject, "audit.secret_unique", subject=subject)
        else:
            yield failed(subject, "audit.secret_shared", subject=subject, other=twin)


class _Owners:
    """Who had a secret first, by its tags; ten thousand tokens are compared without comparing each with each."""

    def __init__(self) -> None:
        self._plain: dict[str, tuple[str, object]] = {}
        self._digests_of_plain: dict[str, tuple[str, object]] = {}
        self._hashes: dict[str, tuple[str, object]] = {}

    def meet(self, subject: str, source: object, secret: Secret | None, hash_tag: str | None) -> str | None:
        """The subject that has this secret already, else None; two entries over one `source` are one token."""
        owner = (subject, source)
        found: list[tuple[str, object]] = []
        if secret is not None:
            found += [self._plain[secret.tag]] if secret.tag in self._plain else []
            # By subject, because the tags of stored evidence are others and in another order.
            hashed = (self._hashes[tag] for tag in secret.hashed_tags & self._hashes.keys())
            found += sorted(hashed, key=lambda each: each[0])
            self._plain.setdefault(secret.tag, owner)
            for tag in secret.hashed_tags:
                self._digests_of_plain.setdefault(tag, owner)
        elif hash_tag is not None:
            known = (self._hashes.get(hash_tag), self._digests_of_plain.get(hash_tag))
            found += [earlier for earlier in known if earlier is not None]
            self._hashes.setdefault(hash_tag, owner)
        return next((name for name, other in found if source is None or other != source), None)


CONTROLS = (
    Control("RBAC-01", every_service, Severity.HIGH, ("NIST SP 800-53 IA-9",)),
    Control("RBAC-02", one_source, Severity.HIGH, ("CWE-798",)),
    Control("RBAC-03", resolvable, Severity.HIGH),
    Control("RBAC-04", strong, Severity.HIGH, ("NIST SP 800-63B", "CWE-521")),
    Control("RBAC-05", hashes, Severity.HIGH, ("CWE-328",)),
    Control("RBAC-06", covered, Severity.MEDIUM),
    Control("RBAC-07", least_privilege, Severity.HIGH, ("NIST SP 800-53 AC-6",)),
    Control("RBAC-08", unique, Severity.HIGH, ("NIST SP 800-57",)),
)
