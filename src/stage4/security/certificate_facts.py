"""What a certificate says of itself, as plain values that a rule can judge and a report can print."""

from __future__ import annotations

import hashlib
import ipaddress
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

MINIMUM_RSA_BITS: Final = 2048
# OpenSSL verifies with no larger modulus (OPENSSL_RSA_MAX_MODULUS_BITS); to sign with one takes minutes.
MAXIMUM_RSA_BITS: Final = 16384
ACCEPTED_CURVES: Final = frozenset({"secp256r1", "secp384r1", "secp521r1"})
# What TLS stacks take in a certificate's signature; everything else is old, or nobody's.
ACCEPTED_HASHES: Final = frozenset({"sha256", "sha384", "sha512"})
# What reading a malformed certificate raises; the last three are no ValueErrors.
UNREADABLE: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
_PURPOSE_NAMES: Final = {
    ExtendedKeyUsageOID.SERVER_AUTH: "serverAuth",
    ExtendedKeyUsageOID.CLIENT_AUTH: "clientAuth",
    ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE: "anyExtendedKeyUsage",
}
# Extensions that a chain's judgement evaluates, so that they may be critical. Certificate policies are not among them,
# nor key identifiers: they never are critical (RFC 5280 4.2.1.1, 4.2.1.2), and peers refuse critical ones.
_EVALUATED: Final = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.NAME_CONSTRAINTS,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    }
)
_USAGES: Final = {
    "digitalSignature": "digital_signature",
    "nonRepudiation": "content_commitment",
    "keyEncipherment": "key_encipherment",
    "dataEncipherment": "data_encipherment",
    "keyAgreement": "key_agreement",
    "keyCertSign": "key_cert_sign",
    "cRLSign": "crl_sign",
}
_Extension = TypeVar("_Extension", bound=x509.ExtensionType)
_filters = threading.Lock()


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
    version: int = 3
    has_constraints: bool = True  # basic constraints stand in it, whatever they say
    constraints_critical: bool = True
    path_length: int | None = None
    key_usage: tuple[str, ...] | None = None  # "digitalSignature", "keyCertSign", ...; None: no such extension
    key_usage_critical: bool = False
    permitted_names: tuple[str, ...] = ()  # name constraints, written as `sans` are
    excluded_names: tuple[str, ...] = ()
    name_constraints_critical: bool = False
    unknown_critical: tuple[str, ...] = ()  # object identifiers of critical extensions that nobody here evaluates
    common_names: tuple[str, ...] = ()
    san_critical: bool = False
    rsa_exponent: int | None = None
    self_signed: bool = False  # its own key verifies its signature
    crl_points: tuple[str, ...] = ()
    aki_issuers: tuple[str, ...] = ()  # directory names of the issuer's issuer, as the AKI has them
    aki_serial: int | None = None
    has_policy_constraints: bool = False

    @property
    def self_issued(self) -> bool:
        """Issuer and subject are one name (RFC 5280 3.2)."""
        return self.issuer == self.subject

    def may(self, usage: str) -> bool:
        """Whether the key usage allows `usage`, as every usage is where there is no such extension."""
        return self.key_usage is None or usage in self.key_usage

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
        """Signed over anything but SHA-256, SHA-384 or SHA-512, unless the scheme hashes by itself."""
        return self.signature_hash is not None and self.signature_hash not in ACCEPTED_HASHES


@contextmanager
def without_warnings() -> Iterator[None]:
    """Silence the library's warnings on malformed certificates: what they warn of is judged, not printed."""
    with _filters, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# An audit asks for the facts of one certificate in several places.
@lru_cache(maxsize=128)
def facts_of(certificate: x509.Certificate) -> CertificateFacts:
    """The facts of `certificate`; raises ValueError when an extension does not parse or stands twice."""
    try:
        with without_warnings():
            return _facts_of(certificate)
    except UNREADABLE as error:
        raise ValueError(str(error)) from error


def is_of_whole_octets(signed: x509.Certificate | x509.CertificateRevocationList) -> bool:
    """Whether the signature uses every bit of its last octet; one that does not is another spelling of a right one."""
    return signed.public_bytes(serialization.Encoding.DER)[-len(signed.signature) - 1] == 0


def _facts_of(certificate: x509.Certificate) -> CertificateFacts:
    extensions = certificate.extensions
    san = _extension(extensions, x509.SubjectAlternativeName)
    purposes = _extension(extensions, x509.ExtendedKeyUsage)
    constraints = _extension(extensions, x509.BasicConstraints)
    usage = _extension(extensions, x509.KeyUsage)
    names = _extension(extensions, x509.NameConstraints)
    aki = _extension(extensions, x509.AuthorityKeyIdentifier)
    ski = _extension(extensions, x509.SubjectKeyIdentifier)
    points = _extension(extensions, x509.CRLDistributionPoints)
    key = _public_key_facts(certificate)
    return CertificateFacts(
        subject=visible(certificate.subject.rfc4514_string()),
        issuer=visible(certificate.issuer.rfc4514_string()),
        serial=certificate.serial_number,
        sans=tuple(_name(name) for name in san.value) if san else (),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        eku=tuple(_PURPOSE_NAMES.get(oid, oid.dotted_string) for oid in purposes.value) if purposes else None,
        is_ca=constraints is not None and constraints.value.ca,
        aki=aki.value.key_identifier.hex() if aki and aki.value.key_identifier is not None else None,
        ski=ski.value.digest.hex() if ski else None,
        key_kind=key.kind,
        key_bits=key.bits,
        key_curve=key.curve,
        signature_hash=_signature_hash(certificate),
        fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
        spki_sha256=key.spki_sha256,
        version=certificate.version.value + 1,
        has_constraints=constraints is not None,
        constraints_critical=constraints is not None and constraints.critical,
        path_length=constraints.value.path_length if constraints else None,
        key_usage=_usages(usage.value) if usage else None,
        key_usage_critical=usage is not None and usage.critical,
        permitted_names=tuple(_name(name) for name in names.value.permitted_subtrees or ()) if names else (),
        excluded_names=tuple(_name(name) for name in names.value.excluded_subtrees or ()) if names else (),
        name_constraints_critical=names is not None and names.critical,
        unknown_critical=tuple(
            extension.oid.dotted_string
            for extension in extensions
            if extension.critical and extension.oid not in _EVALUATED
        ),
        common_names=tuple(str(name.value) for name in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)),
        san_critical=san is not None and san.critical,
        rsa_exponent=key.exponent,
        self_signed=_is_self_signed(certificate),
        crl_points=tuple(_name(name) for point in points.value for name in point.full_name or ()) if points else (),
        aki_issuers=tuple(
            visible(name.value.rfc4514_string())
            for name in (aki.value.authority_cert_issuer or () if aki else ())
            if isinstance(name, x509.DirectoryName)
        ),
        aki_serial=aki.value.authority_cert_serial_number if aki else None,
        has_policy_constraints=_extension(extensions, x509.PolicyConstraints) is not None,
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


def names_outside(facts: CertificateFacts, issuer: CertificateFacts) -> tuple[str, ...]:
    """The DNS names and addresses of `facts` that the name constraints of `issuer` do not allow (RFC 5280 4.2.1.10)."""
    outside = []
    for san in facts.sans:
        kind = san.partition(":")[0]
        permitted = [name for name in issuer.permitted_names if name.startswith(f"{kind}:")]
        allowed = not permitted or any(_within(san, name) for name in permitted)
        if kind in ("DNS", "IP") and (not allowed or any(_within(san, name) for name in issuer.excluded_names)):
            outside.append(san)
    return tuple(outside)


def _within(san: str, base: str) -> bool:
    kind, _, name = san.partition(":")
    base_kind, _, tree = base.partition(":")
    if kind != base_kind:
        return False
    if kind == "DNS":
        wanted, tree = name.lower().removeprefix("*."), tree.lower().lstrip(".")
        return not tree or wanted == tree or wanted.endswith(f".{tree}")
    if kind != "IP":
        return False
    address, network = ipaddress.ip_address(name), ipaddress.ip_network(tree)
    return address.version == network.version and address in network


def _extension(extensions: x509.Extensions, kind: type[_Extension]) -> x509.Extension[_Extension] | None:
    try:
        return extensions.get_extension_for_class(kind)
    except x509.ExtensionNotFound:
        return None


def visible(text: str) -> str:
    """`text` from a certificate with everything escaped that a terminal would obey or hide."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def _name(name: x509.GeneralName) -> str:
    return visible(_spelled(name))


def _spelled(name: x509.GeneralName) -> str:
    match name:
        case x509.DNSName():
            return f"DNS:{name.value}"
        case x509.IPAddress():
            return f"IP:{name.value}"
        case x509.UniformResourceIdentifier():
            return f"URI:{name.value}"
        case x509.RFC822Name():
            return f"email:{name.value}"
        case x509.DirectoryName():
            return f"directory:{name.value.rfc4514_string()}"
        case x509.RegisteredID():
            return f"OID:{name.value.dotted_string}"
        case _:
            return "other"


def _usages(usage: x509.KeyUsage) -> tuple[str, ...]:
    return tuple(name for name, attribute in _USAGES.items() if getattr(usage, attribute))


def _is_self_signed(certificate: x509.Certificate) -> bool:
    if certificate.issuer != certificate.subject:
        return False
    try:
        certificate.verify_directly_issued_by(certificate)
    except (InvalidSignature, *UNREADABLE):
        return False
    return True


@dataclass(frozen=True, slots=True)
class _KeyFacts:
    """`spki_sha256` is the digest of the SubjectPublicKeyInfo, of nothing for a key we cannot read."""

    kind: str
    bits: int
    curve: str | None
    spki_sha256: str
    exponent: int | None = None


def _public_key_facts(certificate: x509.Certificate) -> _KeyFacts:
    try:
        key = certificate.public_key()
    except UNREADABLE:
        return _KeyFacts("other", 0, None, hashlib.sha256().hexdigest())
    spki = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    digest = hashlib.sha256(spki).hexdigest()
    if isinstance(key, rsa.RSAPublicKey):
        return _KeyFacts("rsa", key.key_size, None, digest, key.public_numbers().e)
    if isinstance(key, ec.EllipticCurvePublicKey):
        return _KeyFacts("ec", key.key_size, key.curve.name, digest)
    if isinstance(key, ed25519.Ed25519PublicKey):
        return _KeyFacts("ed25519", 256, None, digest)
    return _KeyFacts("other", 0, None, digest)


def _signature_hash(certificate: x509.Certificate) -> str | None:
    try:
        algorithm = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return "unknown"
    return algorithm.name if algorithm else None
