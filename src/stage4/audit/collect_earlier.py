"""
Looks back: which keys the certificates of a bundle had before the rotations on record.

Kept reports say it, and so do the files that the product's own rotation put aside. Whoever deletes both gets no
answer, never a good one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Final

from stage4 import files
from stage4.audit.evidence import Bundle, EarlierCertificate, RegistryFacts
from stage4.audit.kept_reports import KeptReports
from stage4.audit.reading import Place
from stage4.errors import Stage4Error
from stage4.security import certificates
from stage4.security.certificate_facts import facts_of
from stage4.security.rotation_journal import CERTIFICATES, backup_file, backup_instant, backups_directory

_LOOK_BACK: Final = 8  # reports, where one of another bundle or without certificates stands in between
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


def collect(kept: KeptReports, bundle: str, found: Bundle, registry: RegistryFacts) -> tuple[EarlierCertificate, ...]:
    """The newest word on each certificate from before its rotation on record, and from before it began."""
    instants: set[datetime] = set()
    for role in CERTIFICATES:
        file, at = found.certificate(role), registry.rows.get((bundle.lower(), f"tls_{role}"))
        if file is not None and file.certificates and at is not None:
            instants |= {at, file.certificates[0].not_before}
    earlier = [word for instant in sorted(instants) for word in _reported(kept, bundle, instant)]
    if instants:
        earlier += _backed_up(kept.root, bundle, max(instants))
    return tuple(dict.fromkeys(earlier))


def _reported(kept: KeptReports, bundle: str, before: datetime) -> Iterator[EarlierCertificate]:
    place = Place(kept.root)
    earlier = (report for report in kept.believed() if report.started_at < before.replace(microsecond=0))
    for report in islice(earlier, _LOOK_BACK):
        listed = report.document.get("certificates")
        if report.bundle == bundle and isinstance(listed, list) and listed:
            for facts in listed:
                digest = _digest(facts)
                if digest is not None:
                    yield EarlierCertificate(str(facts["role"]), place.shown(report.path), report.started_at, digest)
            return


def _digest(facts: object) -> str | None:
    """The key's digest, None for what no audit wrote."""
    if not isinstance(facts, Mapping) or facts.get("role") not in CERTIFICATES:
        return None
    digest = facts.get("spki_sha256")
    return digest if isinstance(digest, str) and _DIGEST.fullmatch(digest) else None


def _backed_up(root: Path, bundle: str, until: datetime) -> Iterator[EarlierCertificate]:
    """The newest backup that was taken by `until`."""
    taken = []
    with suppress(OSError):
        for directory in backups_directory(root).iterdir():
            at = backup_instant(directory.name, bundle)
            if at is not None and at <= until:
                taken.append((at, len(directory.name), directory.name))
    if not taken:
        return
    at, _, name = max(taken)
    for role in CERTIFICATES:
        path = backup_file(root, name, role)
        with suppress(Stage4Error):
            facts = facts_of(certificates.parse_certificates(files.read_limited(path, certificates.PEM_LIMIT), path)[0])
            yield EarlierCertificate(role, Place(root).shown(path), at, facts.spki_sha256, replaced=True)
