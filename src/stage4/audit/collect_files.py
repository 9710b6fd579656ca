"""Looks at modes, owners, directories, symbolic links and version control of the files an audit is about."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from stage4 import files
from stage4.audit.evidence import DirectoryFacts, FileFacts, Files, Problem
from stage4.audit.reading import Place
from stage4.config import Installation

_TEMPORARY: Final = (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"))
_GIT_SECONDS: Final = 5.0


def collect(
    installation: Installation,
    secret_paths: Iterable[Path],
    public_paths: Iterable[Path],
    environ: Mapping[str, str],
) -> Files:
    """The files at `secret_paths` and `public_paths`, the directories that lead to them, and what git knows of them."""
    root = installation.root
    secret = sorted(set(secret_paths))
    public = sorted(set(public_paths) - set(secret))
    facts = tuple(_facts(root, path, secret=path in secret) for path in (*secret, *public))
    in_repository = any((parent / ".git").exists() for parent in (root, *root.parents))
    return Files(
        owner=root.stat().st_uid,
        facts=facts,
        directories=tuple(_directories(root, secret, public)),
        in_repository=in_repository,
        tracked=_tracked(root, secret, environ) if in_repository else (),
        world_writable_home=any(root.is_relative_to(directory) for directory in _TEMPORARY),
        referred=tuple(_facts(root, path, secret=False) for path in referred_paths(installation)),
    )


def secret_paths(installation: Installation, key_files: Iterable[Path]) -> Iterator[Path]:
    """Files of the installation that only its own account may read."""
    settings = installation.settings
    yield from key_files
    metrics = settings.runtime.metrics_service
    named = [metrics.auth_token_file, settings.execution.live_router.decision_log.hmac_key_path]
    books = [metrics.rbac_tokens, settings.operations.service.rbac_tokens]
    books += [scheduler.rbac_tokens for scheduler in settings.runtime.multi_strategy_schedulers.values()]
    named += [token.token_file for book in books for token in book]
    named += [notifier.url_file for notifier in settings.operations.notifiers]
    named += [place.token_file for place in settings.operations.decision_log.checkpoints.places]
    yield from (installation.path(name) for name in named if name)
    ring = installation.path(settings.operations.decision_log.keyring)
    if ring.exists():
        # The ring, and the keys beside it that sign entries and checkpoints.
        yield from (ring, *ring.parent.glob("*.key"), *ring.parent.glob("checkpoint-*.json"))
    people = installation.path("secrets/people")
    yield from (path for path in people.glob("*") if path.suffix != ".pub" and not path.is_dir())
    environment = installation.path("secrets/stage4.env")
    if environment.exists():
        yield environment


def ruling_paths(installation: Installation, config: Path) -> Iterator[Path]:
    """Files that are no secret but decide what is trusted, allowed and recorded: nobody else may change them."""
    operations, tls = installation.settings.operations, installation.settings.runtime.metrics_service.tls
    yield from (config, installation.decision_log_path)
    named = [operations.operators_file, operations.oncall_file, operations.support_playbook]
    named += [name for name in (tls.certificate_path, tls.client_ca_path) if name]
    yield from map(installation.path, named)


def referred_paths(installation: Installation) -> list[Path]:
    """Every path the settings name that has to be there for the installation to work."""
    settings = installation.settings
    tls, mtls = settings.runtime.metrics_service.tls, settings.execution.mtls
    operations = settings.operations
    metrics = settings.runtime.metrics_service
    named: list[str | None] = [
        mtls.bundle_directory,
        mtls.ca_certificate,
        mtls.server_certificate,
        mtls.server_key,
        mtls.client_certificate,
        mtls.client_key,
        *mtls.crls,
        mtls.rotation_registry,
        settings.observability.key_rotation.registry_path,
        settings.execution.live_router.decision_log.hmac_key_path,
        metrics.auth_token_file,
        operations.oncall_file,
        operations.operators_file,
        operations.support_playbook,
        operations.decision_log.keyring,
    ]
    if metrics.enabled and tls.enabled:
        named += [tls.certificate_path, tls.private_key_path, tls.client_ca_path]
    paths = {installation.path(name) for name in named if name}
    # The log itself begins with its first entry; the directory it goes to has to be there before.
    return sorted(paths | {installation.decision_log_path.parent})


def _facts(root: Path, path: Path, *, secret: bool) -> FileFacts:
    shown = Place(root).shown(path)
    try:
        status = path.stat()
        outside = path.is_relative_to(root) and not path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError) as error:
        absent = isinstance(error, OSError) and error.errno == errno.ENOENT
        why = files.reason(error) if isinstance(error, OSError) else str(error)
        code = "files.missing" if absent else "files.unreadable"
        return FileFacts(shown, secret, problem=Problem(code, {"path": shown, "reason": why}, undecided=not absent))
    return FileFacts(shown, secret, stat.S_IMODE(status.st_mode), status.st_uid, outside)


def _directories(root: Path, secret: Iterable[Path], public: Iterable[Path]) -> Iterator[DirectoryFacts]:
    """Each directory on the way to the files, the ones above the root included: who may rename one of them owns all."""
    place = Place(root)
    homes = {path.parent for path in secret}
    for directory in sorted({parent for path in (*secret, *public) for parent in path.parents}):
        try:
            status = directory.stat()
        except OSError:
            # An absent directory is reported with the file that is missing in it.
            continue
        yield DirectoryFacts(
            place.shown(directory),
            stat.S_IMODE(status.st_mode),
            above=not directory.is_relative_to(root),
            owner=status.st_uid,
            private=directory in homes,
        )


def _tracked(root: Path, secret: list[Path], environ: Mapping[str, str]) -> tuple[str, ...] | None:
    """The secret files under version control; None where git does not say."""
    inside = [str(path.relative_to(root)) for path in secret if path.is_relative_to(root)]
    if not inside:
        return ()
    # The repository may be another account's, and its own settings must not make git run anything or write.
    guards = ("-c", "safe.directory=*", "-c", "core.fsmonitor=false")
    try:
        answer = subprocess.run(
            ["git", *guards, "-C", str(root), "ls-files", "-z", "--", *inside],
            env={"PATH": environ.get("PATH", os.defpath), "GIT_OPTIONAL_LOCKS": "0"},
            capture_output=True,
            timeout=_GIT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return tuple(name for name in answer.stdout.decode("utf-8", "replace").split("\0") if name)
