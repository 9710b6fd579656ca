"""
A certificate authority for trying the product out: one CA, one server, one client.

The CA's private key is used once and never written, so nothing can be added to a bundle afterwards: renewing
it means making a whole new one (`rotating`). Production installations refuse certificates of this CA.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from stage4 import files
from stage4.errors import Conflict, Unavailable
from stage4.security.certificate_chain import general_name

DEMO_ORGANISATION: Final = "Stage4 demo (not for production)"
CA_LIFETIME: Final = timedelta(days=398)
# One rotation interval (90 days) and a month to be late in.
LEAF_LIFETIME: Final = timedelta(days=120)


@dataclass(frozen=True, slots=True)
class CreatedBundle:
    """Where the five files of a bundle lie, and the instant its certificates begin (whole seconds, UTC)."""

    bundle: str
    created_at: datetime
    ca: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path

    @property
    def rotations(self) -> Mapping[tuple[str, str], datetime]:
        """What the rotation registry has to say of this bundle, by (key, purpose)."""
        return {(self.bundle, purpose): self.created_at for purpose in ("tls_ca", "tls_server", "tls_client")}


def bundle_paths(directory: Path, bundle: str) -> dict[str, Path]:
    """The five paths of `bundle`, by role: `ca`, `server`, `server_key`, `client`, `client_key`."""
    roles = ("ca", "server", "server_key", "client", "client_key")
    return {role: directory / f"{bundle}-{role.replace('_', '-')}.pem" for role in roles}


def create_bundle(
    directory: Path,
    bundle: str,
    *,
    now: datetime,
    hosts: Sequence[str] = ("localhost", "127.0.0.1"),
    client_san: str = "stage4-client",
) -> CreatedBundle:
    """
    Make a P-256 CA with a server and a client certificate and write them, keys with mode 0600.

    Never overwrites: raises Conflict `security.bundle_exists` when one of the five files is there already, and
    Unavailable `files.cannot_write` when the disk refuses.
    """
    paths = bundle_paths(directory, bundle)
    for path in paths.values():
        if path.exists() or path.is_symlink():
            raise Conflict("security.bundle_exists", path=path)
    begins = now.replace(microsecond=0)
    contents = make_bundle(
        bundle,
        begins,
        server_names=[general_name(host) for host in hosts],
        client_names=[general_name(client_san)],
        client_common_name=client_san,
    )
    for role, (content, mode) in contents.items():
        try:
            created = files.exclusive_write(paths[role], content, mode)
        except OSError as error:
            raise Unavailable("files.cannot_write", path=paths[role], reason=files.reason(error)) from error
        if not created:
            raise Conflict("security.bundle_exists", path=paths[role])
    return CreatedBundle(bundle=bundle, created_at=begins, **paths)


def make_bundle(
    bundle: str,
    begins: datetime,
    *,
    server_names: Sequence[x509.GeneralName],
    client_names: Sequence[x509.GeneralName],
    client_common_name: str,
) -> dict[str, tuple[bytes, int]]:
    """
    PEM and file mode of a whole new bundle, by role; its certificates begin at `begins` (whole seconds, UTC).

    In the order in which they are best written: the CA comes last, because a bundle without it is plainly unfinished.
    """
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca = _signed(_ca_builder(bundle, ca_key.public_key(), begins), ca_key)
    server, server_key = _leaf(f"{bundle} server", server_names, ExtendedKeyUsageOID.SERVER_AUTH, ca, ca_key, begins)
    client, client_key = _leaf(client_common_name, client_names, ExtendedKeyUsageOID.CLIENT_AUTH, ca, ca_key, begins)
    return {
        "server_key": (_key_pem(server_key), 0o600),
        "client_key": (_key_pem(client_key), 0o600),
        "server": (_pem(server), 0o644),
        "client": (_pem(client), 0o644),
        "ca": (_pem(ca), 0o644),
    }


def is_demo(certificate: x509.Certificate) -> bool:
    """Whether `certificate` comes from a CA of this module."""
    names = certificate.issuer.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    return any(name.value == DEMO_ORGANISATION for name in names)


def _ca_builder(bundle: str, key: ec.EllipticCurvePublicKey, begins: datetime) -> x509.CertificateBuilder:
    subject = _subject(f"{bundle} demo CA")
    return (
        _builder(subject, subject, key, begins, CA_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
    )


def _leaf(
    common_name: str,
    sans: Sequence[x509.GeneralName],
    purpose: x509.ObjectIdentifier,
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    begins: datetime,
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        _builder(_subject(common_name), ca.subject, key.public_key(), begins, LEAF_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(x509.SubjectAlternativeName(sans), critical=False)
    )
    return _signed(builder, ca_key), key


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    begins: datetime,
    lifetime: timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _signed(builder: x509.CertificateBuilder, ca_key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    return builder.add_extension(issuer, critical=False).sign(ca_key, hashes.SHA256())


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _subject(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, DEMO_ORGANISATION),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
