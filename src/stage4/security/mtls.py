"""
The credentials of gRPC servers and clients, reloaded when their files change.

A rotation replaces several files one after the other, so a moment exists in which key and certificate do not
belong together. What was loaded last and fitted stays in use until the new files fit as well; `problem` then
says why they do not. The first load has nothing to fall back on and raises.

gRPC's own floor is TLS 1.2 (`MINIMUM_TLS`); it cannot be lowered from here.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from stage4 import files
from stage4.errors import Stage4Error, UsageError
from stage4.security import certificates
from stage4.security.certificate_facts import facts_of

MINIMUM_TLS: Final = "TLSv1.2"


@dataclass(frozen=True, slots=True)
class Material:
    """One consistent reading of the files, as PEM for `grpc.ssl_*_credentials`."""

    chain: bytes
    private_key: bytes = field(repr=False)
    trusted: bytes  # the CAs that the peer's certificate must come from
    fingerprint: str  # SHA-256 of our own leaf, lower-case hexadecimal


class Identity:
    """Certificate, key and trusted CAs of one end of a connection; safe to use from several threads."""

    def __init__(self, certificate: Path, private_key: Path, trusted: Path) -> None:
        """Load at once; raises what `certificates.load_*` raise, or UsageError `security.key_mismatch`."""
        self._paths = (certificate, private_key, trusted)
        self._lock = threading.Lock()
        self._seen = self._stamp()
        self._material = self._read()
        self._problem: Stage4Error | None = None

    @property
    def material(self) -> Material:
        """What was loaded last and fitted."""
        with self._lock:
            return self._material

    @property
    def problem(self) -> Stage4Error | None:
        """Why the files as they are now could not be taken over; None when they were."""
        with self._lock:
            return self._problem

    def reload(self) -> Material | None:
        """The new material when the files have changed and fit, else None: what a gRPC fetcher has to return."""
        with self._lock:
            stamp = self._stamp()
            if stamp == self._seen:
                return None
            try:
                fresh = self._read()
            except Stage4Error as error:
                self._problem = error
                return None
            # Read before it changed again: the stamp was taken first, so the next call looks again.
            self._seen, self._problem = stamp, None
            if fresh == self._material:
                return None
            self._material = fresh
            return fresh

    def _stamp(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(_file_stamp(path) for path in self._paths)

    def _read(self) -> Material:
        certificate_path, key_path, trusted_path = self._paths
        chain, key_pem, trusted = (files.read_limited(path, certificates.PEM_LIMIT) for path in self._paths)
        leaf = certificates.parse_certificates(chain, certificate_path)[0]
        key = certificates.parse_private_key(key_pem, key_path)
        if not certificates.key_matches(leaf, key):
            raise UsageError("security.key_mismatch", certificate=certificate_path, key=key_path)
        certificates.parse_certificates(trusted, trusted_path)
        return Material(chain, key_pem, trusted, facts_of(leaf).fingerprint)


class ServerIdentity(Identity):
    """What a server shows, and the CAs whose clients it lets in."""


class ClientIdentity(Identity):
    """What a client shows, and the CAs whose servers it believes."""


def peer_names(auth_context: Mapping[str, Iterable[bytes]]) -> frozenset[str]:
    """The SANs in `grpc.ServicerContext.auth_context()`, empty for a peer without a certificate."""
    names = auth_context.get("x509_subject_alternative_name", ())
    return frozenset(name.decode("utf-8", "replace") for name in names)


def _file_stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size
