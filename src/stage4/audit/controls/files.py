"""FS: who can read, replace or publish the secret files."""

from __future__ import annotations

import shlex
import stat
from collections.abc import Iterator
from datetime import datetime

from stage4.audit.evidence import DirectoryFacts, Evidence
from stage4.audit.finding import (
    Control,
    Opinion,
    Outcome,
    Severity,
    failed,
    of_problem,
    passed,
    skipped,
    unknown,
    warned,
)
from stage4.audit.policy import Policy

_ROOT = 0
# What an owner is shown as who has no number in this container; above the installation that is mostly root.
_NOBODY = 65534
_GRAVEST = (Outcome.FAIL, Outcome.UNKNOWN, Outcome.WARN, Outcome.PASS)


def _changed(path: str) -> dict[str, str]:
    """A file that a command of the remedy changes: as people read it, and as the shell does."""
    return {"path": path, "argument": shlex.quote(path)}


def private_files(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
    """FS-01: secret files belong to the installation's account and nobody else reads or writes them."""
    for file in evidence.files.facts:
        if not file.secret:
            continue
        if file.problem is not None:
            yield of_problem(file.path, file.problem)
        elif file.mode is None:
            yield unknown(file.path, "audit.mode_unknown", path=file.path)
        elif file.mode & 0o077:
            yield failed(file.path, "audit.mode_open", **_changed(file.path), mode=f"{file.mode:04o}")
        elif file.owner != evidence.files.owner:
            yield failed(file.path, "audit.owner_foreign", **_changed(file.path), owner=file.owner)
        else:
            yield passed(file.path, "audit.mode_private", path=file.path, mode=f"{file.mode:04o}")


def closed_directories(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
    """FS-02: nobody else can rename or replace an audited file, and no link leads out of the installation."""
    directories = evidence.files.directories
    owner = evidence.files.owner
    yield from (_directory(directory.path, directory, owner) for directory in directories if not directory.above)
    above = [_directory("above", directory, owner) for directory in directories if directory.above]
    # One finding for all of them, because their names differ from machine to machine.
    if above:
        yield min(above, key=lambda opinion: _GRAVEST.index(opinion.outcome))
    for file in evidence.files.facts:
        if file.problem is not None:
            # That a file is missing, and what is wrong with a secret one, others say.
            if not file.secret and file.problem.code != "files.missing":
                yield of_problem(file.path, file.problem)
        elif file.outside:
            yield failed(file.path, "audit.link_outside", path=file.path)
        elif not file.secret and file.mode is not None and (file.mode & stat.S_IWOTH or file.shared_group):
            yield failed(file.path, "audit.writable", **_changed(file.path), mode=f"{file.mode:04o}")
        elif not file.secret and file.owner not in {None, _ROOT, owner}:
            yield failed(file.path, "exposure.owned_by_another", path=file.path, owner=file.owner, account=owner)
        elif file.secret and file.links > 1:
            yield warned(file.path, "audit.hard_links", path=file.path, count=file.links)


def _is_open(directory: DirectoryFacts) -> bool:
    """
    Whether anybody may rename what is in it.

    In a sticky directory above the installation only the owner of an entry may; within the installation nobody else
    has to leave anything either.
    """
    return bool(directory.mode & stat.S_IWOTH) and not (directory.above and directory.mode & stat.S_ISVTX)


def _directory(subject: str, directory: DirectoryFacts, owner: int) -> Opinion:
    params = {**_changed(directory.path), "mode": f"{directory.mode:04o}"}
    trusted = {None, _ROOT, owner, *({_NOBODY} if directory.above else ())}
    if directory.problem is not None:
        return of_problem(subject, directory.problem)
    if _is_open(directory):
        return failed(subject, "audit.directory_open", **params)
    if directory.owner not in trusted:
        owner_of = "root" if directory.above else "--reference=."
        command = f"chown {owner_of} {shlex.quote(directory.path)}"
        return failed(subject, "audit.directory_foreign", path=directory.path, owner=directory.owner, command=command)
    if directory.shared_group and not directory.mode & stat.S_ISVTX:
        # Who may replace a key or a token is all that its reader may be.
        verdict = failed if directory.private else warned
        return verdict(subject, "audit.directory_group", **params)
    return passed(subject, "audit.directory_closed", path=directory.path)


def authority_elsewhere(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
    """FS-03: the CA's private key, with which anyone makes certificates, is not kept on this host."""
    authority = evidence.bundle.certificate("ca")
    if authority is None or not authority.certificates:
        return
    for path in evidence.bundle.authority_keys:
        yield warned(path, "audit.ca_key_here", path=path)
    for path in evidence.bundle.unlooked:
        yield unknown(path, "exposure.authority_unlooked", path=path)
    if not evidence.bundle.authority_keys and not evidence.bundle.unlooked:
        yield passed("ca", "audit.ca_key_elsewhere")


def unpublished(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
    """FS-04: no secret is under version control or lies where every account may write."""
    files = evidence.files
    for path in files.tracked or ():
        yield failed(path, "audit.tracked", **_changed(path))
    if not any(file.secret and file.problem is None for file in files.facts):
        return
    if files.tracked is None:
        yield unknown("git", "audit.git_unknown")
    elif not files.tracked:
        yield passed("git", "audit.untracked")
    if files.world_writable_home and evidence.installation == "production":
        yield failed("root", "audit.temporary_home")
    for file in files.facts:
        if file.secret and file.temporary and not files.world_writable_home:
            yield failed(file.path, "audit.temporary_secret", path=file.path)


def paths_exist(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
    """FS-05: every path that the settings name is there (asked for by `--check-paths`)."""
    if not policy.check_paths:
        yield skipped("paths", "audit.paths_not_asked")
        return
    for file in evidence.files.referred:
        if file.problem is not None:
            yield of_problem(file.path, file.problem)
        else:
            yield passed(file.path, "audit.path_exists", path=file.path)


CONTROLS = (
    Control("FS-01", private_files, Severity.HIGH, ("NIST SP 800-53 AC-6",)),
    Control("FS-02", closed_directories, Severity.HIGH, ("CWE-732",)),
    Control("FS-03", authority_elsewhere, Severity.HIGH, ("NIST SP 800-57",)),
    Control("FS-04", unpublished, Severity.CRITICAL, ("CWE-538",), waivable=False),
    Control("FS-05", paths_exist, Severity.LOW),
)
