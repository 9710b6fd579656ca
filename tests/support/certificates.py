"""Makes certificates that are wrong in one stated way; the right ones come from the demo PKI's rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOW = datetime(2026, 11, 23, 9, 42, tzinfo=UTC)
SERVER = (ExtendedKeyUsageOID.SERVER_AUTH,)
CLIENT = (ExtendedKeyUsageOID.CLIENT_AUTH,)
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True)
class Made:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: Key

    def write(self, directory: Path, name: str) -> tuple[Path, Path]:
        """Write both as PEM and return their paths."""
        certificate, key = directory / f"{name}.pem", directory / f"{name}-key.pem"
        certificate.write_bytes(pem(self.certificate))
        key.write_bytes(key_pem(self.key))
        return certificate, key


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def key_pem(key: Key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def ec_key(curve: ec.EllipticCurve | None = None) -> Key:
    return ec.generate_private_key(curve or ec.SECP256R1())


def rsa_key(bits: int) -> Key:
    return rsa.generate_private_key(65537, bits)


def make(
    name: str,
    issuer: Made | None = None,
    *,
    key: Key | None = None,
    ca: bool = False,
    path_length: int | None = None,
    eku: tuple[x509.ObjectIdentifier, ...] = (),
    sans: tuple[str, ...] = (),
    begins: datetime = NOW - timedelta(days=1),
    ends: datetime = NOW + timedelta(days=90),
    identifiers: bool = True,
    serial: int | None = None,
    usages: tuple[str, ...] | None = None,
    constraints_critical: bool = True,
    extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
    subject: x509.Name | None = None,
    aki: x509.AuthorityKeyIdentifier | None = None,
    aki_critical: bool = False,
    ski_critical: bool = False,
) -> Made:
    """
    A certificate signed by `issuer`, or by itself; `usages` and `aki` in place of the right ones.

    No `usages` mean no key usage, and without `identifiers` there are none.
    """
    own = key or ec_key()
    signer = issuer.key if issuer else own
    subject = subject if subject is not None else x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(own.public_key())
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca, path_length), critical=constraints_critical)
    )
    wanted = (("key_cert_sign", "crl_sign") if ca else ("digital_signature",)) if usages is None else usages
    if wanted:
        builder = builder.add_extension(key_usage(*wanted), critical=True)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    if eku:
        builder = builder.add_extension(x509.ExtendedKeyUsage(eku), critical=False)
    if sans:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(s) for s in sans]), critical=False)
    if identifiers:
        builder = builder.add_extension(
            x509.SubjectKeyIdentifier.from_public_key(own.public_key()), critical=ski_critical
        ).add_extension(
            aki or x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=aki_critical
        )
    return Made(builder.sign(signer, _hash_for(signer)), own)


def _hash_for(signer: Key) -> hashes.SHA256 | None:
    return None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256()


def key_usage(*usages: str) -> x509.KeyUsage:
    """A key usage with these and no others."""
    names = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{name: name in usages for name in names})


def revocation_list(
    issuer: Made,
    *revoked: Made,
    begins: datetime = NOW - timedelta(days=1),
    ends: datetime = NOW + timedelta(days=7),
    reason: x509.ReasonFlags = x509.ReasonFlags.key_compromise,
    extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
    signer: Made | None = None,
) -> x509.CertificateRevocationList:
    """A list of `issuer` that names `revoked`, an hour before NOW."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(begins)
        .next_update(ends)
    )
    for made in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(made.certificate.serial_number)
        entry = entry.revocation_date(NOW - timedelta(hours=1)).add_extension(x509.CRLReason(reason), critical=False)
        builder = builder.add_revoked_certificate(entry.build())
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    key = (signer or issuer).key
    return builder.sign(key, _hash_for(key))


def crl_pem(crl: x509.CertificateRevocationList) -> bytes:
    return crl.public_bytes(serialization.Encoding.PEM)
