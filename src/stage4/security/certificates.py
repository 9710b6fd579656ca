"""
Reading certificates, and judging chains as a TLS peer would.

The chain rules are those of RFC 5280 as `cryptography.x509.verification` carries them out, with two
changes. Looser: AKI and SKI may be absent, and a client certificate needs no SAN, because private CAs often
leave them out; an audit may still warn. Stricter: the leaf's key and signature are judged as well, and an
anchor must be a CA. Whatever cannot be decided is a refusal. Revocation is not looked at.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Final, Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509 import verification

from stage4 import files
from stage4.errors import Unavailable, UsageError
from stage4.security.certificate_facts import CertificateFacts, facts_of, names_host

__all__ = [
    "PEM_LIMIT",
    "CertificateFacts",
    "ChainReason",
    "ChainVerdict",
    "Purpose",
    "facts_of",
    "has_stray_text",
    "key_matches",
    "load_certificates",
    "load_private_key",
    "names_host",
    "parse_certificates",
    "parse_private_key",
    "pem_labels",
    "verify_chain",
]

Purpose = Literal["server", "client"]
PEM_LIMIT: Final = 1 << 18
_MARKER = re.compile(rb"-----(BEGIN|END) ([A-Z0-9 ]+)-----")


class ChainReason(StrEnum):
    """Why a chain was refused; `VALID` when it was not."""

    VALID = "valid"
    MALFORMED = "malformed"
    NO_ANCHOR = "no_anchor"
    ANCHOR_NOT_CA = "anchor_not_ca"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    WEAK_KEY = "weak_key"
    WEAK_SIGNATURE = "weak_signature"
    LEAF_IS_CA = "leaf_is_ca"
    WRONG_PURPOSE = "wrong_purpose"
    WRONG_HOST = "wrong_host"
    UNKNOWN_ISSUER = "unknown_issuer"
    ISSUER_EXPIRED = "issuer_expired"
    POLICY = "policy"


@dataclass(frozen=True, slots=True)
class ChainVerdict:
    """One judgement; `detail` is the engine's own wording, evidence for a reader and never parsed."""

    reason: ChainReason
    detail: str = ""

    @property
    def ok(self) -> bool:
        return self.reason is ChainReason.VALID


def load_certificates(path: Path) -> list[x509.Certificate]:
    """
    The certificates of a PEM file in their order, at least one.

    Raises Unavailable `files.*` when the file cannot be read, and UsageError `security.certificate_malformed`,
    `security.certificate_missing` or `security.key_in_certificate_file`.
    """
    return parse_certificates(files.read_limited(path, PEM_LIMIT), path)


def parse_certificates(pem: bytes, subject: object) -> list[x509.Certificate]:
    """As `load_certificates`, for bytes already read; `subject` names them in errors."""
    if b"PRIVATE KEY-----" in pem:
        raise UsageError("security.key_in_certificate_file", path=subject)
    if "CERTIFICATE" not in pem_labels(pem):
        raise UsageError("security.certificate_missing", path=subject)
    try:
        certificates = x509.load_pem_x509_certificates(pem)
        for certificate in certificates:
            facts_of(certificate)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UsageError("security.certificate_malformed", path=subject, reason=str(error)) from error
    return certificates


def load_private_key(path: Path) -> PrivateKeyTypes:
    """
    The unencrypted private key of a PEM file.

    Raises Unavailable `files.*` or `security.key_encrypted`, and UsageError `security.key_malformed`. The
    numbers of an RSA key are not proved here (it takes a quarter of a second); `key_matches` proves them.
    """
    return parse_private_key(files.read_limited(path, PEM_LIMIT), path)


def parse_private_key(pem: bytes, subject: object) -> PrivateKeyTypes:
    """As `load_private_key`, for bytes already read; `subject` names them in errors."""
    try:
        return serialization.load_pem_private_key(pem, password=None, unsafe_skip_rsa_key_validation=True)
    except TypeError as error:
        raise Unavailable("security.key_encrypted", path=subject) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UsageError("security.key_malformed", path=subject, reason=str(error)) from error


def pem_labels(pem: bytes) -> list[str]:
    """The labels of the whole PEM blocks (RFC 7468) in their order: `CERTIFICATE`, `EC PRIVATE KEY`, ..."""
    return [label for label, _, _ in _blocks(pem)]


def has_stray_text(pem: bytes) -> bool:
    """Whether anything but white space stands outside the PEM blocks."""
    at = 0
    for _, begin, end in _blocks(pem):
        if pem[at:begin].strip():
            return True
        at = end
    return bool(pem[at:].strip())


def _blocks(pem: bytes) -> Iterator[tuple[str, int, int]]:
    """Label, first and last offset of each block, in one pass whatever the bytes are."""
    begin: re.Match[bytes] | None = None
    for marker in _MARKER.finditer(pem):
        if marker[1] == b"BEGIN":
            begin = marker
        elif begin is not None and begin[2] == marker[2]:
            yield marker[2].decode("ascii"), begin.start(), marker.end()
            begin = None


def key_matches(certificate: x509.Certificate, key: PrivateKeyTypes) -> bool:
    """Whether `key` makes a signature that verifies with the certificate: a proof, not a comparison of names."""
    challenge = certificate.tbs_certificate_bytes
    public = certificate.public_key()
    try:
        if isinstance(key, rsa.RSAPrivateKey) and isinstance(public, rsa.RSAPublicKey):
            public.verify(
                key.sign(challenge, padding.PKCS1v15(), hashes.SHA256()),
                challenge,
                padding.PKCS1v15(),
                hashes.SHA256(),
            )
            return True
        if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(public, ec.EllipticCurvePublicKey):
            algorithm = ec.ECDSA(hashes.SHA256())
            public.verify(key.sign(challenge, algorithm), challenge, algorithm)
            return True
        if isinstance(key, ed25519.Ed25519PrivateKey) and isinstance(public, ed25519.Ed25519PublicKey):
            public.verify(key.sign(challenge), challenge)
            return True
    except (InvalidSignature, ValueError):
        return False
    return False


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
    3. The leaf is no CA and is meant for `purpose`.
    4. A chain of valid CAs leads from the leaf to an anchor, and a server's SAN names `host`.

    `host` (a DNS name or an IP address) is needed for a server and ignored for a client; UsageError
    `security.bad_host` when it is neither. What this cannot see: revocation, and names a CA should not sign.
    """
    try:
        facts = facts_of(leaf)
        above = [facts_of(certificate) for certificate in intermediates]
        trusted = [facts_of(certificate) for certificate in anchors]
    except (ValueError, UnsupportedAlgorithm) as error:
        return ChainVerdict(ChainReason.MALFORMED, str(error))
    verifier = _verifier(anchors, purpose, host, now) if anchors else None
    # 1.
    if verifier is None:
        return ChainVerdict(ChainReason.NO_ANCHOR)
    for anchor in trusted:
        if not anchor.is_ca:
            return ChainVerdict(ChainReason.ANCHOR_NOT_CA, anchor.subject)
    # 2. and 3.
    reason = _leaf_reason(facts, above, purpose, now)
    if reason is not None:
        return ChainVerdict(reason, facts.subject)
    # 4.
    try:
        verifier.verify(leaf, list(intermediates))
    except verification.VerificationError as error:
        return ChainVerdict(_chain_reason(facts, above, trusted, purpose, host, now), str(error))
    return ChainVerdict(ChainReason.VALID)


def _leaf_reason(
    leaf: CertificateFacts, above: Sequence[CertificateFacts], purpose: Purpose, now: datetime
) -> ChainReason | None:
    if now < leaf.not_before:
        return ChainReason.NOT_YET_VALID
    if now > leaf.not_after:
        return ChainReason.EXPIRED
    if leaf.weak_key:
        return ChainReason.WEAK_KEY
    if leaf.weak_signature or any(facts.weak_signature for facts in above if facts.issuer != facts.subject):
        return ChainReason.WEAK_SIGNATURE
    if leaf.is_ca:
        return ChainReason.LEAF_IS_CA
    if leaf.eku is not None and f"{purpose}Auth" not in leaf.eku:
        return ChainReason.WRONG_PURPOSE
    return None


def _chain_reason(
    leaf: CertificateFacts,
    above: Sequence[CertificateFacts],
    trusted: Sequence[CertificateFacts],
    purpose: Purpose,
    host: str | None,
    now: datetime,
) -> ChainReason:
    """Classifies a refusal by facts, because the engine's texts promise nothing."""
    issuers = [facts for facts in (*above, *trusted) if _may_have_issued(facts, leaf)]
    if not issuers:
        return ChainReason.UNKNOWN_ISSUER
    if not any(facts.not_before <= now <= facts.not_after for facts in issuers):
        return ChainReason.ISSUER_EXPIRED
    if any(facts.weak_key for facts in issuers):
        return ChainReason.WEAK_KEY
    if purpose == "server" and host is not None and not names_host(leaf.sans, host):
        return ChainReason.WRONG_HOST
    return ChainReason.POLICY


def _may_have_issued(issuer: CertificateFacts, leaf: CertificateFacts) -> bool:
    if issuer.subject != leaf.issuer:
        return False
    return leaf.aki is None or issuer.ski is None or leaf.aki == issuer.ski


def _verifier(
    anchors: Sequence[x509.Certificate], purpose: Purpose, host: str | None, now: datetime
) -> verification.ServerVerifier | verification.ClientVerifier:
    either = verification.Criticality.AGNOSTIC
    identifiers = (x509.AuthorityKeyIdentifier, x509.SubjectKeyIdentifier)
    ca_policy = verification.ExtensionPolicy.webpki_defaults_ca()
    leaf_policy = verification.ExtensionPolicy.webpki_defaults_ee()
    for identifier in identifiers:
        ca_policy = ca_policy.may_be_present(identifier, either, None)
        leaf_policy = leaf_policy.may_be_present(identifier, either, None)
    if purpose == "client":
        leaf_policy = leaf_policy.may_be_present(x509.SubjectAlternativeName, either, None)
    builder = (
        verification.PolicyBuilder()
        .store(verification.Store(list(anchors)))
        .time(now)
        .extension_policies(ca_policy=ca_policy, ee_policy=leaf_policy)
    )
    if purpose == "client":
        return builder.build_client_verifier()
    try:
        return builder.build_server_verifier(general_name(host or ""))
    except ValueError as error:
        raise UsageError("security.bad_host", host=host) from error


def general_name(host: str) -> x509.DNSName | x509.IPAddress:
    """`host` as a certificate names it; raises ValueError for a name that is no ASCII."""
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
