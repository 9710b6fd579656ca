"""X509: the certificates and keys of the bundle. Sources: RFC 5280, and the chain rules of `security.certificates`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from stage4.audit.evidence import CertificateFile, Evidence
from stage4.audit.finding import Control, Opinion, Severity, failed, of_problem, passed, skipped, unknown, warned
from stage4.audit.policy import Policy
from stage4.clock import format_instant

_DAY = timedelta(days=1)


def _leaves(evidence: Evidence) -> Iterator[CertificateFile]:
    yield from (file for file in evidence.bundle.certificates if file.role != "ca" and file.certificates)


def parses(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
    """X509-01: every file is strict PEM of its kind, with nothing else in it."""
    for file in evidence.bundle.files:
        if file.problem is not None:
            yield of_problem(file.path, file.problem)
        elif file.stray_text:
            yield failed(file.path, "audit.stray_text", path=file.path)
        else:
            yield passed(file.path, "audit.parses", path=file.path)


def complete(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
    """X509-02: the five files of the bundle that was asked for are there."""
    files = {file.role: file for file in evidence.bundle.files}
    missing = [
        role
        for role in ("ca", "server", "server_key", "client", "client_key")
        if role not in files or files[role].problem is not None
    ]
    if missing:
        yield failed(policy.bundle, "audit.bundle_incomplete", bundle=policy.bundle, roles=", ".join(missing))
    elif evidence.bundle.foreign_names:
        foreign = ", ".join(evidence.bundle.foreign_names)
        yield failed(policy.bundle, "audit.bundle_foreign", bundle=policy.bundle, paths=foreign)
    else:
        yield passed(policy.bundle, "audit.bundle_complete", bundle=policy.bundle)


def keys_match(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
    """X509-03: each private key proves itself against its certificate."""
    for pair in evidence.bundle.pairs:
        if pair.matches is None:
            yield unknown(pair.role, "audit.pair_unreadable", role=pair.role)
        elif pair.matches:
            yield passed(pair.role, "audit.key_matches", role=pair.role)
        else:
            yield failed(pair.role, "audit.key_differs", role=pair.role)


def _chain(evidence: Evidence, purpose: str) -> Iterator[Opinion]:
    for chain in evidence.bundle.chains:
        if chain.purpose != purpose:
            continue
        subject = f"{chain.role}@{chain.host}" if chain.host else chain.role
        facts = {"role": chain.role, "host": chain.host or "-"}
        if chain.reason is None:
            yield unknown(subject, "audit.chain_unreadable", **facts, detail=chain.detail)
        elif chain.reason == "valid":
            yield passed(subject, "security.chain_valid", **facts)
        else:
            yield failed(subject, f"security.chain_{chain.reason}", **facts, detail=chain.detail)


def server_chain(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
    """X509-04: a client that trusts the bundle's CA accepts the server under its configured host."""
    return _chain(evidence, "server")


def client_chain(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
    """X509-05: a server that trusts the bundle's CA accepts the client."""
    return _chain(evidence, "client")


def separate_roles(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
    """X509-06: server and client certificates are good for one purpose each, and no key serves twice."""
    keys: dict[str, str] = {}
    for file in (*(f for f in evidence.bundle.certificates if f.role == "ca" and f.certificates), *_leaves(evidence)):
        leaf = file.certificates[0]
        shares = next((role for role, spki in keys.items() if spki == leaf.spki_sha256 and role != file.role), None)
        # The service's own certificate may be the bundle's server certificate, kept in a second place.
        twin = {shares, file.role} == {"server", "metrics_service"}
        keys.setdefault(file.role, leaf.spki_sha256)
        if shares is not None and not twin:
            yield failed(file.role, "audit.key_shared", role=file.role, other=shares)
        elif file.role == "ca":
            continue
        elif leaf.is_ca:
            yield failed(file.role, "audit.leaf_is_ca", role=file.role)
        elif leaf.eku is None or "anyExtendedKeyUsage" in leaf.eku:
            yield failed(file.role, "audit.any_purpose", role=file.role)
        elif {"serverAuth", "clientAuth"} <= set(leaf.eku):
            yield failed(file.role, "audit.both_purposes", role=file.role)
        else:
            yield passed(file.role, "audit.one_purpose", role=file.role, purposes=", ".join(leaf.eku))


def valid_now(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
    """X509-07: every certificate is within its time, at both ends."""
    for file in evidence.bundle.certificates:
        for position, facts in enumerate(file.certificates):
            subject = file.role if position == 0 else f"{file.role}#{position}"
            begins, ends = format_instant(facts.not_before), format_instant(facts.not_after)
            if now < facts.not_before:
                yield failed(subject, "audit.not_yet_valid", role=subject, not_before=begins)
            elif now > facts.not_after:
                yield failed(subject, "audit.expired", role=subject, not_after=ends)
            else:
                yield passed(subject, "audit.valid", role=subject, not_after=ends)


def horizon(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
    """X509-08: nothing expires soon, and no leaf outlives its CA."""
    authority = evidence.bundle.certificate("ca")
    ca_ends = authority.certificates[0].not_after if authority and authority.certificates else None
    for file in evidence.bundle.certificates:
        for facts in file.certificates[:1]:
            left = (facts.not_after - now) / _DAY
            used = (now - facts.not_before) / max(facts.not_after - facts.not_before, timedelta(seconds=1))
            params = {"role": file.role, "days": round(left, 1), "not_after": format_instant(facts.not_after)}
            if left < policy.expiry_fail_days:
                yield failed(file.role, "audit.expires_now", **params)
            elif left < policy.rotation_warn_days:
                yield warned(file.role, "audit.expires_soon", **params)
            elif file.role != "ca" and used > policy.life_used_warn_ratio:
                yield warned(file.role, "audit.life_used", **params, percent=round(used * 100))
            elif ca_ends is not None and facts.not_after > ca_ends:
                yield warned(file.role, "audit.outlives_issuer", **params)
            else:
                yield passed(file.role, "audit.expires_later", **params)


def signatures(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
    """X509-09: no signature over MD2, MD5, SHA-1 or an unknown hash, except an anchor's own, which nobody verifies."""
    for file in evidence.bundle.certificates:
        for facts in file.certificates[:1]:
            name = facts.signature_hash or facts.key_kind
            anchor = file.role == "ca" and facts.issuer == facts.subject
            if facts.weak_signature and not anchor:
                yield failed(file.role, "audit.weak_signature", role=file.role, algorithm=name)
            else:
                yield passed(file.role, "audit.strong_signature", role=file.role, algorithm=name)


def key_strength(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
    """X509-10: RSA of 2048 bits and more, P-256, P-384, P-521 or Ed25519."""
    for file in evidence.bundle.certificates:
        for facts in file.certificates[:1]:
            kind = f"{facts.key_kind} {facts.key_curve or facts.key_bits}"
            if facts.weak_key:
                yield failed(file.role, "audit.weak_key", role=file.role, kind=kind)
            else:
                yield passed(file.role, "audit.strong_key", role=file.role, kind=kind)


def no_demo_authority(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
    """X509-11: a production installation does not run on the demo PKI."""
    for file in evidence.bundle.certificates:
        if not file.certificates:
            continue
        if evidence.installation != "production":
            yield skipped(file.role, "audit.rehearsal", installation=evidence.installation)
        elif file.demo:
            yield failed(file.role, "audit.demo_certificate", role=file.role)
        else:
            yield passed(file.role, "audit.no_demo_certificate", role=file.role)


def authority(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
    """X509-12: the CA says that it is one and may sign certificates."""
    file = evidence.bundle.certificate("ca")
    if file is None or not file.certificates or file.authority is None:
        return
    if not file.certificates[0].is_ca:
        yield failed("ca", "audit.ca_is_no_ca")
    elif file.authority.signs_certificates is False:
        yield failed("ca", "audit.ca_may_not_sign")
    elif not file.authority.constraints_critical or file.authority.signs_certificates is None:
        yield warned("ca", "audit.ca_profile_loose")
    else:
        yield passed("ca", "audit.ca_profile")


def hygiene(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
    """X509-13: key identifiers, names and lifetimes as TLS stacks like them."""
    for file in _leaves(evidence):
        facts = file.certificates[0]
        days = round((facts.not_after - facts.not_before) / _DAY)
        if facts.aki is None or facts.ski is None:
            yield warned(file.role, "audit.no_key_identifiers", role=file.role)
        elif not facts.sans:
            yield warned(file.role, "audit.no_san", role=file.role)
        elif any(san.startswith("DNS:") and (" " in san or not san.isascii()) for san in facts.sans):
            yield warned(file.role, "audit.bad_san", role=file.role, sans=", ".join(facts.sans))
        elif days > policy.leaf_lifetime_days:
            limit = round(policy.leaf_lifetime_days)
            yield warned(file.role, "audit.long_life", role=file.role, days=days, limit=limit)
        else:
            yield passed(file.role, "audit.tidy", role=file.role)


CONTROLS = (
    Control("X509-01", parses, Severity.HIGH, ("RFC 7468",)),
    Control("X509-02", complete, Severity.HIGH),
    Control("X509-03", keys_match, Severity.CRITICAL, ("RFC 5280 4.1.2.7",), waivable=False),
    Control("X509-04", server_chain, Severity.CRITICAL, ("RFC 5280 6", "RFC 6125"), waivable=False),
    Control("X509-05", client_chain, Severity.CRITICAL, ("RFC 5280 6",), waivable=False),
    Control("X509-06", separate_roles, Severity.HIGH, ("RFC 5280 4.2.1.12", "SPIFFE X509-SVID 4.3")),
    Control("X509-07", valid_now, Severity.CRITICAL, ("RFC 5280 4.1.2.5",), waivable=False),
    Control("X509-08", horizon, Severity.MEDIUM, ("NIST SP 1800-16",)),
    Control("X509-09", signatures, Severity.HIGH, ("NIST SP 800-131A", "RFC 9155")),
    Control("X509-10", key_strength, Severity.HIGH, ("NIST SP 800-57", "NIST SP 800-186")),
    Control("X509-11", no_demo_authority, Severity.CRITICAL),
    Control("X509-12", authority, Severity.MEDIUM, ("RFC 5280 4.2.1.3", "RFC 5280 4.2.1.9")),
    Control("X509-13", hygiene, Severity.LOW, ("RFC 5280 4.2.1.1", "RFC 5280 4.2.1.2")),
)
