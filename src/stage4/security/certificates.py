"""
Reading certificates, and judging chains as a TLS peer would.

The chain rules are those of RFC 5280 as `cryptography.x509.verification` carries them out, with two
changes. Looser: AKI and SKI may be absent, and a client certificate needs no SAN, because private CAs often
leave them out; an audit may still warn. Stricter: the leaf's key and signature are judged as well, and an
anchor must be a CA. Whatever cannot be decided is a refusal. Revocation is not looked at.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Final, Literal, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID

from stage4 import files
from stage4.errors import Unavailable, UsageError

Purpose = Literal["server", "client"]
_Extension = TypeVar("_Extension", bound=x509.ExtensionType)
PEM_LIMIT: Final = 1 << 18
MINIMUM_RSA_BITS: Final = 2048
ACCEPTED_CURVES: Final = frozenset({"secp256r1", "secp384r1", "secp521r1"})
WEAK_HASHES: Final = frozenset({"md2", "md4", "md5", "sha1", "unknown"})
_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)
_PURPOSE_NAMES: Final = {
    ExtendedKeyUsageOID.SERVER_AUTH: "serverAuth",
    ExtendedKeyUsageOID.CLIENT_AUTH: "clientAuth",
    ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE: "anyExtendedKeyUsage",
}


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """What one certificate says of itself; digests are lower-case hexadecimal SHA-256."""

    subject: str
    issuer: str
    serial: int
    sans: tuple[str, ...]  # "DNS:localhost", "IP:127.0.0.1", "URI:spiffe://..."
    not_before: datetime  # aware UTC, inclusive
    not_after: datetime  # aware UTC, inclusive
    eku: tuple[str, ...] | None  # None: no extended key usage, so any purpose
    is_ca: bool
    aki: str | None  # key identifiers in hexadecimal
    ski: str | None
    key_kind: str  # "ec", "rsa", "ed25519" or "other"
    key_bits: int
    key_curve: str | None
    signature_hash: str | None  # None: the signature scheme hashes by itself (Ed25519)
    fingerprint: str
    spki_sha256: str

    @property
    def weak_key(self) -> bool:
        """RSA below 2048 bits, a curve outside P-256/384/521, or a kind of key we do not know."""
        match self.key_kind:
            case "rsa":
                return self.key_bits < MINIMUM_RSA_BITS
            case "ec":
                return self.key_curve not in ACCEPTED_CURVES
            case kind:
                return kind != "ed25519"

    @property
    def weak_signature(self) -> bool:
        """Signed over MD2, MD4, MD5, SHA-1 or a hash we do not know."""
        return self.signature_hash in WEAK_HASHES


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
    labels = pem_labels(pem)
    if any(label.endswith("PRIVATE KEY") for label in labels):
        raise UsageError("security.key_in_certificate_file", path=subject)
    if "CERTIFICATE" not in labels:
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
    """The labels of the PEM blocks (RFC 7468) in their order: `CERTIFICATE`, `EC PRIVATE KEY`, ..."""
    return [match.group(1).decode("ascii") for match in _BLOCK.finditer(pem)]


def has_stray_text(pem: bytes) -> bool:
    """Whether anything but white space stands outside the PEM blocks."""
    return bool(_BLOCK.sub(b"", pem).strip())


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


def facts_of(certificate: x509.Certificate) -> CertificateFacts:
    """The facts of `certificate`; raises ValueError when an extension does not parse or stands twice."""
    extensions = certificate.extensions
    sans = _extension(extensions, x509.SubjectAlternativeName)
    usage = _extension(extensions, x509.ExtendedKeyUsage)
    constraints = _extension(extensions, x509.BasicConstraints)
    aki = _extension(extensions, x509.AuthorityKeyIdentifier)
    ski = _extension(extensions, x509.SubjectKeyIdentifier)
    kind, bits, curve, spki = _public_key_facts(certificate)
    return CertificateFacts(
        subject=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        serial=certificate.serial_number,
        sans=tuple(_san(name) for name in sans) if sans else (),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        eku=tuple(_PURPOSE_NAMES.get(oid, oid.dotted_string) for oid in usage) if usage else None,
        is_ca=constraints is not None and constraints.ca,
        aki=aki.key_identifier.hex() if aki and aki.key_identifier else None,
        ski=ski.digest.hex() if ski else None,
        key_kind=kind,
        key_bits=bits,
        key_curve=curve,
        signature_hash=_signature_hash(certificate),
        fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
        spki_sha256=spki,
    )


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


def names_host(sans: Sequence[str], host: str) -> bool:
    """Whether `host` stands among `sans`, a wildcard as the whole first label included (RFC 6125)."""
    try:
        return f"IP:{ipaddress.ip_address(host)}" in sans
    except ValueError:
        pass
    wanted = host.lower()
    names = {san.removeprefix("DNS:").lower() for san in sans if san.startswith("DNS:")}
    return wanted in names or f"*.{wanted.partition('.')[2]}" in names


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
        return builder.build_server_verifier(_peer_name(host or ""))
    except ValueError as error:
        raise UsageError("security.bad_host", host=host) from error


def _peer_name(host: str) -> x509.DNSName | x509.IPAddress:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _extension(extensions: x509.Extensions, kind: type[_Extension]) -> _Extension | None:
    try:
        return extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _san(name: x509.GeneralName) -> str:
    match name:
        case x509.DNSName():
            return f"DNS:{name.value}"
        case x509.IPAddress():
            return f"IP:{name.value}"
        case x509.UniformResourceIdentifier():
            return f"URI:{name.value}"
        case x509.RFC822Name():
            return f"email:{name.value}"
        case _:
            return f"other:{name.value}"


def _public_key_facts(certificate: x509.Certificate) -> tuple[str, int, str | None, str]:
    """Kind, bits, curve and the SHA-256 of the SubjectPublicKeyInfo (of nothing, for a key we cannot read)."""
    try:
        key = certificate.public_key()
    except (UnsupportedAlgorithm, ValueError):
        return "other", 0, None, hashlib.sha256().hexdigest()
    spki = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    digest = hashlib.sha256(spki).hexdigest()
    if isinstance(key, rsa.RSAPublicKey):
        return "rsa", key.key_size, None, digest
    if isinstance(key, ec.EllipticCurvePublicKey):
        return "ec", key.key_size, key.curve.name, digest
    if isinstance(key, ed25519.Ed25519PublicKey):
        return "ed25519", 256, None, digest
    return "other", 0, None, digest


def _signature_hash(certificate: x509.Certificate) -> str | None:
    try:
        algorithm = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return "unknown"
    return algorithm.name if algorithm else None
