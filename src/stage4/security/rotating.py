"""
Renews a bundle of the project's own PKI, so that a crash at any point is finished or taken back by the next run.

    1  the journal says `preparing`
    2  the old files are copied into a backup, mode 0600, below var/security/backups/
    3  a whole new bundle is written beside the old one, as `.<name>.next`, and verified as a peer would
    4  the journal says `installing`: the new bundle is complete on the disk
    5  file by file, the new one is renamed over the old one
    6  the registry has the new rotations, the decision log the entry
    7  the journal goes

A crash before 4 leaves the old bundle as it was, and the next run clears away what was begun. After 4 the next run
goes on where this one stopped; where what is there makes no sound bundle any more, it puts the old one back from the
backup. While there is a journal, an audit fails.

Keys go first, then the CA, then the certificates: a process that reads files as they change (`mtls.Identity`) keeps
what fitted until the certificate fits its key again, and by then everything else is new too.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

from stage4 import files, ids
from stage4.clock import Clock
from stage4.errors import Refused, Stage4Error, Unavailable
from stage4.security import certificates, demo_pki
from stage4.security.certificate_chain import Purpose, verify_chain
from stage4.security.certificate_facts import facts_of, names_host
from stage4.security.rotation import RotationRegistry
from stage4.security.rotation_journal import (
    CERTIFICATES,
    Journal,
    Phase,
    backup_file,
    backups_directory,
    journal_path,
    locked,
    read_journal,
    write_journal,
)

ORDER: Final = ("server_key", "client_key", "ca", "server", "client")
_LEAVES: Final[tuple[Purpose, ...]] = ("server", "client")


class Outcome(StrEnum):
    """How a run ended: a new bundle, an interrupted rotation finished, or the old bundle put back."""

    ROTATED = "rotated"
    FINISHED = "finished"
    ROLLED_BACK = "rolled_back"


@dataclass(frozen=True, slots=True)
class Bundle:
    """What is to be renewed: the five files by role, and the registry that tells of it."""

    root: Path
    name: str
    paths: Mapping[str, Path]
    registry: Path


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will do; `fingerprints` and names are those of the bundle as it is."""

    fingerprints: Mapping[str, str]
    server_names: tuple[x509.GeneralName, ...]
    client_names: tuple[x509.GeneralName, ...]
    client_common_name: str
    unfinished: Journal | None = None


@dataclass(frozen=True, slots=True)
class Renewal:
    """A rotation that came to its end; fingerprints by role, digests SHA-256 in hexadecimal."""

    rotation_id: str
    bundle: str
    at: datetime
    backup: Path
    old: Mapping[str, str]
    new: Mapping[str, str]
    outcome: Outcome


def plan(bundle: Bundle) -> Plan:
    """
    Read the bundle and say what would become of it.

    Raises Refused `rotation.foreign_authority`, `rotation.several_authorities`, `rotation.link`, `rotation.not_owner`,
    `rotation.no_names` or `exposure.backups_outside`, and what reading certificates, registry and journal raises.
    """
    for path in (*bundle.paths.values(), bundle.registry):
        require_own(path)
    _require_within(backups_directory(bundle.root), bundle.root)
    journal = read_journal(bundle.root, bundle.name)
    if journal is not None and journal.phase is not Phase.PREPARING:
        return Plan(journal.old, (), (), "", journal)
    found = {role: certificates.load_certificates(bundle.paths[role]) for role in CERTIFICATES}
    for role, chain in found.items():
        if not demo_pki.is_demo(chain[0]):
            raise Refused("rotation.foreign_authority", bundle=bundle.name, path=bundle.paths[role])
    if len(found["ca"]) != 1:
        raise Refused("rotation.several_authorities", path=bundle.paths["ca"], n=len(found["ca"]))
    _registry(bundle.registry)
    server, client = found["server"][0], found["client"][0]
    if not _hosts(server):
        raise Refused("rotation.no_names", path=bundle.paths["server"])
    common = client.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return Plan(
        {role: facts_of(chain[0]).fingerprint for role, chain in found.items()},
        _names(server),
        _names(client),
        str(common[0].value) if common else "stage4-client",
        journal,
    )


def renew(bundle: Bundle, clock: Clock, record: Callable[[Renewal], None]) -> Renewal:
    """
    Replace the bundle by a new one, or finish or take back a rotation that was interrupted.

    `record` tells the decision log, and may be told of one rotation twice. Raises Conflict `rotation.busy`, what
    `plan` raises, Unavailable `files.cannot_write` when the disk refuses, Refused `rotation.unsound` where a new bundle
    would not work, and Unavailable `rotation.beyond_repair` where neither the new nor the old one can be had.
    """
    # Before the lock, which would be made behind the link too.
    _require_within(backups_directory(bundle.root), bundle.root)
    with locked(bundle.root):
        asked = plan(bundle)
        try:
            if asked.unfinished is not None:
                if asked.unfinished.phase is not Phase.PREPARING:
                    return _resumed(bundle, asked.unfinished, record)
                _clear(bundle, asked.unfinished)
            return _renewed(bundle, asked, clock, record)
        except OSError as error:
            path = error.filename or bundle.paths["ca"].parent
            raise Unavailable("files.cannot_write", path=path, reason=files.reason(error)) from error


def _renewed(bundle: Bundle, asked: Plan, clock: Clock, record: Callable[[Renewal], None]) -> Renewal:
    begins = clock.now().replace(microsecond=0)
    rows = _registry(bundle.registry).rotated_at
    journal = Journal(
        rotation_id=ids.short_id(),
        bundle=bundle.name,
        phase=Phase.PREPARING,
        at=begins,
        backup=_free_backup(bundle, begins),
        old=asked.fingerprints,
        rows={f"tls_{role}": rows.get((bundle.name.lower(), f"tls_{role}")) for role in CERTIFICATES},
    )
    write_journal(bundle.root, journal)
    try:
        new = _made_aside(bundle, asked, journal)
    except (OSError, Stage4Error):
        with suppress(OSError):
            _clear(bundle, journal)
        raise
    journal = replace(journal, phase=Phase.INSTALLING, new=new)
    write_journal(bundle.root, journal)
    return _installed(bundle, journal, record, Outcome.ROTATED)


def _made_aside(bundle: Bundle, asked: Plan, journal: Journal) -> Mapping[str, str]:
    """Steps 2 and 3; the fingerprints of the new bundle, which is complete and sound."""
    _back_up(bundle, journal)
    made = demo_pki.make_bundle(
        bundle.name,
        journal.at,
        server_names=asked.server_names,
        client_names=asked.client_names,
        client_common_name=asked.client_common_name,
    )
    for role in ORDER:
        content, mode = made[role]
        _discard(_next(bundle.paths[role]))
        _write_new(_next(bundle.paths[role]), content, mode)
    _sync(bundle)
    staged = {role: _next(path) for role, path in bundle.paths.items()}
    _require_sound(staged, journal.at)
    return _fingerprints(staged)


def _resumed(bundle: Bundle, journal: Journal, record: Callable[[Renewal], None]) -> Renewal:
    if journal.phase is Phase.INSTALLING:
        if _is_there(bundle, journal):
            return _installed(bundle, journal, record, Outcome.FINISHED)
        journal = replace(journal, phase=Phase.ROLLING_BACK)
        write_journal(bundle.root, journal)
    return _rolled_back(bundle, journal, record)


def _is_there(bundle: Bundle, journal: Journal) -> bool:
    """
    Whether what was installed and what still waits make up the new bundle.

    Judged as of its beginning, because a clock that was set back is no reason to give it up; raises Unavailable
    `files.unreadable` where a file does not answer, because that says nothing about the bundle.
    """
    there = {role: _next(path) if _next(path).exists() else path for role, path in bundle.paths.items()}
    try:
        _require_sound(there, journal.at)
        return _fingerprints(there) == journal.new
    except Stage4Error as error:
        if error.code == "files.unreadable":
            raise
        return False


def _installed(bundle: Bundle, journal: Journal, record: Callable[[Renewal], None], outcome: Outcome) -> Renewal:
    for role in ORDER:
        path = bundle.paths[role]
        if _next(path).exists():
            _next(path).rename(path)
            files.fsync_dir(path.parent)
    registry = _registry(bundle.registry)
    for role in CERTIFICATES:
        registry = registry.record(bundle.name, f"tls_{role}", journal.at)
    registry.write(bundle.registry)
    return _ended(bundle, journal, record, outcome)


def _rolled_back(bundle: Bundle, journal: Journal, record: Callable[[Renewal], None]) -> Renewal:
    backup = {role: backup_file(bundle.root, journal.backup, role) for role in ORDER}
    _require_backup(backup, journal)
    for role in ORDER:
        path, kept = bundle.paths[role], backup[role]
        _discard(_next(path))
        if role in CERTIFICATES or kept.exists():
            content = files.read_limited(kept, certificates.PEM_LIMIT)
            _write_new(_next(path), content, 0o644 if role in CERTIFICATES else 0o600)
            _next(path).rename(path)
            files.fsync_dir(path.parent)
    registry = _registry(bundle.registry)
    rows = dict(registry.rotated_at)
    for purpose, at in journal.rows.items():
        name = (bundle.name.lower(), purpose)
        rows.pop(name, None)
        if at is not None:
            rows[name] = at
    if rows != registry.rotated_at:
        replace(registry, rotated_at=rows).write(bundle.registry)
    return _ended(bundle, journal, record, Outcome.ROLLED_BACK)


def _require_backup(backup: Mapping[str, Path], journal: Journal) -> None:
    """Raise Unavailable `rotation.beyond_repair` where the backup is not the old bundle."""
    with suppress(Stage4Error):
        if _fingerprints(backup) == journal.old:
            return
    raise Unavailable("rotation.beyond_repair", bundle=journal.bundle, backup=journal.backup)


def _ended(bundle: Bundle, journal: Journal, record: Callable[[Renewal], None], outcome: Outcome) -> Renewal:
    renewal = Renewal(
        rotation_id=journal.rotation_id,
        bundle=bundle.name,
        at=journal.at,
        backup=backups_directory(bundle.root) / journal.backup,
        old=journal.old,
        new=journal.new,
        outcome=outcome,
    )
    record(renewal)
    _discard(journal_path(bundle.root, bundle.name))
    return renewal


def _clear(bundle: Bundle, journal: Journal) -> None:
    """Take back what was prepared; the bundle itself was not touched yet."""
    for path in bundle.paths.values():
        _discard(_next(path))
    backup = backups_directory(bundle.root) / journal.backup
    if backup.exists():
        shutil.rmtree(backup)
    _discard(journal_path(bundle.root, bundle.name))


def _back_up(bundle: Bundle, journal: Journal) -> None:
    directory = backups_directory(bundle.root)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    (directory / journal.backup).mkdir(mode=0o700)
    for role in ORDER:
        # A lost private key is a reason to rotate, not a reason to refuse.
        if role in CERTIFICATES or bundle.paths[role].exists():
            content = files.read_limited(bundle.paths[role], certificates.PEM_LIMIT)
            _write_new(backup_file(bundle.root, journal.backup, role), content, 0o600)
    files.fsync_dir(directory / journal.backup)
    files.fsync_dir(directory)


def _free_backup(bundle: Bundle, at: datetime) -> str:
    name = first = f"{at:%Y%m%dT%H%M%SZ}-{bundle.name}"
    number = 1
    while os.path.lexists(backups_directory(bundle.root) / name):
        number += 1
        name = f"{first}-{number}"
    return name


def _require_sound(paths: Mapping[str, Path], now: datetime) -> None:
    """Raise Refused `rotation.unsound` unless each side would accept the other."""
    found = {role: certificates.load_certificates(paths[role]) for role in CERTIFICATES}
    for purpose in _LEAVES:
        leaf, *others = found[purpose]
        if not certificates.key_matches(leaf, certificates.load_private_key(paths[f"{purpose}_key"])):
            raise Refused("rotation.unsound", role=purpose, reason="key_mismatch")
        for host in _hosts(leaf) if purpose == "server" else (None,):
            verdict = verify_chain(leaf, others, found["ca"], purpose=purpose, host=host, now=now)
            if not verdict.ok:
                raise Refused("rotation.unsound", role=purpose, reason=verdict.reason.value)


def _fingerprints(paths: Mapping[str, Path]) -> dict[str, str]:
    return {role: facts_of(certificates.load_certificates(paths[role])[0]).fingerprint for role in CERTIFICATES}


def _names(certificate: x509.Certificate) -> tuple[x509.GeneralName, ...]:
    try:
        return tuple(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return ()


def _hosts(certificate: x509.Certificate) -> list[str]:
    """The names by which clients reach this server."""
    sans = facts_of(certificate).sans
    named = [san.partition(":")[2] for san in sans if san.startswith(("DNS:", "IP:"))]
    concrete = [name.replace("*", "any", 1) for name in named]
    return [name for name in concrete if names_host(sans, name)]


def _registry(path: Path) -> RotationRegistry:
    return RotationRegistry.load(path) if os.path.lexists(path) else RotationRegistry()


def _require_within(directory: Path, root: Path) -> None:
    """Raise Refused `exposure.backups_outside` where a link leads private keys out of the installation."""
    try:
        within = directory.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError):
        within = False
    if not within:
        raise Refused("exposure.backups_outside", path=directory)


def require_own(path: Path) -> None:
    """Raise Refused where replacing `path` would take it away from others, or leave the real file as it is."""
    if path.is_symlink():
        raise Refused("rotation.link", path=path)
    place = path if path.exists() else path.parent
    try:
        owner = place.stat().st_uid
    except OSError as error:
        raise Unavailable("files.missing", path=place, reason=files.reason(error)) from error
    if owner != os.geteuid():
        raise Refused("rotation.not_owner", path=path, owner=owner)


def _next(path: Path) -> Path:
    return path.with_name(f".{path.name}.next")


def _discard(path: Path) -> None:
    if os.path.lexists(path):
        path.unlink()
        files.fsync_dir(path.parent)


def _write_new(path: Path, content: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        os.fchmod(descriptor, mode)
        files.write_all(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync(bundle: Bundle) -> None:
    for directory in {path.parent for path in bundle.paths.values()}:
        files.fsync_dir(directory)
