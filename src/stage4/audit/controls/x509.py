"""
X509: the certificates and keys of the bundle.

What a single certificate may be and what not is said in `security.certificate_lints`, whether a chain holds in
`security.certificate_chain`, whether one was revoked in `security.revocation`; the controls put these answers under
their subjects, and add what the organisation asks for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Final

from stage4.audit.evidence import CertificateFile, Chain, Evidence
from stage4.audit.finding import ENDED, Control, Opinion, Severity, failed, of_problem, passed, skipped, unknown, warned
from stage4.audit.policy import Policy
from stage4.clock import format_instant
from stage4.security import certificate_lints as lints
from stage4.security.certificate_facts import CertificateFacts
from stage4.security.certificate_lints import Level, Lint, Topic
from stage4.security.revocation import RevocationState

_DAY = timedelta(days=1)
# The control that answers for what a lint is about.
TOPICS: Final[Mapping[Topic, str]] = {
    Topic.FILE: "X509-01",
    Topic.ROLE: "X509-06",
    Topic.TIME: "X509-07",
    Topic.HORIZON: "X509-08",
    Topic.SIGNATURE: "X509-09",
    Topic.KEY: "X509-10",
    Topic.KNOWN_KEY: "X509-11",
    Topic.AUTHORITY: "X509-12",
    Topic.FORM: "X509-13",
}


def _leaves(evidence: Evidence) -> Iterator[CertificateFile]:
    yield from (file for file in evidence.bundle.certificates if file.role != "ca" and file.certificates)


def _each(evidence: Evidence) -> Iterator[tuple[str, CertificateFile, CertificateFacts]]:
    """Every certificate under its name: `server`, and `server#1` for the one after it, once where it stands twice."""
    for file in evidence.bundle.certificates:
        for position, facts in enumerate(dict.fromkeys(file.certificates)):
            yield (file.role if position == 0 else f"{file.role}#{position}"), file, facts


def _is_leaf(subject: str, file: CertificateFile) -> bool:
    return file.role != "ca" and subject == file.role


def _is_anchor(file: CertificateFile, facts: CertificateFacts) -> bool:
    return file.role == "ca" and facts.self_issued


def _lints(
    subject: str, file: CertificateFile, facts: CertificateFacts, topic: Topic, policy: Policy, now: datetime
) -> list[Lint]:
    if _is_leaf(subject, file):
        found = lints.of_leaf(facts, now, lifetime_days=policy.leaf_lifetime_days)
    else:
        found = lints.of_authority(facts, now, anchor=_is_anchor(file, facts))
    return [lint for lint in found if lint.topic is topic]


def _told(subject: str, found: Iterable[Lint], otherwise: Opinion) -> Iterator[Opinion]:
    """The gravest lint under the plain subject, so that reports compare, the others under their own; or `otherwise`."""
    ordered = sorted(found, key=lambda lint: lint.level is not Level.FAIL)
    for position, lint in enumerate(ordered):
        say = failed if lint.level is Level.FAIL else warned
        yield say(subject if position == 0 else f"{subject}/{lint.name}", lint.code, **lint.params)
    if not ordered:
        yield otherwise


def parses(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
    """X509-01: every file is strict PEM of its kind, with nothing else in it; a service has one leaf, then CAs."""
    authority = evidence.bundle.certificate("ca")
    anchors = authority.certificates if authority else ()
    for file in evidence.bundle.files:
        if file.problem is not None:
            yield of_problem(file.path, file.problem)
        elif file.stray_text:
            yield failed(file.path, "cert.stray_text", path=file.path)
        else:
            company = isinstance(file, CertificateFile) and file.role != "ca" and file.certificates
            found = lints.of_file(company, anchors) if company else ()
            yield from _told(file.path, found, passed(file.path, "audit.parses", path=file.path))


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
        # A service's own certificate may be the bundle's server certificate, kept in a second place.
        twin = not {shares, file.role} & {"ca", "client"}
        keys.setdefault(file.role, leaf.spki_sha256)
        found = [] if file.role == "ca" else _lints(file.role, file, leaf, Topic.ROLE, policy, now)
        if shares is not None and not twin:
            found.insert(0, Lint(Topic.ROLE, Level.FAIL, "audit.key_shared", {"role": file.role, "other": shares}))
        if found or file.role != "ca":
            purposes = ", ".join(leaf.eku or ())
            otherwise = passed(file.role, "audit.one_purpose", role=file.role, purposes=purposes)
            yield from _told(file.role, found, otherwise)


def valid_now(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
    """X509-07: every certificate is within its time, at both ends."""
    for subject, file, facts in _each(evidence):
        valid = passed(subject, "audit.valid", role=subject, not_after=format_instant(facts.not_after))
        yield from _told(subject, _lints(subject, file, facts, Topic.TIME, policy, now), valid)


def horizon(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
    """X509-08: nothing expires soon, and no leaf outlives its CA; what has expired is told by X509-07."""
    authorities = [facts for subject, file, facts in _each(evidence) if not _is_leaf(subject, file)]
    for subject, file, facts in _each(evidence):
        if now > facts.not_after:
            yield skipped(subject, ENDED, role=subject)
            continue
        left = (facts.not_after - now) / _DAY
        used = (now - facts.not_before) / max(facts.not_after - facts.not_before, timedelta(seconds=1))
        params = {"role": subject, "days": round(left, 1), "not_after": format_instant(facts.not_after)}
        if left < policy.expiry_fail_days:
            yield failed(subject, "audit.expires_now", **params)
        elif left < policy.rotation_warn_days:
            yield warned(subject, "audit.expires_soon", **params)
        elif file.role != "ca" and used > policy.life_used_warn_ratio:
            yield warned(subject, "audit.life_used", **params, percent=round(used * 100))
        else:
            found = lints.of_issuer(facts, authorities) if _is_leaf(subject, file) else ()
            yield from _told(subject, found, passed(subject, "audit.expires_later", **params))


def signatures(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
    """X509-09: no signature over SHA-1, MD5 or an unknown hash, except an anchor's own, which nobody verifies."""
    for subject, file, facts in _each(evidence):
        strong = passed(
            subject, "audit.strong_signature", role=subject, algorithm=facts.signature_hash or facts.key_kind
        )
        yield from _told(subject, _lints(subject, file, facts, Topic.SIGNATURE, policy, now), strong)


def key_strength(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
    """X509-10: RSA of 2048 bits and more, exponent from 65537, P-256 or P-384; for a CA also P-521 and Ed25519."""
    for subject, file, facts in _each(evidence):
        kind = f"{facts.key_kind} {facts.key_curve or facts.key_bits}"
        strong = passed(subject, "audit.strong_key", role=subject, kind=kind)
        yield from _told(subject, _lints(subject, file, facts, Topic.KEY, policy, now), strong)


def no_known_key(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
    """X509-11: no key that is published somewhere; and a production installation does not run on the demo PKI."""
    for subject, file, facts in _each(evidence):
        found = _lints(subject, file, facts, Topic.KNOWN_KEY, policy, now)
        if file.demo and evidence.installation == "production" and subject == file.role:
            found.append(Lint(Topic.KNOWN_KEY, Level.FAIL, "audit.demo_certificate", {"role": subject}))
        code = "audit.no_demo_certificate" if evidence.installation == "production" else "audit.key_not_known"
        yield from _told(subject, found, passed(subject, code, role=subject))


def authority(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
    """X509-12: every CA says that it is one and may sign certificates, its name constraints bind, and it is a root."""
    for subject, file, facts in _each(evidence):
        if not _is_leaf(subject, file):
            found = _lints(subject, file, facts, Topic.AUTHORITY, policy, now)
            found += lints.of_anchor(facts, file.certificates) if file.role == "ca" else ()
            yield from _told(subject, found, passed(subject, "audit.ca_profile"))


def hygiene(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
    """X509-13: extensions, serial numbers, key identifiers, names and lifetimes as TLS stacks like them."""
    together = {facts.fingerprint: (subject, facts) for subject, _, facts in reversed(list(_each(evidence)))}
    shared = lints.same_serials(list(reversed(together.values())))
    for subject, file, facts in _each(evidence):
        found = _lints(subject, file, facts, Topic.FORM, policy, now)
        if subject in shared:
            found.append(shared[subject])
        days = (facts.not_after - facts.not_before) / _DAY
        if _is_leaf(subject, file) and days < policy.rotation_interval_days:
            params = {"days": round(days), "interval": round(policy.rotation_interval_days)}
            found.append(Lint(Topic.FORM, Level.WARN, "audit.short_life", params))
        yield from _told(subject, found, passed(subject, "audit.tidy", role=subject))


def revoked(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
    """X509-14: a fresh list of each issuer, rightly signed, names no certificate of the bundle."""
    for file in evidence.bundle.revocation_files:
        if file.problem is not None:
            yield of_problem(file.path, file.problem)
        else:
            yield passed(file.path, "audit.list_parses", path=file.path, entries=file.entries)
    # A certificate may be met under several hosts; whether it was revoked is one question.
    answered_last = sorted(evidence.bundle.chains, key=lambda chain: chain.revocation is not None)
    for chain in {chain.role: chain for chain in answered_last}.values():
        yield _revocation(chain, evidence, now)


def _revocation(chain: Chain, evidence: Evidence, now: datetime) -> Opinion:
    verdict, file = chain.revocation, evidence.bundle.certificate(chain.role)
    if verdict is None or file is None or not file.certificates:
        return skipped(chain.role, "audit.revocation_unjudged", role=chain.role)
    if verdict.state != RevocationState.UNCHECKED:
        next_update = format_instant(verdict.next_update) if verdict.next_update else "-"
        params = {"subject": verdict.subject, "issuer": verdict.issuer, "next_update": next_update}
        if verdict.revoked_at is not None:
            params |= {"revoked_at": format_instant(verdict.revoked_at), "reason": verdict.reason or "-"}
        say = passed if verdict.state == RevocationState.GOOD else failed
        return say(chain.role, f"security.revocation_{verdict.state}", **params)
    if evidence.bundle.revocation_files:
        return unknown(chain.role, "audit.no_list_readable")
    if evidence.installation != "production":
        return skipped(chain.role, "audit.rehearsal", installation=evidence.installation)
    # Until then whoever has a stolen key is let in, and nobody can say no.
    days = max(0, round((file.certificates[0].not_after - now) / _DAY))
    return warned(chain.role, "audit.no_revocation", role=chain.role, days=days)


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
    Control("X509-11", no_known_key, Severity.CRITICAL, waivable=False),
    Control("X509-12", authority, Severity.MEDIUM, ("RFC 5280 4.2.1.3", "RFC 5280 4.2.1.9", "RFC 5280 4.2.1.10")),
    Control("X509-13", hygiene, Severity.LOW, ("RFC 5280 4.1.2.2", "RFC 5280 4.2", "RFC 6125", "RFC 1034 3.5")),
    Control("X509-14", revoked, Severity.HIGH, ("RFC 5280 5", "RFC 5280 6.3")),
)
