"""FS: who can read, replace or publish the secret files."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from datetime import datetime

from stage4.audit.evidence import DirectoryFacts, Evidence
from stage4.audit.finding import Control, Opinion, Severity, failed, of_problem, passed, skipped, unknown, warned
from stage4.audit.policy import Policy

_ADMINISTRATOR = 0  # root may change everything anyway


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
            yield failed(file.path, "audit.mode_open", path=file.path, mode=f"{file.mode:04o}")
        elif file.owner != evidence.files.owner:
            yield failed(file.path, "audit.owner_foreign", path=file.path, owner=file.owner)
        else:
            yield passed(file.path, "audit.mode_private", path=file.path, mode=f"{file.mode:04o}")


def closed_directories(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
    """FS-02: nobody else can rename or replace an audited file, and no link leads out of the installation."""
    directories = evidence.files.directories
    owners = (evidence.files.owner, _ADMINISTRATOR, None)
    for directory in (directory for directory in directories if not directory.above):
        params = {"path": directory.path, "owner": directory.owner, "account": evidence.files.owner}
        if directory.owner not in owners:
            yield failed(directory.path, "exposure.directory_of_another", **params)
        elif directory.private and directory.mode & stat.S_IWGRP and not directory.mode & stat.S_IWOTH:
            mode = f"{directory.mode:04o}"
            yield failed(directory.path, "exposure.directory_of_group", path=directory.path, mode=mode)
        else:
            yield _directory(directory.path, directory)
    above = [directory for directory in directories if directory.above]
    # One finding for all of them, because their names differ from machine to machine.
    if above:
        yield _directory("above", next((directory for directory in above if _is_open(directory)), above[0]))
    for file in evidence.files.facts:
        if file.outside:
            yield failed(file.path, "audit.link_outside", path=file.path)
        elif file.secret or file.mode is None:
            continue
        elif file.mode & 0o022:
            yield failed(file.path, "audit.writable", path=file.path, mode=f"{file.mode:04o}")
        elif file.owner not in owners:
            account = evidence.files.owner
            yield failed(file.path, "exposure.owned_by_another", path=file.path, owner=file.owner, account=account)


def _is_open(directory: DirectoryFacts) -> bool:
    """Whether anybody may rename what is in it; in a sticky directory only the owner of an entry may."""
    return bool(directory.mode & stat.S_IWOTH) and not directory.mode & stat.S_ISVTX


def _directory(subject: str, directory: DirectoryFacts) -> Opinion:
    if _is_open(directory):
        return failed(subject, "audit.directory_open", path=directory.path, mode=f"{directory.mode:04o}")
    return passed(subject, "audit.directory_closed", path=directory.path)


def authority_elsewhere(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
    """FS-03: the CA's private key, with which anyone makes certificates, is not kept on this host."""
    authority = evidence.bundle.certificate("ca")
    if authority is None or not authority.certificates:
        return
    for path in evidence.bundle.authority_keys:
        yield warned(path, "audit.ca_key_here", path=path)
    if not evidence.bundle.authority_keys:
        yield passed("ca", "audit.ca_key_elsewhere")


def unpublished(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
    """FS-04: no secret is under version control or lies where every account may write."""
    files = evidence.files
    if not any(file.secret for file in files.facts):
        return
    if files.tracked is None:
        yield unknown("git", "audit.git_unknown")
    elif files.tracked:
        for path in files.tracked:
            yield failed(path, "audit.tracked", path=path)
    else:
        yield passed("git", "audit.untracked")
    if files.world_writable_home and evidence.installation == "production":
        yield failed("root", "audit.temporary_home")


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
    Control("FS-04", unpublished, Severity.CRITICAL, ("CWE-538",)),
    Control("FS-05", paths_exist, Severity.LOW),
)
