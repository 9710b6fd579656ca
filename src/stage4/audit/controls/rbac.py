"""RBAC: the tokens of services. No finding ever names a secret, its length or its digest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime

from stage4.audit.evidence import Evidence, Secret, TokenFacts
from stage4.audit.finding import Control, Opinion, Outcome, Severity, failed, of_problem, passed, skipped, warned
from stage4.audit.policy import Policy
from stage4.security.tokens import SCOPES

# Keys under which people write a secret itself into the settings; stage4 reads none of them.
INLINE_KEYS = frozenset({"token_value", "token", "auth_token", "secret", "password", "hmac_key", "key_value"})
_WRITES = frozenset(scope for scope in SCOPES if scope.endswith(".write"))
_READERS = ("metrics_service",)


def every_service(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
    """RBAC-01: every enabled service and scheduler has a token."""
    with_tokens = {token.service for token in evidence.tokens}
    for service in evidence.services:
        if not service.enabled:
            yield skipped(service.name, "audit.service_disabled", service=service.name)
        elif service.name in with_tokens:
            yield passed(service.name, "audit.has_token", service=service.name)
        else:
            yield failed(service.name, "audit.no_token", service=service.name)


def one_source(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
    """RBAC-02: a token has one source, and no secret stands in the settings themselves."""
    for token in evidence.tokens:
        if token.sources == 1:
            yield passed(token.subject, "audit.one_source", token=token.subject, reference=token.reference)
        else:
            yield failed(token.subject, "audit.token_sources", token=token.subject, count=token.sources)
    for notice in evidence.notices:
        if notice.key.rpartition(".")[2] in INLINE_KEYS:
            yield failed(notice.key, "audit.inline_secret", key=notice.key, line=notice.line)


def resolvable(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
    """RBAC-03: the secret can be read and is not blank."""
    for token in evidence.tokens:
        if token.sources != 1 or token.hash_tag is not None or token.reference.startswith("hash"):
            yield skipped(token.subject, "audit.no_secret_here", token=token.subject)
        elif token.missing_variable and policy.allow_missing_env and token.problem is not None:
            yield Opinion(token.subject, Outcome.WARN, token.problem.code, token.problem.params)
        elif token.problem is not None:
            yield of_problem(token.subject, token.problem)
        else:
            yield passed(token.subject, "audit.token_readable", token=token.subject, reference=token.reference)


def strong(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
    """RBAC-04: a secret is hard to guess and is no placeholder."""
    for token in evidence.tokens:
        if token.secret is None:
            yield skipped(token.subject, "audit.no_secret_here", token=token.subject)
        else:
            yield judge_strength(token.subject, token.secret, policy)


def judge_strength(subject: str, secret: Secret, policy: Policy) -> Opinion:
    """One secret against the policy; the finding says only on which side it falls."""
    required = round(policy.min_secret_bits)
    if secret.placeholder:
        return failed(subject, "audit.secret_placeholder", subject=subject)
    if secret.bits < policy.min_secret_bits:
        return failed(subject, "audit.secret_weak", subject=subject, bits=required)
    return passed(subject, "audit.secret_strong", subject=subject, bits=required)


def hashes(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
    """RBAC-05: a token kept as a hash uses SHA-2 or SHA-3 and a digest of the right form."""
    for token in evidence.tokens:
        if not token.reference.startswith("hash") or token.sources != 1:
            yield skipped(token.subject, "audit.no_hash", token=token.subject)
        elif token.problem is not None:
            yield of_problem(token.subject, token.problem)
        else:
            yield passed(token.subject, "audit.hash_fits", token=token.subject)


def covered(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
    """RBAC-06: each scope that a service needs belongs to a token that works."""
    for service in evidence.services:
        if not service.enabled:
            continue
        for scope in policy.required_scopes(service.name):
            subject = f"{service.name}/{scope}"
            holders = [token for token in evidence.tokens if token.service == service.name and scope in token.scopes]
            params = {"service": service.name, "scope": scope}
            if any(token.problem is None for token in holders):
                yield passed(subject, "audit.scope_covered", **params)
            elif policy.allow_missing_env and any(token.missing_variable for token in holders):
                yield warned(subject, "audit.scope_waits", **params)
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
    """RBAC-08: no id stands twice in a service, and no secret serves two purposes."""
    ids = Counter(token.subject for token in evidence.tokens)
    for subject, count in ids.items():
        if count > 1:
            yield failed(subject, "audit.token_id_twice", token=subject)
    router = f"decision_log/{evidence.log.router_key_id}"
    signing = evidence.log.router_secret
    for position, token in enumerate(evidence.tokens):
        twin = next((earlier for earlier in evidence.tokens[:position] if _share(earlier, token)), None)
        if twin is not None:
            yield failed(token.subject, "audit.secret_shared", subject=token.subject, other=twin.subject)
        elif signing and _is(token, signing):
            yield failed(token.subject, "audit.secret_shared", subject=token.subject, other=router)
        elif token.secret and token.secret.ring_key:
            other = f"keyring/{token.secret.ring_key}"
            yield failed(token.subject, "audit.secret_shared", subject=token.subject, other=other)
        elif token.secret is None and token.hash_tag is None:
            yield skipped(token.subject, "audit.no_secret_here", token=token.subject)
        else:
            yield passed(token.subject, "audit.secret_unique", subject=token.subject)


def _is(token: TokenFacts, secret: Secret) -> bool:
    """Whether the token is that secret, kept in the clear or as a hash."""
    if token.secret is not None:
        return token.secret.tag == secret.tag
    return token.hash_tag is not None and token.hash_tag in secret.hashed_tags


def _share(a: TokenFacts, b: TokenFacts) -> bool:
    """Whether two tokens are one secret; two entries of one service over one variable or file are one token."""
    if a.service == b.service and a.reference == b.reference and not a.reference.startswith("hash"):
        return False
    if a.hash_tag and b.hash_tag:
        return a.hash_tag == b.hash_tag
    return bool((a.secret and _is(b, a.secret)) or (b.secret and _is(a, b.secret)))


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
