"""
Looks for private keys where certificates and secrets lie, whatever the files are called.

PEM and plain DER are recognised, several keys in one file too. A key that is encrypted, in a container (PKCS #12, an
archive) or in letters of its own stays unseen: whose it is, only its password or its maker knows.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from stage4 import files
from stage4.config import Installation
from stage4.errors import Stage4Error
from stage4.security import certificates

_FILES_LIMIT: Final = 256
_SUFFIX: Final = "PRIVATE KEY"


@dataclass(frozen=True, slots=True)
class KeysAtHand:
    """Files with a private key, those among them with a wanted one, and what could not be looked at."""

    private: tuple[Path, ...] = ()
    wanted: tuple[Path, ...] = ()
    unlooked: tuple[Path, ...] = ()


def collect(installation: Installation, wanted: Collection[str]) -> KeysAtHand:
    """The keys below the bundle directory and `secrets`; `wanted` are digests (SHA-256, hexadecimal) of public keys."""
    found, unlooked = _candidates(installation)
    private, matching = [], []
    for path in found:
        try:
            content = files.read_limited(path, certificates.PEM_LIMIT)
        except Stage4Error:
            unlooked.append(path)
            continue
        keys = list(_keys(content, path))
        if keys or any(label.endswith(_SUFFIX) for label in certificates.pem_labels(content)):
            private.append(path)
        if any(spki_sha256(key) in wanted for key in keys):
            matching.append(path)
    return KeysAtHand(tuple(private), tuple(matching), tuple(sorted(unlooked)))


def spki_sha256(key: PrivateKeyTypes) -> str:
    """Names the public half: SHA-256 of its SubjectPublicKeyInfo, in hexadecimal."""
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(public).hexdigest()


def _candidates(installation: Installation) -> tuple[list[Path], list[Path]]:
    """The files to look at, and the places that do not answer; what is too much is a place that does not."""
    unlooked: list[Path] = []
    found: dict[Path, None] = {}
    bundle = installation.path(installation.settings.execution.mtls.bundle_directory)
    secrets = installation.path("secrets")
    seen: set[str] = set()
    for home in (bundle, secrets) if secrets.exists() else (bundle,):
        for path in _below(home, seen, unlooked):
            if len(found) == _FILES_LIMIT:
                return list(found), [*unlooked, home]
            found[path] = None
    return list(found), unlooked


def _below(home: Path, seen: set[str], unlooked: list[Path]) -> Iterator[Path]:
    """Regular files, also behind links; no directory twice, so that links in a circle come to an end."""

    def give_up(error: OSError) -> None:
        unlooked.append(Path(error.filename))

    for name, directories, members in os.walk(home, onerror=give_up, followlinks=True):
        real = os.path.realpath(name)
        if real in seen:
            directories.clear()
            continue
        seen.add(real)
        directories.sort()
        for path in (Path(name) / member for member in sorted(members)):
            with suppress(OSError):
                if stat.S_ISREG(path.stat().st_mode):
                    yield path


def _keys(content: bytes, path: Path) -> Iterator[PrivateKeyTypes]:
    """Every key of a file that can be read, wherever it stands in it."""
    for label in sorted({label for label in certificates.pem_labels(content) if label.endswith(_SUFFIX)}):
        for block in certificates.pem_blocks(content, label):
            with suppress(Stage4Error):
                yield certificates.parse_private_key(block, path)
    if content.startswith(b"\x30"):  # a SEQUENCE, also a short one
        with suppress(ValueError, TypeError, UnsupportedAlgorithm):
            yield serialization.load_der_private_key(content, None)
