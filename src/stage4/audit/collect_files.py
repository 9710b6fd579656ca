"""Looks at modes, owners, directories, symbolic links and version control of the files an audit is about."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
import subprocess
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Final

from stage4 import files
from stage4.audit import store
from stage4.audit.evidence import DirectoryFacts, FileFacts, Files, Problem
from stage4.audit.reading import Place, is_there
from stage4.config import Installation

_TEMPORARY: Final = (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"))
_GIT_SECONDS: Final = 5.0
# The stop of everything and what the gate latched: whoever may write there stops the desk, or starts it.
_STOPS: Final = ("var/runtime/overrides/multi_strategy_disable.json", "var/runtime/gate.json")
# So many at a time, because the system limits the length of a command.
_GIT_PATHS: Final = 500


def collect(
    installation: Installation,
    secret_paths: Iterable[Path],
    public_paths: Iterable[Path],
    environ: Mapping[str, str],
) -> Files:
    """The files at `secret_paths` and `public_paths`, the directories that lead to them, and what git knows of them."""
    root = installation.root
    owner = root.stat().st_uid
    secret = set(secret_paths)
    wanted = [*sorted(secret), *sorted(set(public_paths) - secret)]
    real = {path: _real(path) for path in wanted}
    repositories = _repositories(path for path in (real[path] for path in sorted(secret)) if path is not None)
    return Files(
        owner=owner,
        facts=tuple(_facts(root, owner, path, real[path], secret=path in secret) for path in wanted),
        # Whoever may write where the reports are kept takes away what earlier audits found.
        directories=tuple(
            _directories(root, owner, [*wanted, root / store.ACCEPTANCE / "-"], real, {path.parent for path in secret})
        ),
        tracked=_tracked(root, repositories, environ),
        world_writable_home=_is_temporary(root),
        referred=tuple(
            _facts(root, owner, path, _real(path), secret=False, file=False) for path in referred_paths(installation)
        ),
    )


def secret_paths(installation: Installation, key_files: Iterable[Path]) -> Iterator[Path]:
    """Files of the installation that only its own account may read."""
    settings = installation.settings
    yield from key_files
    named = [settings.execution.live_router.decision_log.hmac_key_path]
    books = [settings.operations.service.rbac_tokens]
    for service in (settings.runtime.metrics_service, settings.runtime.risk_service):
        named += [service.auth_token_file, service.tls.private_key_path]
        books.append(service.rbac_tokens)
    books += [scheduler.rbac_tokens for scheduler in settings.runtime.multi_strategy_schedulers.values()]
    named += [token.token_file for book in books for token in book]
    named += [notifier.url_file for notifier in settings.operations.notifiers]
    named += [place.token_file for place in settings.operations.decision_log.checkpoints.places]
    yield from (installation.path(name) for name in named if name)
    ring = installation.keyring_path
    if is_there(ring):
        # Keys of the log and of its checkpoints, also the ones that no ring lists any more.
        yield from (ring, *ring.parent.glob("*.key"), *ring.parent.glob("checkpoint-*.json*"))
    people = installation.path("secrets/people").glob("*")
    yield from (path for path in people if path.suffix != ".pub" and not path.is_dir())
    environment = installation.path("secrets/stage4.env")
    if is_there(environment):
        yield environment


def public_paths(installation: Installation, config: Path) -> Iterator[Path]:
    """
    Files that everybody may read and nobody else may change: who may do what is written in them, or what was decided.

    `config` is the settings file in use.
    """
    operations = installation.settings.operations
    named = [operations.operators_file, operations.oncall_file, operations.support_playbook, *_STOPS]
    for service in (installation.settings.runtime.metrics_service, installation.settings.runtime.risk_service):
        named += [name for name in (service.tls.certificate_path, service.tls.client_ca_path) if name]
    yield config.absolute()
    yield from (installation.path(name) for name in named)
    yield installation.decision_log_path
    # Everybody on duty runs these.
    yield installation.root / "env.sh"
    yield from (installation.root / "scripts").glob("*.py")


def referred_paths(installation: Installation) -> list[Path]:
    """Every path the settings name that has to be there for the installation to work."""
    settings = installation.settings
    mtls, operations = settings.execution.mtls, settings.operations
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
        operations.oncall_file,
        operations.operators_file,
        operations.support_playbook,
        operations.decision_log.keyring,
    ]
    for service in (settings.runtime.metrics_service, settings.runtime.risk_service):
        if service.enabled:
            named.append(service.auth_token_file)
        if service.enabled and service.tls.enabled:
            named += [service.tls.certificate_path, service.tls.private_key_path, service.tls.client_ca_path]
    paths = {installation.path(name) for name in named if name}
    # The log itself begins with its first entry; the directory it goes to has to be there before.
    return sorted(paths | {installation.decision_log_path.parent})


def _real(path: Path) -> Path | None:
    """Where `path` leads when every symbolic link is followed; None where that cannot be told."""
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        return None


def _is_temporary(path: Path) -> bool:
    return any(path.is_relative_to(directory) for directory in _TEMPORARY)


def _facts(root: Path, owner: int, path: Path, real: Path | None, *, secret: bool, file: bool = True) -> FileFacts:
    shown = Place(root).shown(path)
    try:
        status = path.stat()
        if file and not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
    except OSError as error:
        absent = error.errno == errno.ENOENT
        code = "files.missing" if absent else "files.unreadable"
        # That something else stands in the place of a file is plain.
        undecided = error.errno not in (errno.ENOENT, errno.EINVAL)
        return FileFacts(
            shown, secret, problem=Problem(code, {"path": shown, "reason": files.reason(error)}, undecided)
        )
    within = Path(os.path.normpath(path)).is_relative_to(root)
    return FileFacts(
        path=shown,
        secret=secret,
        mode=stat.S_IMODE(status.st_mode),
        owner=status.st_uid,
        outside=within and (real is None or not real.is_relative_to(root)),
        shared_group=_is_group_shared(status, owner),
        links=status.st_nlink if file else 1,
        temporary=real is not None and _is_temporary(real),
    )


def _directories(
    root: Path, owner: int, paths: Iterable[Path], real: Mapping[Path, Path | None], private: Container[Path]
) -> Iterator[DirectoryFacts]:
    """
    Each directory on the way to the files, the ones above the root included: who may rename one of them owns all.

    The way is the one that is written and, where links lead elsewhere, the one that they lead; in those of `private`
    secret files lie.
    """
    place = Place(root)
    ways = [*paths, *filter(None, real.values())]
    for directory in sorted({parent for path in ways for parent in Path(os.path.normpath(path)).parents}):
        above = not directory.is_relative_to(root)
        try:
            status = directory.stat()
        except OSError as error:
            # An absent directory is reported with the file that is missing in it.
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                params = {"path": place.shown(directory), "reason": files.reason(error)}
                problem = Problem("files.unreadable", params, undecided=True)
                yield DirectoryFacts(place.shown(directory), 0, above, problem=problem)
            continue
        mode = stat.S_IMODE(status.st_mode)
        yield DirectoryFacts(
            path=place.shown(directory),
            mode=mode,
            above=above,
            owner=status.st_uid,
            shared_group=_is_group_shared(status, owner),
            private=directory in private,
        )


def _is_group_shared(status: os.stat_result, owner: int) -> bool:
    """Whether somebody else may write because of his group; who is in it is asked only where it may write."""
    return bool(status.st_mode & stat.S_IWGRP) and _has_other_members(status.st_gid, owner)


@cache
def _has_other_members(group: int, owner: int) -> bool:
    """Whether anybody but root and `owner` belongs to `group`: most accounts have a group of their own."""
    if group == 0:
        return False
    try:
        name = pwd.getpwuid(owner).pw_name
    except KeyError:
        name = None
    try:
        members = set(grp.getgrgid(group).gr_mem) - {name, "root"}
    except KeyError:
        return group != owner
    return bool(members) or any(a.pw_gid == group and a.pw_uid not in (0, owner) for a in pwd.getpwall())


def _repositories(paths: Iterable[Path]) -> dict[Path, list[Path]]:
    """The files by the repository that they lie in: a clone, a work tree or a submodule (where `.git` is a file)."""
    homes: dict[Path, Path | None] = {}

    def home(directory: Path) -> Path | None:
        if directory not in homes:
            above = directory.parent
            homes[directory] = (
                directory if is_there(directory / ".git") else None if above == directory else home(above)
            )
        return homes[directory]

    found: dict[Path, list[Path]] = {}
    for path in paths:
        repository = home(path.parent)
        if repository is not None:
            found.setdefault(repository, []).append(path)
    return found


def _tracked(
    root: Path, repositories: Mapping[Path, Sequence[Path]], environ: Mapping[str, str]
) -> tuple[str, ...] | None:
    """The secret files under version control; None where there are none as far as git says, but it does not say all."""
    answers = [
        _tracked_in(repository, members[start : start + _GIT_PATHS], environ)
        for repository, members in repositories.items()
        for start in range(0, len(members), _GIT_PATHS)
    ]
    found = tuple(Place(root).shown(path) for answer in answers if answer for path in answer)
    return None if not found and None in answers else found


def _tracked_in(repository: Path, members: Sequence[Path], environ: Mapping[str, str]) -> list[Path] | None:
    # The repository may be another account's, and its own settings must not make git run anything or write.
    guards = ("-c", "safe.directory=*", "-c", "core.fsmonitor=false", "--literal-pathspecs")
    names = [str(path.relative_to(repository)) for path in members]
    try:
        answer = subprocess.run(
            ["git", *guards, "-C", str(repository), "ls-files", "-z", "--", *names],
            env={"PATH": environ.get("PATH", os.defpath), "GIT_OPTIONAL_LOCKS": "0"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_GIT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return [repository / os.fsdecode(name) for name in answer.stdout.split(b"\0") if name]
