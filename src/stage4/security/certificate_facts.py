"""What a certificate says of itself, as plain values that a rule can judge and a report can print."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

MINIMUM_RSA_BITS: Final = 2048
ACCEPTED_CURVES: Final = frozenset({"secp256r1", "secp384r1", "secp521r1"})
WEAK_HASHES: Final = frozenset({"md2", "md4", "md5", "sha1", "unknown"})
_PURPOSE_NAMES: Final = {
    ExtendedKeyUsageOID.SERVER_AUTH: "serverAuth",
    ExtendedKeyUsageOID.CLIENT_AUTH: "clientAuth",
    ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE: "anyExtendedKeyUsage",
}
_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


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


def names_host(sans: Sequence[str], host: str) -> bool:
    """Whether `host` stands among `sans`, a wildcard as the whole first label included (RFC 6125)."""
    try:
        return f"IP:{ipaddress.ip_address(host)}" in sans
    except ValueError:
        pass
    wanted = host.lower()
    names = {san.removeprefix("DNS:").lower() for san in sans if san.startswith("DNS:")}
    return wanted in names or f"*.{wanted.partition('.')[2]}" in names


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
