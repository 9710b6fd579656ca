"""A client certificate that nobody should believe: every name as in the installation's own, the authority another."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_DAY: Final = timedelta(days=1)


@contextmanager
def foreign_pair(client: x509.Certificate | None, now: datetime) -> Iterator[tuple[Path, Path]]:
    """
    Certificate chain and key (mode 0600) in a temporary directory that is gone afterwards.

    Subject, issuer and SAN are those of `client` (made-up ones for None), so that a service which looks at names
    only lets it in. It is good for a day around `now`, so that it is refused for its authority and for nothing else.
    """
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer = client.issuer if client else _name("stage4 probe CA")
    authority = _builder(issuer, issuer, authority_key, now, signs=True).sign(authority_key, hashes.SHA256())
    subject = client.subject if client else _name("stage4 probe")
    leaf = (
        _builder(subject, issuer, key, now, signs=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(_names(client), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    chain = b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in (leaf, authority))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with tempfile.TemporaryDirectory(prefix="stage4-probe-") as directory:
        paths = Path(directory) / "foreign.pem", Path(directory) / "foreign-key.pem"
        for path, content in zip(paths, (chain, private), strict=True):
            path.touch(mode=0o600, exist_ok=False)
            path.write_bytes(content)
        yield paths


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, *, signs: bool
) -> x509.CertificateBuilder:
    usage = x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + _DAY)
        .add_extension(x509.BasicConstraints(ca=signs, path_length=None), critical=True)
        .add_extension(usage, critical=True)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _names(client: x509.Certificate | None) -> x509.SubjectAlternativeName:
    if client is not None:
        try:
            return client.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (x509.ExtensionNotFound, ValueError):
            pass
    return x509.SubjectAlternativeName([x509.DNSName("stage4-client")])
