"""Evidence kept by digest: `var/evidence/sha256/<first two>/<digest>`, read-only, durable, written once."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from stage4 import files
from stage4.errors import Unavailable

EVIDENCE = Path("var/evidence/sha256")


@dataclass(frozen=True, slots=True)
class Artefact:
    """One kept thing of an incident. `role` says what it is to the closing (`report`, `output`, `command_log`, ...)."""

    incident_id: str
    step: str
    role: str
    name: str
    sha256: str
    size: int
    media: str
    at: datetime


class EvidenceStore:
    """Keeps bytes by their SHA-256. The same bytes are kept once; nothing is ever replaced."""

    def __init__(self, root: Path) -> None:
        self.directory = root / EVIDENCE

    def path(self, sha256: str) -> Path:
        return self.directory / sha256[:2] / sha256

    def keep(self, body: bytes) -> str:
        """The digest of `body`, which is on the disk when this returns; raises Unavailable."""
        sha256 = hashlib.sha256(body).hexdigest()
        try:
            files.exclusive_write(self.path(sha256), body, 0o400)
        except OSError as e:
            raise Unavailable("files.cannot_write", path=self.path(sha256), reason=files.reason(e)) from e
        return sha256

    def read(self, sha256: str, limit: int = 64 << 20) -> bytes:
        """The kept bytes; raises Unavailable when they are missing or no longer have this digest."""
        body = files.read_limited(self.path(sha256), limit)
        if hashlib.sha256(body).hexdigest() != sha256:
            raise Unavailable("incident.evidence_changed", sha256=sha256)
        return body

    def intact(self, sha256: str) -> bool:
        """Whether the bytes are there and still have this digest."""
        try:
            return files.sha256_file(self.path(sha256)) == sha256
        except Unavailable:
            return False
