"""
Signed notes and checkpoints, as C2SP writes them (c2sp.org/signed-note, c2sp.org/tlog-checkpoint).

    stage4-log/<log id>          the origin
    1234                         how many entries
    <base64 of the tree head>

    — <key name> <base64 of the 4-byte key id ‖ Ed25519 signature>

A verifier key is written `<name>+<key id as 8 hexadecimal digits>+<base64 of 01 ‖ public key>`. Signatures of keys
that the reader does not know are passed over; a known key whose signature does not hold condemns the note.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from stage4.decisionlog.checkpoints.spelling import base64_bytes, whole_number

_ED25519 = b"\x01"
_DASH = "— "
_MOST_SIGNATURES = 16
_MOST_BYTES = 16 * 1024
_KEY, _ID, _SIGNATURE = 32, 4, 64


class NoteError(ValueError):
    """The bytes are no signed note, checkpoint or key; `reason` is one word of the catalogue's `checkpoint.note_*`."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public Ed25519 key with its name; `public` is 32 bytes."""

    name: str
    public: bytes

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """The key that `text` spells; raises NoteError."""
        parts = text.strip().split("+", 2)
        if len(parts) != 3 or not _is_name(parts[0]):
            raise NoteError("key")
        raw = _decoded(parts[2], "key")
        if len(raw) != 1 + _KEY or raw[:1] != _ED25519:
            raise NoteError("key")
        key = cls(parts[0], raw[1:])
        if key.id.hex() != parts[1]:
            raise NoteError("key")
        return key

    @property
    def id(self) -> bytes:
        """The 4 bytes that a signature names its key with."""
        return hashlib.sha256(self.name.encode() + b"\n" + _ED25519 + self.public).digest()[:_ID]

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(_ED25519 + self.public).decode()}"

    def holds(self, text: str, signature: bytes) -> bool:
        """Whether `signature` is this key's over `text`."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text.encode())
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(frozen=True, slots=True)
class SignerKey:
    """A private Ed25519 key with its name; `seed` is 32 bytes."""

    name: str
    seed: bytes

    @property
    def verifier(self) -> VerifierKey:
        """The public key."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return VerifierKey(self.name, Ed25519PrivateKey.from_private_bytes(self.seed).public_key().public_bytes_raw())

    def sign(self, text: str) -> Signature:
        """The signature over `text`, which ends with LF."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        value = Ed25519PrivateKey.from_private_bytes(self.seed).sign(text.encode())
        return Signature(self.name, self.verifier.id, value)

    def __repr__(self) -> str:
        return f"SignerKey({self.name!r}, <secret>)"


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line: the key's name and id, and what it signed the text with."""

    name: str
    key_id: bytes
    value: bytes

    def __str__(self) -> str:
        return f"{_DASH}{self.name} {base64.b64encode(self.key_id + self.value).decode()}"


@dataclass(frozen=True, slots=True)
class Note:
    """A text that ends with LF, and the signatures under it."""

    text: str
    signatures: tuple[Signature, ...]

    @classmethod
    def parse(cls, content: bytes) -> Note:
        """The note that the bytes spell; raises NoteError."""
        if len(content) > _MOST_BYTES:
            raise NoteError("long")
        try:
            whole = content.decode("utf-8")
        except UnicodeDecodeError:
            raise NoteError("encoding") from None
        if any(char < " " and char != "\n" for char in whole):
            raise NoteError("encoding")
        text, separator, below = whole.rpartition("\n\n")
        if not separator or not text or not below.endswith("\n"):
            raise NoteError("shape")
        lines = below[:-1].split("\n")
        if len(lines) > _MOST_SIGNATURES:
            raise NoteError("long")
        return cls(text + "\n", tuple(_signature(line) for line in lines))

    def encode(self) -> bytes:
        """The note as it is stored and sent."""
        return (self.text + "\n" + "".join(f"{signature}\n" for signature in self.signatures)).encode()

    def signed_by(self, keys: Iterable[VerifierKey]) -> tuple[VerifierKey, ...]:
        """Those of `keys` that signed the note; raises NoteError where one is named whose signature does not hold."""
        known = {(key.name, key.id): key for key in keys}
        held: list[VerifierKey] = []
        for signature in self.signatures:
            key = known.get((signature.name, signature.key_id))
            if key is None:
                continue
            if not key.holds(self.text, signature.value):
                raise NoteError("signature")
            if key not in held:
                held.append(key)
        return tuple(held)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a note says of a log: its origin, how many entries it had, and the tree head over them."""

    origin: str
    size: int
    root: bytes

    @classmethod
    def of(cls, note: Note) -> Checkpoint:
        """The checkpoint in a note; raises NoteError where its text is none. Lines of extensions are passed over."""
        lines = note.text.split("\n")
        if len(lines) < 4 or not lines[0]:
            raise NoteError("checkpoint")
        try:
            size = whole_number(lines[1])
        except ValueError:
            raise NoteError("checkpoint") from None
        root = _decoded(lines[2], "checkpoint")
        if len(root) != 32:
            raise NoteError("checkpoint")
        return cls(lines[0], size, root)

    @property
    def tree_head(self) -> str:
        """The tree head in base64."""
        return base64.b64encode(self.root).decode()

    @property
    def text(self) -> str:
        """The text to sign."""
        return f"{self.origin}\n{self.size}\n{self.tree_head}\n"


def _is_name(name: str) -> bool:
    return bool(name) and "+" not in name and not any(char.isspace() or char < " " for char in name)


def _decoded(text: str, reason: str) -> bytes:
    try:
        return base64_bytes(text)
    except ValueError:
        raise NoteError(reason) from None


def _signature(line: str) -> Signature:
    dash, name, value = line[:2], *line[2:].partition(" ")[::2]
    raw = _decoded(value, "shape")
    if dash != _DASH or not _is_name(name) or len(raw) <= _ID:
        raise NoteError("shape")
    return Signature(name, raw[:_ID], raw[_ID:])
