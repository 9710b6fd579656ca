"""
Signatures of people: OpenSSH's SSHSIG format for Ed25519 keys.

Written after PROTOCOL.sshsig of OpenSSH and interchangeable with `ssh-keygen -Y sign` and `-Y verify`. The
namespace keeps a signature made for one purpose from counting for another. Only `ssh-ed25519` is accepted:
one algorithm, no parameters, nothing to downgrade to. Whatever does not parse is refused.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import textwrap
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from stage4 import files, ids
from stage4.errors import Conflict, Refused, Unavailable, UsageError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SIGN_OFF: Final = "stage4-signoff"
ENABLE: Final = "stage4-enable"
NAMESPACES: Final = (SIGN_OFF, ENABLE)
_MAGIC: Final = b"SSHSIG"
_VERSION: Final = (1).to_bytes(4, "big")
_KEY_TYPE: Final = b"ssh-ed25519"
_HASHES: Final = (b"sha512", b"sha256")
_BEGIN: Final = "-----BEGIN SSH SIGNATURE-----"
_END: Final = "-----END SSH SIGNATURE-----"
_LIMIT: Final = 8192


@dataclass(frozen=True, slots=True)
class Signature:
    """The parts of an SSHSIG blob; `public_key` as `ssh-ed25519 AAAA...`, without a comment."""

    public_key: str
    namespace: str
    hash_algorithm: str
    value: bytes = field(repr=False)


def sign(private_key: Path | bytes, message: bytes, namespace: str) -> str:
    """
    The armored signature of `message`, as `ssh-keygen -Y sign -n NAMESPACE` makes it.

    `private_key` is an unencrypted OpenSSH key or its path. Raises Unavailable `files.*` or
    `security.key_encrypted`, UsageError `security.person_key_malformed`.
    """
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = _private_key(private_key)
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    signed = _signed_bytes(namespace.encode("utf-8"), _HASHES[0], message)
    blob = b"".join(
        (
            _MAGIC,
            _VERSION,
            _string(_key_blob(public)),
            _string(namespace.encode("utf-8")),
            _string(b""),
            _string(_HASHES[0]),
            _string(_string(_KEY_TYPE) + _string(key.sign(signed))),
        )
    )
    lines = textwrap.wrap(base64.b64encode(blob).decode("ascii"), 70)
    return "\n".join((_BEGIN, *lines, _END, ""))


def parse(armored: str) -> Signature:
    """The parts of an armored signature, not yet verified; raises Refused `security.signature_malformed`."""
    try:
        return _parse_blob(_dearmor(armored))
    except ValueError as error:
        raise Refused("security.signature_malformed", reason=str(error)) from error


def verify(armored: str, message: bytes, namespace: str, public_key: str) -> None:
    """
    Return only if `public_key` (`ssh-ed25519 AAAA... comment`) signed `message` for `namespace`.

    1. The blob is well formed, to the last byte.
    2. It was made for this namespace.
    3. It was made with this key.
    4. The signature is right.

    Raises Refused `security.signature_malformed`, `security.signature_namespace`, `security.signature_key` or
    `security.signature_wrong`, and UsageError `security.public_key_malformed`. Says nothing about when it was
    made, or whether the key was still the person's.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    raw = _public_bytes(public_key)
    # 1.
    signature = parse(armored)
    # 2.
    if signature.namespace != namespace:
        raise Refused("security.signature_namespace", expected=namespace, found=signature.namespace)
    # 3.
    if signature.public_key != normalized(public_key):
        raise Refused(
            "security.signature_key", expected=fingerprint(public_key), found=fingerprint(signature.public_key)
        )
    # 4.
    signed = _signed_bytes(namespace.encode("utf-8"), signature.hash_algorithm.encode("ascii"), message)
    try:
        Ed25519PublicKey.from_public_bytes(raw).verify(signature.value, signed)
    except (InvalidSignature, ValueError) as error:
        raise Refused("security.signature_wrong", key=fingerprint(public_key)) from error


def normalized(public_key: str) -> str:
    """`ssh-ed25519 AAAA...` without comment, once its bytes are right; raises UsageError otherwise."""
    return _encoded(_public_bytes(public_key))


def fingerprint(public_key: str) -> str:
    """`SHA256:...` as `ssh-keygen -l` prints it."""
    digest = hashlib.sha256(_key_blob(_public_bytes(public_key))).digest()
    return "SHA256:" + base64.b64encode(digest).decode("ascii").rstrip("=")


def allowed_signers_line(
    principal: str, public_key: str, valid_from: datetime | None = None, valid_until: datetime | None = None
) -> str:
    """One line of an allowed-signers file (ssh-keygen(1)): the person's id, our namespaces, validity, key."""
    options = [f'namespaces="{",".join(NAMESPACES)}"']
    if valid_from is not None:
        options.append(f'valid-after="{valid_from.astimezone(UTC):%Y%m%d%H%M%S}Z"')
    if valid_until is not None:
        options.append(f'valid-before="{valid_until.astimezone(UTC):%Y%m%d%H%M%S}Z"')
    return f"{principal} {','.join(options)} {normalized(public_key)}\n"


def generate_person_key(path: Path, comment: str = "") -> str:
    """
    Make an Ed25519 key pair at `path` (0600) and `path`.pub, and return the public line.

    Raises Conflict `security.person_key_exists` rather than overwrite, Unavailable `files.cannot_write`.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    key = Ed25519PrivateKey.from_private_bytes(ids.random_bytes(32))
    public = _encoded(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))
    line = f"{public} {comment}".rstrip()
    try:
        written = files.exclusive_write(
            path, key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()), 0o600
        )
    except OSError as error:
        raise Unavailable("files.cannot_write", path=path, reason=files.reason(error)) from error
    if not written:
        raise Conflict("security.person_key_exists", path=path)
    files.atomic_write(path.with_name(path.name + ".pub"), f"{line}\n".encode())
    return line


def public_key_of(private_key: Path | bytes) -> str:
    """The public line of a private key; raises as `sign` does."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return _encoded(_private_key(private_key).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))


def _private_key(source: Path | bytes) -> Ed25519PrivateKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_ssh_private_key

    content = files.read_limited(source, _LIMIT) if isinstance(source, Path) else source
    subject = source if isinstance(source, Path) else "-"
    try:
        key = load_ssh_private_key(content, password=None)
    except TypeError as error:
        raise Unavailable("security.key_encrypted", path=subject) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UsageError("security.person_key_malformed", path=subject, reason=str(error)) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError("security.person_key_malformed", path=subject, reason="not an Ed25519 key")
    return key


def _signed_bytes(namespace: bytes, hash_algorithm: bytes, message: bytes) -> bytes:
    digest = hashlib.new(hash_algorithm.decode("ascii"), message).digest()
    return _MAGIC + _string(namespace) + _string(b"") + _string(hash_algorithm) + _string(digest)


def _dearmor(armored: str) -> bytes:
    lines = armored.strip().splitlines()
    if len(armored) > _LIMIT:
        raise ValueError("longer than any signature")
    if len(lines) < 3 or lines[0].rstrip() != _BEGIN or lines[-1].rstrip() != _END:
        raise ValueError("not between BEGIN and END SSH SIGNATURE")
    try:
        return base64.b64decode("".join(line.strip() for line in lines[1:-1]), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise ValueError("not base64") from error


def _parse_blob(blob: bytes) -> Signature:
    if blob[:6] != _MAGIC or blob[6:10] != _VERSION:
        raise ValueError("not an SSHSIG of version 1")
    key, rest = _take(blob[10:])
    namespace, rest = _take(rest)
    # PROTOCOL.sshsig: the reserved field is to be ignored, but it is part of what is signed.
    reserved, rest = _take(rest)
    hash_algorithm, rest = _take(rest)
    signature, rest = _take(rest)
    if rest:
        raise ValueError("bytes after the signature")
    if reserved:
        raise ValueError("the reserved field is not empty")
    if hash_algorithm not in _HASHES:
        raise ValueError("neither sha512 nor sha256")
    kind, rest = _take(signature)
    value, rest = _take(rest)
    if kind != _KEY_TYPE or rest or len(value) != 64:
        raise ValueError("not an Ed25519 signature")
    return Signature(_encoded(_raw_of(key)), namespace.decode("utf-8"), hash_algorithm.decode("ascii"), value)


def _public_bytes(public_key: str) -> bytes:
    try:
        kind, encoded, *_ = public_key.split(None, 2)
        if kind != "ssh-ed25519":
            raise ValueError("not ssh-ed25519")
        return _raw_of(base64.b64decode(encoded, validate=True))
    except ValueError as error:
        raise UsageError("security.public_key_malformed", key=public_key[:60], reason=str(error)) from error


def _raw_of(key_blob: bytes) -> bytes:
    kind, rest = _take(key_blob)
    raw, rest = _take(rest)
    if kind != _KEY_TYPE or rest or len(raw) != 32:
        raise ValueError("not an ssh-ed25519 public key")
    return raw


def _encoded(raw: bytes) -> str:
    return f"ssh-ed25519 {base64.b64encode(_key_blob(raw)).decode('ascii')}"


def _key_blob(raw: bytes) -> bytes:
    return _string(_KEY_TYPE) + _string(raw)


def _string(content: bytes) -> bytes:
    """An SSH string (RFC 4251 §5): four bytes of length, then the content."""
    return len(content).to_bytes(4, "big") + content


def _take(rest: bytes) -> tuple[bytes, bytes]:
    length = int.from_bytes(rest[:4], "big")
    if len(rest) < 4 or len(rest) - 4 < length:
        raise ValueError("ends in the middle of a field")
    return rest[4 : 4 + length], rest[4 + length :]
