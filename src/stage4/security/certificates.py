"""Reading certificates and private keys: strict, and saying what is wrong with a file that is not right."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from stage4 import files
from stage4.errors import Unavailable, UsageError
from stage4.security.certificate_facts import MAXIMUM_RSA_BITS, UNREADABLE, facts_of, without_warnings

PEM_LIMIT: Final = 1 << 18
_MARKER = re.compile(rb"-----(BEGIN|END) ([A-Z0-9 ]+)-----")


def load_certificates(path: Path) -> list[x509.Certificate]:
    """
    The certificates of a PEM file in their order, at least one.

    Raises Unavailable `files.*` when the file cannot be read, and UsageError `security.certificate_malformed`,
    `security.certificate_missing`, `security.certificate_der`, `security.key_too_large` or
    `security.key_in_certificate_file`.
    """
    return parse_certificates(files.read_limited(path, PEM_LIMIT), path)


def parse_certificates(pem: bytes, subject: object) -> list[x509.Certificate]:
    """As `load_certificates`, for bytes already read; `subject` names them in errors."""
    if b"PRIVATE KEY-----" in pem:
        raise UsageError("security.key_in_certificate_file", path=subject)
    if is_der(pem):
        raise UsageError("security.certificate_der", path=subject)
    if "CERTIFICATE" not in pem_labels(pem):
        raise UsageError("security.certificate_missing", path=subject)
    try:
        with without_warnings():
            certificates = x509.load_pem_x509_certificates(pem)
        for certificate in certificates:
            _refuse_large(certificate, subject)
            facts_of(certificate)
    except UNREADABLE as error:
        raise UsageError("security.certificate_malformed", path=subject, reason=str(error)) from error
    return certificates


def parse_either(content: bytes, subject: object) -> list[x509.Certificate]:
    """The certificates of a PEM file or the one of a DER file, for people who look at one; a service takes PEM only."""
    if not is_der(content):
        return parse_certificates(content, subject)
    try:
        with without_warnings():
            certificate = x509.load_der_x509_certificate(content)
        _refuse_large(certificate, subject)
        facts_of(certificate)
    except UNREADABLE as error:
        raise UsageError("security.certificate_malformed", path=subject, reason=str(error)) from error
    return [certificate]


def load_private_key(path: Path) -> PrivateKeyTypes:
    """
    The unencrypted private key of a PEM file.

    Raises Unavailable `files.*` or `security.key_encrypted`, and UsageError `security.key_malformed`,
    `security.key_too_large` or `security.key_der`. The numbers of an RSA key are not proved here (it takes a quarter of
    a second); `key_matches` compares them.
    """
    return parse_private_key(files.read_limited(path, PEM_LIMIT), path)


def parse_private_key(pem: bytes, subject: object) -> PrivateKeyTypes:
    """As `load_private_key`, for bytes already read; `subject` names them in errors."""
    if is_der(pem):
        raise UsageError("security.key_der", path=subject)
    try:
        key = serialization.load_pem_private_key(pem, password=None, unsafe_skip_rsa_key_validation=True)
    except TypeError as error:
        raise Unavailable("security.key_encrypted", path=subject) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UsageError("security.key_malformed", path=subject, reason=str(error)) from error
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size > MAXIMUM_RSA_BITS:
        raise UsageError("security.key_too_large", path=subject, limit=MAXIMUM_RSA_BITS)
    return key


def _refuse_large(certificate: x509.Certificate, subject: object) -> None:
    """Refuse an RSA key with which OpenSSL would not reckon, before anybody else does."""
    try:
        key = certificate.public_key()
    except UNREADABLE:
        return  # of a kind that nobody here knows: its facts say so
    if isinstance(key, rsa.RSAPublicKey) and key.key_size > MAXIMUM_RSA_BITS:
        raise UsageError("security.key_too_large", path=subject, limit=MAXIMUM_RSA_BITS)


def pem_labels(pem: bytes) -> list[str]:
    """The labels of the whole PEM blocks (RFC 7468) in their order: `CERTIFICATE`, `EC PRIVATE KEY`, ..."""
    return [label for label, _, _ in _blocks(pem)]


def pem_blocks(pem: bytes, label: str) -> list[bytes]:
    """The whole blocks of one label."""
    return [pem[begin:end] for found, begin, end in _blocks(pem) if found == label]


def is_der(content: bytes) -> bool:
    """Whether it is the binary form: a SEQUENCE of two or more length octets (X.690 8.1.3.5), as certificates are."""
    return content[:1] == b"\x30" and content[1:2] >= b"\x81"


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


def _agrees(key: rsa.RSAPrivateNumbers) -> bool:
    """Whether the numbers of an RSA key are of one key (RFC 8017 3.2), as gRPC's TLS asks where OpenSSL gets along.

    That `p` and `q` are prime takes a quarter of a second to prove and is left out.
    """
    p, q, d, public = key.p, key.q, key.d, key.public_numbers
    # The sizes first: they bound the divisions, and numbers beyond the modulus would keep a signature busy for minutes.
    if not (1 < p < public.n and 1 < q < public.n and 0 < d < public.n and p * q == public.n):
        return False
    halves = (key.dmp1, key.dmq1) == (d % (p - 1), d % (q - 1))
    right = public.e * d % (p - 1) == 1 == public.e * d % (q - 1)
    return halves and right and 0 < key.iqmp < p and key.iqmp * q % p == 1


def key_matches(certificate: x509.Certificate, key: PrivateKeyTypes) -> bool:
    """
    Whether `key` makes a signature that verifies with the certificate: a proof, not a comparison of names.

    Only a key whose public half is the certificate's, and whose numbers agree, is made to sign.
    """
    challenge = certificate.tbs_certificate_bytes
    public = certificate.public_key()
    try:
        if key.public_key() != public:
            return False
        if isinstance(key, rsa.RSAPrivateKey) and isinstance(public, rsa.RSAPublicKey):
            if not _agrees(key.private_numbers()):
                return False
            public.verify(
                key.sign(challenge, padding.PKCS1v15(), hashes.SHA256()),
                challenge,
                padding.PKCS1v15(),
                hashes.SHA256(),
            )
            return _agrees(key.private_numbers())
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
