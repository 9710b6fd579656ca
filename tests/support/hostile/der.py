"""Certificates that no library makes: taken apart as DER (X.690), changed, and signed again by hand."""

from __future__ import annotations

import base64
import warnings
from collections.abc import Callable, Iterator
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from support.certificates import Made

SEQUENCE, INTEGER, OID, NULL, BITS, TIME, VERSION, EXTENSIONS = 0x30, 0x02, 0x06, 0x05, 0x03, 0x17, 0xA0, 0xA3
# Object identifiers of signatures and the beginning of PKCS#1's DigestInfo (RFC 8017 9.2).
SHA1_RSA = bytes.fromhex("2a864886f70d010105"), "sha1", bytes.fromhex("3021300906052b0e03021a05000414")
MD5_RSA = bytes.fromhex("2a864886f70d010104"), "md5", bytes.fromhex("3020300c06082a864886f70d020505000410")
Fields = dict[str, bytes]


def tlv(tag: int, content: bytes) -> bytes:
    """One element with a definite length."""
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(octets)]) + octets + content


def elements(content: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Tag, content and the whole of each element that stands in `content`."""
    at = 0
    while at < len(content):
        size, begin = content[at + 1], at + 2
        if size & 0x80:
            begin += size & 0x7F
            size = int.from_bytes(content[at + 2 : begin], "big")
        yield content[at], content[begin : begin + size], content[at : begin + size]
        at = begin + size


def changed(made: Made, signer: Made, edit: Callable[[Fields], object]) -> Made:
    """`made` with its to-be-signed fields edited (an empty one is left out), signed again by `signer`."""
    fields = _fields(made.certificate)
    edit(fields)
    return Made(loaded(signed(b"".join(fields.values()), fields["algorithm"], signer)), made.key)


def spelled(made: Made, signer: Made, edit: Callable[[Fields], object]) -> bytes:
    """As `changed`, as PEM, for what the library does not even load."""
    fields = _fields(made.certificate)
    edit(fields)
    return armoured(signed(b"".join(fields.values()), fields["algorithm"], signer))


def loaded(content: bytes) -> x509.Certificate:
    """The library's warnings on what it will refuse one day are not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return x509.load_der_x509_certificate(content)


def signed(tbs_content: bytes, algorithm: bytes, signer: Made) -> bytes:
    tbs = tlv(SEQUENCE, tbs_content)
    key = signer.key
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    signature = key.sign(tbs, ec.ECDSA(hashes.SHA256()))
    return tlv(SEQUENCE, tbs + algorithm + tlv(BITS, b"\0" + signature))


def signed_weakly(made: Made, signer: Made, scheme: tuple[bytes, str, bytes]) -> Made:
    """`made` with an RSA signature over a hash that libraries refuse to sign; `signer` has an RSA key."""
    oid, name, prefix = scheme
    algorithm = tlv(SEQUENCE, tlv(OID, oid) + tlv(NULL, b""))
    fields = _fields(made.certificate) | {"algorithm": algorithm}
    tbs = tlv(SEQUENCE, b"".join(fields.values()))
    assert isinstance(signer.key, rsa.RSAPrivateKey)
    numbers = signer.key.private_numbers()
    size = (numbers.public_numbers.n.bit_length() + 7) // 8
    digest = hashes.Hash({"sha1": hashes.SHA1(), "md5": hashes.MD5()}[name])
    digest.update(tbs)
    information = prefix + digest.finalize()
    padded = b"\0\1" + b"\xff" * (size - len(information) - 3) + b"\0" + information
    signature = pow(int.from_bytes(padded, "big"), numbers.d, numbers.public_numbers.n).to_bytes(size, "big")
    return Made(loaded(tlv(SEQUENCE, tbs + algorithm + tlv(BITS, b"\0" + signature))), made.key)


def broken_signature(made: Made) -> Made:
    """The last octet of the signature is another one."""
    content = bytearray(made.certificate.public_bytes(serialization.Encoding.DER))
    content[-1] ^= 1
    return Made(loaded(bytes(content)), made.key)


def armoured(content: bytes, label: str = "CERTIFICATE") -> bytes:
    """DER as PEM (RFC 7468)."""
    lines = base64.encodebytes(content).replace(b"\n", b"")
    body = b"\n".join(lines[at : at + 64] for at in range(0, len(lines), 64))
    return b"-----BEGIN " + label.encode() + b"-----\n" + body + b"\n-----END " + label.encode() + b"-----\n"


def serial(number: int) -> Callable[[Fields], object]:
    size = number.bit_length() // 8 + 1
    return lambda fields: fields.update(serial=tlv(INTEGER, number.to_bytes(size, "big", signed=True)))


def validity(begins: datetime, ends: datetime) -> Callable[[Fields], object]:
    times = b"".join(tlv(TIME, f"{at:%y%m%d%H%M%SZ}".encode()) for at in (begins, ends))
    return lambda fields: fields.update(validity=tlv(SEQUENCE, times))


def version_1(fields: Fields) -> None:
    """No version and no extensions: X.509 of 1988."""
    fields.update(version=b"", extensions=b"")


def without(oid: x509.ObjectIdentifier) -> Callable[[Fields], object]:
    """Leaves an extension out."""
    return lambda fields: _extensions(fields, lambda listed: [each for each in listed if _oid(oid) not in each])


def twice(oid: x509.ObjectIdentifier) -> Callable[[Fields], object]:
    """An extension stands twice."""
    return lambda fields: _extensions(fields, lambda listed: [*listed, *(each for each in listed if _oid(oid) in each)])


def _extensions(fields: Fields, edit: Callable[[list[bytes]], list[bytes]]) -> None:
    ((_, sequence, _),) = elements(fields["extensions"])
    ((_, content, _),) = elements(sequence)
    listed = edit([whole for _, _, whole in elements(content)])
    fields["extensions"] = tlv(EXTENSIONS, tlv(SEQUENCE, b"".join(listed)))


def _oid(oid: x509.ObjectIdentifier) -> bytes:
    first, second, *rest = (int(part) for part in oid.dotted_string.split("."))
    # All that are asked for here have arcs below 128.
    return tlv(OID, bytes([first * 40 + second, *rest]))


def _fields(certificate: x509.Certificate) -> Fields:
    names = ("version", "serial", "algorithm", "issuer", "validity", "subject", "key", "extensions")
    ((_, content, _),) = elements(certificate.tbs_certificate_bytes)
    return dict(zip(names, (whole for _, _, whole in elements(content)), strict=True))
