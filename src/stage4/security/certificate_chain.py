"""
Judging a chain as a TLS peer would.

The chain rules are those of RFC 5280 as `cryptography.x509.verification` carries them out, with two
changes. Looser, because private CAs often are and TLS peers take it: AKI, SKI and a CA's key usage may be absent, basic
constraints and purposes may be critical or not, and a client certificate needs no SAN; `certificate_lints` warns of
most of that. Stricter: the leaf's key, key usage and signature are judged as well, an anchor must be a CA, and the
chain has to hold over the path that TLS peers take (`certificate_peers`). Whatever cannot be decided is a refusal.
Certificate policies are not evaluated; revocation is `revocation`'s.

The library calls its verifier unstable and promises nothing about its words, so it is spoken to here only, and a
refusal gets its reason from the certificates themselves.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import pairwise
from typing import Final, Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509 import verification

from stage4.errors import UsageError
from stage4.security.certificate_facts import (
    UNREADABLE,
    CertificateFacts,
    facts_of,
    is_of_whole_octets,
    names_host,
    names_outside,
    visible,
    without_warnings,
)
from stage4.security.certificate_peers import (
    Authority,
    constrained_common_names,
    constrained_subjects,
    is_taken_for_issuer,
    looks_self_signed,
    paths_of_peers,
)

Purpose = Literal["server", "client"]
# Hostile intermediates may all have signed each other: the engine bounds its search, and this the one for the reason.
INTERMEDIATES_LIMIT: Final = 12


class ChainReason(StrEnum):
    """Why a chain was refused; `VALID` when it was not."""

    VALID = "valid"
    MALFORMED = "malformed"
    NO_ANCHOR = "no_anchor"
    ANCHOR_NOT_CA = "anchor_not_ca"
    TOO_MANY = "too_many"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    WEAK_KEY = "weak_key"
    WEAK_SIGNATURE = "weak_signature"
    LEAF_IS_CA = "leaf_is_ca"
    WRONG_PURPOSE = "wrong_purpose"
    KEY_USAGE = "key_usage"
    WRONG_HOST = "wrong_host"
    UNKNOWN_ISSUER = "unknown_issuer"
    WRONG_IDENTIFIERS = "wrong_identifiers"
    AMBIGUOUS_ISSUER = "ambiguous_issuer"
    ISSUER_EXPIRED = "issuer_expired"
    ISSUER_NOT_CA = "issuer_not_ca"
    UNSUPPORTED_KEY = "unsupported_key"
    UNKNOWN_EXTENSION = "unknown_extension"
    BAD_SIGNATURE = "bad_signature"
    PATH_TOO_LONG = "path_too_long"
    NAME_CONSTRAINTS = "name_constraints"
    POLICY = "policy"


@dataclass(frozen=True, slots=True)
class ChainVerdict:
    """One judgement; `detail` is the engine's own wording, evidence for a reader and never parsed.

    `path` is the chain that was found, the leaf first and the anchor last; empty for one that was refused.
    """

    reason: ChainReason
    detail: str = ""
    path: tuple[x509.Certificate, ...] = ()

    @property
    def ok(self) -> bool:
        return self.reason is ChainReason.VALID


def verify_chain(
    leaf: x509.Certificate,
    intermediates: Sequence[x509.Certificate],
    anchors: Sequence[x509.Certificate],
    *,
    purpose: Purpose,
    host: str | None,
    now: datetime,
) -> ChainVerdict:
    """
    Whether a peer that trusts `anchors` would accept `leaf` for `purpose` at `now`.

    1. There is an anchor, and every anchor is a CA.
    2. The leaf parses, is within its time, has a strong key, and no signature below the anchor is weak.
    3. The leaf is no CA, is meant for `purpose`, and its key may sign handshakes.
    4. A chain of valid CAs leads from the leaf to an anchor, and a server's SAN names `host`.
    5. Key identifiers lead a peer over the same certificates, or over others that hold as well; no critical
       extension, no CA's extended key usage, no policy constraint and no common name is in the way.

    `host` (a DNS name or an IP address) is needed for a server and ignored for a client; UsageError
    `security.bad_host` when it is neither. What this cannot see: revocation, and names a CA should not sign.
    """
    # A certificate that stands twice, as the anchor does in many chain files, leads nowhere new.
    others = [certificate for certificate in dict.fromkeys(intermediates) if certificate not in anchors]
    try:
        facts = facts_of(leaf)
        above = [Authority(certificate, facts_of(certificate), trusted=False) for certificate in others]
        trusted = [Authority(certificate, facts_of(certificate), trusted=True) for certificate in anchors]
    except ValueError as error:
        return ChainVerdict(ChainReason.MALFORMED, str(error))
    verifier = _verifier(anchors, purpose, host, now) if anchors else None
    # 1.
    if verifier is None:
        return ChainVerdict(ChainReason.NO_ANCHOR)
    for anchor in trusted:
        if not anchor.facts.is_ca:
            return ChainVerdict(ChainReason.ANCHOR_NOT_CA, anchor.facts.subject)
    if len(above) > INTERMEDIATES_LIMIT:
        return ChainVerdict(ChainReason.TOO_MANY, str(len(above)))
    # 2. and 3.
    reason = _leaf_reason(facts, above, purpose, now)
    if reason is not None:
        return ChainVerdict(reason, facts.subject)
    # 4.
    try:
        with without_warnings():
            found = verifier.verify(leaf, others)
    except verification.VerificationError as error:
        return ChainVerdict(_chain_reason(leaf, facts, (*above, *trusted), purpose, host, now), visible(str(error)))
    path = tuple(found.chain if isinstance(found, verification.VerifiedClient) else found)
    if not all(map(is_of_whole_octets, path[:-1])):
        return ChainVerdict(ChainReason.BAD_SIGNATURE)
    # 5.
    peers = list(paths_of_peers(facts, (*above, *trusted), now))
    for chosen in peers:
        refusal = _path_refusal(facts, chosen, purpose)
        if refusal is not None:
            return refusal
        certificates = tuple(ca.certificate for ca in chosen)
        if certificates != path[1:] and not _holds(leaf, certificates, purpose, host, now):
            return ChainVerdict(ChainReason.AMBIGUOUS_ISSUER, chosen[-1].facts.subject)
    if not peers:
        return _stuck(path)
    return ChainVerdict(ChainReason.VALID, path=(leaf, *(ca.certificate for ca in peers[0])))


def descends(
    certificate: x509.Certificate,
    intermediates: Sequence[x509.Certificate],
    anchors: Sequence[x509.Certificate],
    now: datetime,
) -> bool:
    """Whether `certificate`, of whatever purpose, is valid at `now` and comes from one of `anchors`."""
    others = [other for other in dict.fromkeys(intermediates) if other not in anchors][:INTERMEDIATES_LIMIT]
    builder = _builder(anchors, now, verification.ExtensionPolicy.permit_all())
    try:
        with without_warnings():
            builder.build_client_verifier().verify(certificate, others)
    except verification.VerificationError:
        return False
    return True


def signers(certificate: x509.Certificate, anchors: Sequence[x509.Certificate]) -> list[x509.Certificate]:
    """Those of `anchors` that signed `certificate`, and in turn them: a verified path ends at the first anchor."""
    found: list[x509.Certificate] = []
    signed = [certificate]
    for issued in signed:
        above = [
            each for each in anchors if each not in found and each.subject == issued.issuer and _signed(each, issued)
        ]
        found += above
        signed += above
    return found


def may_have_issued(issuer: CertificateFacts, issued: CertificateFacts) -> bool:
    """Whether names and key identifiers, where both have them, say that `issuer` issued it; no proof."""
    if issuer.subject != issued.issuer:
        return False
    return issued.aki is None or issuer.ski is None or issued.aki == issuer.ski


def _leaf_reason(
    leaf: CertificateFacts, above: Sequence[Authority], purpose: Purpose, now: datetime
) -> ChainReason | None:
    if now < leaf.not_before:
        return ChainReason.NOT_YET_VALID
    if now > leaf.not_after:
        return ChainReason.EXPIRED
    if leaf.weak_key:
        return ChainReason.WEAK_KEY
    if leaf.weak_signature or any(ca.facts.weak_signature for ca in above if not ca.facts.self_signed):
        return ChainReason.WEAK_SIGNATURE
    if leaf.is_ca:
        return ChainReason.LEAF_IS_CA
    if leaf.eku is not None and f"{purpose}Auth" not in leaf.eku:
        return ChainReason.WRONG_PURPOSE
    # TLS 1.3 signs every handshake (RFC 8446 4.4.2.2); only a CA signs certificates (RFC 5280 4.2.1.9).
    if not leaf.may("digitalSignature") or (leaf.key_usage is not None and leaf.may("keyCertSign")):
        return ChainReason.KEY_USAGE
    return None


def _chain_reason(
    leaf: x509.Certificate,
    facts: CertificateFacts,
    authorities: Sequence[Authority],
    purpose: Purpose,
    host: str | None,
    now: datetime,
) -> ChainReason:
    """The first demand, in this order, without which a chain would lead to an anchor and with which none does."""
    if facts.unknown_critical:
        return ChainReason.UNKNOWN_EXTENSION
    demands: tuple[tuple[ChainReason, Callable[[Authority], bool]], ...] = (
        (ChainReason.UNKNOWN_ISSUER, lambda ca: True),
        (ChainReason.ISSUER_EXPIRED, lambda ca: ca.facts.not_before <= now <= ca.facts.not_after),
        (ChainReason.ISSUER_NOT_CA, lambda ca: ca.facts.is_ca and ca.facts.may("keyCertSign")),
        (ChainReason.WRONG_PURPOSE, lambda ca: _serves(ca.facts, purpose)),
        (ChainReason.UNSUPPORTED_KEY, lambda ca: ca.facts.key_kind != "ed25519"),
        (ChainReason.WEAK_KEY, lambda ca: not ca.facts.weak_key),
        (ChainReason.UNKNOWN_EXTENSION, lambda ca: not ca.facts.unknown_critical),
    )
    left = list(authorities)
    for reason, fits in demands:
        left = [ca for ca in left if fits(ca)]
        if not _leads_to_anchor(leaf, facts, left, proven=False, bounded=False):
            return reason
    if not _leads_to_anchor(leaf, facts, left, proven=True, bounded=False):
        return ChainReason.BAD_SIGNATURE
    if not _leads_to_anchor(leaf, facts, left, proven=True, bounded=True):
        return ChainReason.PATH_TOO_LONG
    if purpose == "server" and host is not None and not names_host(facts.sans, host):
        return ChainReason.WRONG_HOST
    if any(_constrains(ca.facts, facts) for ca in left):
        return ChainReason.NAME_CONSTRAINTS
    return ChainReason.POLICY


def _path_refusal(leaf: CertificateFacts, above: Sequence[Authority], purpose: Purpose) -> ChainVerdict | None:
    """What a peer refuses in the path that it takes, although the path holds."""
    authorities = [ca.facts for ca in above]
    for facts in (leaf, *authorities):
        if facts.unknown_critical:
            return ChainVerdict(ChainReason.UNKNOWN_EXTENSION, f"{facts.subject}: {', '.join(facts.unknown_critical)}")
    for below, facts in enumerate(authorities, 1):
        if not _serves(facts, purpose):
            return ChainVerdict(ChainReason.WRONG_PURPOSE, facts.subject)
        subjects = constrained_subjects((leaf, *authorities)[:below], facts)
        if names := (*constrained_common_names(leaf, facts), *subjects):
            return ChainVerdict(ChainReason.NAME_CONSTRAINTS, f"{facts.subject}: {', '.join(names)}")
    # They have to be critical (RFC 5280 4.2.1.11), and BoringSSL carries them out where they are not as well.
    for facts in (leaf, *authorities[:-1]):
        if facts.has_policy_constraints:
            return ChainVerdict(ChainReason.POLICY, f"{facts.subject}: policyConstraints")
    return None


def _stuck(path: Sequence[x509.Certificate]) -> ChainVerdict:
    """Why a peer gets stuck although `path` holds: identifiers lead away from it, or another CA came first."""
    everything = [facts_of(certificate) for certificate in path]
    for issued, issuer in pairwise(everything):
        if not is_taken_for_issuer(issuer, issued):
            return ChainVerdict(ChainReason.WRONG_IDENTIFIERS, issued.subject)
    root = everything[-1]
    if root.self_issued and not looks_self_signed(root):
        return ChainVerdict(ChainReason.WRONG_IDENTIFIERS, root.subject)
    return ChainVerdict(ChainReason.AMBIGUOUS_ISSUER, everything[0].issuer)


def _holds(
    leaf: x509.Certificate,
    above: Sequence[x509.Certificate],
    purpose: Purpose,
    host: str | None,
    now: datetime,
) -> bool:
    """Whether the chain is valid over exactly these certificates, the anchor last."""
    try:
        with without_warnings():
            _verifier(above[-1:], purpose, host, now).verify(leaf, list(above[:-1]))
    except verification.VerificationError:
        return False
    return all(map(is_of_whole_octets, (leaf, *above[:-1])))


def _serves(authority: CertificateFacts, purpose: Purpose) -> bool:
    """Whether its extended key usage, where it has one, lets it issue for `purpose`; peers take no other for any."""
    return authority.eku is None or f"{purpose}Auth" in authority.eku


def _constrains(issuer: CertificateFacts, leaf: CertificateFacts) -> bool:
    """Whether name constraints speak against `leaf`: a name is outside, or they are of a kind nobody evaluates."""
    kinds = {name.partition(":")[0] for name in (*issuer.permitted_names, *issuer.excluded_names)}
    return bool(names_outside(leaf, issuer)) or bool(kinds - {"DNS", "IP"})


def _leads_to_anchor(
    leaf: x509.Certificate,
    facts: CertificateFacts,
    authorities: Sequence[Authority],
    *,
    proven: bool,
    bounded: bool,
) -> bool:
    """Breadth first, so that each CA is met on its shortest way; `proven` asks signatures, `bounded` path lengths."""
    level: list[tuple[x509.Certificate, CertificateFacts]] = [(leaf, facts)]
    left = list(authorities)
    for below in range(len(authorities)):
        met = [
            ca
            for ca in left
            if (not bounded or ca.facts.path_length is None or below <= ca.facts.path_length)
            and any(
                _issued(ca, issued, child) and (not proven or _signed(ca.certificate, issued))
                for issued, child in level
            )
        ]
        if any(ca.trusted for ca in met):
            return True
        if not met:
            return False
        left = [ca for ca in left if ca not in met]
        level = [(ca.certificate, ca.facts) for ca in met]
    return False


def _issued(authority: Authority, issued: x509.Certificate, facts: CertificateFacts) -> bool:
    # The engine compares names byte by byte: another letter case or kind of string is another name for it.
    same = authority.certificate.subject.public_bytes() == issued.issuer.public_bytes()
    return same and may_have_issued(authority.facts, facts)


def _signed(authority: x509.Certificate, issued: x509.Certificate) -> bool:
    try:
        issued.verify_directly_issued_by(authority)
    except (InvalidSignature, *UNREADABLE):
        return False
    return True


def _verifier(
    anchors: Sequence[x509.Certificate], purpose: Purpose, host: str | None, now: datetime
) -> verification.ServerVerifier | verification.ClientVerifier:
    either = verification.Criticality.AGNOSTIC
    policy = verification.ExtensionPolicy.webpki_defaults_ee()
    policy = policy.may_be_present(x509.AuthorityKeyIdentifier, either, None)
    policy = policy.may_be_present(x509.SubjectKeyIdentifier, either, None)
    policy = policy.may_be_present(x509.ExtendedKeyUsage, either, _has_purpose)
    if purpose == "client":
        policy = policy.may_be_present(x509.SubjectAlternativeName, either, None)
    builder = _builder(anchors, now, policy)
    if purpose == "client":
        return builder.build_client_verifier()
    try:
        return builder.build_server_verifier(general_name(host or ""))
    except ValueError as error:
        raise UsageError("security.bad_host", host=host) from error


def _builder(
    anchors: Sequence[x509.Certificate], now: datetime, leaf_policy: verification.ExtensionPolicy
) -> verification.PolicyBuilder:
    either = verification.Criticality.AGNOSTIC
    ca_policy = verification.ExtensionPolicy.webpki_defaults_ca()
    ca_policy = ca_policy.may_be_present(x509.AuthorityKeyIdentifier, either, None)
    ca_policy = ca_policy.may_be_present(x509.SubjectKeyIdentifier, either, None)
    ca_policy = ca_policy.require_present(x509.BasicConstraints, either, _is_authority)
    ca_policy = ca_policy.may_be_present(x509.KeyUsage, either, _signs_certificates)
    return (
        verification.PolicyBuilder()
        .store(verification.Store(list(anchors)))
        .time(now)
        .extension_policies(ca_policy=ca_policy, ee_policy=leaf_policy)
    )


# A demand that is changed loses the engine's own check, so each is made here again.


def _is_authority(_: verification.Policy, certificate: x509.Certificate, value: x509.BasicConstraints) -> None:
    if not value.ca:
        raise ValueError(f"no CA: {certificate.subject.rfc4514_string()}")


def _signs_certificates(_: verification.Policy, certificate: x509.Certificate, value: x509.KeyUsage | None) -> None:
    if value is not None and not value.key_cert_sign:
        raise ValueError(f"no keyCertSign: {certificate.subject.rfc4514_string()}")


def _has_purpose(policy: verification.Policy, _: x509.Certificate, value: x509.ExtendedKeyUsage | None) -> None:
    if value is not None and policy.extended_key_usage not in value:
        raise ValueError(f"no {policy.extended_key_usage.dotted_string} among the extended key usages")


def general_name(host: str) -> x509.DNSName | x509.IPAddress:
    """`host` as a certificate names it; raises ValueError for a name that is no ASCII."""
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
