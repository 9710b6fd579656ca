"""A rotation of the bundle cut off at every single call to the operating system: never unnoticed, always ended."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from stage4.app import rotating
from stage4.audit.auditing import COMPLIANCE, audited
from stage4.audit.policy import Policy
from stage4.clock import format_instant
from stage4.config import load
from stage4.decisionlog.entry import ROTATION, Entry
from stage4.decisionlog.reading import entries
from stage4.errors import Stage4Error
from stage4.security import certificates
from stage4.security.certificate_facts import facts_of
from stage4.security.rotating import Outcome, Renewal
from stage4.security.rotation import RotationRegistry
from stage4.security.rotation_journal import Phase, journal_path, read_journal
from stage4.testing.clock import ManualClock
from support.audits import NOW, demo_installation

CALLS = (
    *("open", "write", "pwrite", "fsync", "fdatasync", "rename", "link", "unlink", "rmdir", "mkdir"),
    *("ftruncate", "fchmod"),
)
BUNDLE = "core-oem"
ROLES = ("ca", "server", "client")
LATER = NOW + timedelta(days=1)


class Killed(BaseException):
    """The process is gone; nothing catches it, and no call works any more."""


class Room:
    """One demonstration installation with its own clock."""

    def __init__(self, root: Path, environ: Mapping[str, str]) -> None:
        self.root = root
        self.environ = environ
        self.clock = ManualClock(LATER)

    def rotate(self) -> Renewal:
        return rotating.renew(load(self.root), BUNDLE, self.clock, self.environ)[0]

    def file(self, role: str) -> Path:
        return self.root / f"secrets/mtls/{BUNDLE}-{role}.pem"

    def fingerprints(self) -> dict[str, str]:
        return {role: facts_of(certificates.load_certificates(self.file(role))[0]).fingerprint for role in ROLES}

    def entries(self) -> list[Entry]:
        log = load(self.root).decision_log_path
        return [entry for entry in entries(log) if entry.kind == ROTATION] if log.exists() else []

    def issues(self) -> list[tuple[str, str]]:
        installation = load(self.root)
        document = audited(
            COMPLIANCE,
            installation,
            Policy.of(installation.settings),
            config=None,
            environ=self.environ,
            clock=self.clock,
        ).document
        results: Any = document["results"]
        return [(r["control"], r["code"]) for r in results if r["outcome"] not in ("pass", "skipped", "warn")]

    def require_sound(self, outcome: Outcome) -> None:
        """Bundle, registry and log tell of one rotation, and nothing lies about."""
        told = self.entries()
        assert [entry.status for entry in told] == ["rotated"], outcome
        assert told[0].metadata["new_fingerprints"] == self.fingerprints()
        registry = RotationRegistry.load(self.root / "var/security/tls_rotation.json")
        for role in ROLES:
            at = registry.get(BUNDLE, f"tls_{role}")
            assert at is not None
            assert format_instant(at) == told[0].metadata["rotated_at"]
            assert certificates.load_certificates(self.file(role))[0].not_valid_before_utc == at
        assert not journal_path(self.root, BUNDLE).exists()
        assert sorted(path.name for path in (self.root / "secrets/mtls").iterdir()) == [
            f"{BUNDLE}-{name}.pem" for name in ("ca", "client-key", "client", "server-key", "server")
        ]
        (backup,) = (self.root / "var/security/backups").iterdir()
        assert len(list(backup.iterdir())) == 5
        assert {path.stat().st_mode & 0o777 for path in backup.iterdir()} == {0o600}


class DiskFull(OSError):
    """Every call from now on fails, and the process lives on."""


def cut_off(
    change: Callable[[], object], after: int, monkeypatch: pytest.MonkeyPatch, how: type[BaseException] = Killed
) -> bool:
    """Run `change` until `after` calls were made; whether it was cut off."""
    made = 0

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            nonlocal made
            made += 1
            if made > after:
                raise how(errno.ENOSPC, os.strerror(errno.ENOSPC)) if how is DiskFull else how
            return call(*args, **kwargs)

        return run

    with monkeypatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, counted(getattr(os, name)))
        try:
            change()
        except (Killed, Stage4Error):
            return True
        return False


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Room:
    root = tmp_path_factory.mktemp("rotation") / "demo"
    return Room(root, demo_installation(root))


@pytest.fixture
def fresh(made: Room, tmp_path: Path) -> Callable[[], Room]:
    numbers = count()

    def copy() -> Room:
        root = tmp_path / str(next(numbers)) / "demo"
        shutil.copytree(made.root, root)
        return Room(root, made.environ)

    return copy


def cuts(fresh: Callable[[], Room], monkeypatch: pytest.MonkeyPatch, step: int = 1) -> Iterator[Room]:
    """A room for every point, or every `step`th, at which a rotation can be cut off."""
    for after in count(step=step):
        room = fresh()
        if not cut_off(room.rotate, after, monkeypatch):
            assert after > 120
            return
        yield room
        shutil.rmtree(room.root)


def test_a_rotation_cut_off_anywhere_is_ended_by_the_next(
    made: Room, fresh: Callable[[], Room], monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes = set()
    for number, room in enumerate(cuts(fresh, monkeypatch)):
        journal = read_journal(room.root, BUNDLE)
        if journal is None or journal.phase is Phase.PREPARING:
            assert room.fingerprints() in (made.fingerprints(), _told(room))
        done = room.rotate()
        outcomes.add(done.outcome)
        if journal is None and len(room.entries()) == 2:
            # Cut off when all was done: this was another rotation.
            continue
        room.require_sound(done.outcome)
        if number % 11 == 0:
            assert room.issues() == []
    assert outcomes == {Outcome.ROTATED, Outcome.FINISHED}


def _told(room: Room) -> object:
    told = room.entries()
    return told[-1].metadata["new_fingerprints"] if told else None


def test_a_disk_that_fails_from_any_call_on_is_said_and_the_next_call_ends_it(
    fresh: Callable[[], Room], monkeypatch: pytest.MonkeyPatch
) -> None:
    for after in count(step=5):
        room = fresh()
        if not cut_off(room.rotate, after, monkeypatch, DiskFull):
            break
        done = room.rotate()
        if len(room.entries()) == 1:
            room.require_sound(done.outcome)
        assert room.issues() == []
        shutil.rmtree(room.root)


def test_an_audit_never_passes_over_a_rotation_that_was_cut_off(
    made: Room, fresh: Callable[[], Room], monkeypatch: pytest.MonkeyPatch
) -> None:
    for room in cuts(fresh, monkeypatch, step=9):
        journal = journal_path(room.root, BUNDLE).exists()
        assert (("ROT-04", "rotation.unfinished") in room.issues()) is journal
        if not journal:
            assert room.issues() == []


def test_a_second_crash_while_the_first_is_being_ended_changes_nothing(
    fresh: Callable[[], Room], monkeypatch: pytest.MonkeyPatch
) -> None:
    for room in cuts(fresh, monkeypatch, step=23):
        if room.entries() and not journal_path(room.root, BUNDLE).exists():
            # Cut off when all was done: nothing is left to be ended.
            continue
        for after in (3, 11, 19, 40):
            if not cut_off(room.rotate, after, monkeypatch):
                break
        while journal_path(room.root, BUNDLE).exists() or not room.entries():
            done = room.rotate()
            room.require_sound(done.outcome)


@pytest.mark.parametrize("lost", ["server-key", "ca", "client"])
def test_where_the_new_bundle_was_lost_the_old_one_comes_back_whatever_cuts_that_off(
    lost: str, made: Room, fresh: Callable[[], Room], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in (made.root / "secrets/mtls").iterdir()}
    registry = (made.root / "var/security/tls_rotation.json").read_bytes()
    rolled_back = 0
    for room in cuts(fresh, monkeypatch, step=4):
        journal = read_journal(room.root, BUNDLE)
        waiting = room.file(lost).with_name(f".{room.file(lost).name}.next")
        if journal is None or journal.phase is not Phase.INSTALLING or not waiting.exists():
            continue
        waiting.unlink()
        for after in (2, 9, 21, 33):
            cut_off(room.rotate, after, monkeypatch)
            if not journal_path(room.root, BUNDLE).exists():
                break
        else:
            assert room.rotate().outcome is Outcome.ROLLED_BACK
        rolled_back += 1
        assert {path.name: path.read_bytes() for path in (room.root / "secrets/mtls").iterdir()} == before
        assert (room.root / "var/security/tls_rotation.json").read_bytes() == registry
        assert [entry.status for entry in room.entries()] == ["rolled_back"]
        assert room.issues() == []
        done = room.rotate()
        assert (done.outcome, room.entries()[-1].status) == (Outcome.ROTATED, "rotated")
    assert rolled_back > 0
