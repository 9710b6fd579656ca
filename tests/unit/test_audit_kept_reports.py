"""Which kept reports are believed, and which of them is the earlier one."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from stage4.audit import store
from stage4.audit.kept_reports import KeptReports
from stage4.audit.report_signature import SIGNATURE, signature
from stage4.clock import format_instant
from stage4.security.keyring import KeyRing, create_keyring
from support.audits import NOW


@pytest.fixture
def ring(tmp_path: Path) -> KeyRing:
    return create_keyring(tmp_path / "secrets/keyring.json", NOW)


def keep(ring: KeyRing, minutes: int, *, desk: str = "desk-1", signed: bool = True, **members: object) -> Path:
    """A report of an audit that began `minutes` from NOW."""
    at = NOW + timedelta(minutes=minutes)
    document: dict[str, object] = {"results": [], "started_at": format_instant(at), **members}
    if signed:
        document |= {SIGNATURE: signature(document, ring, desk)}
    directory = store.open_run(ring.path.parent.parent, at)
    command = store.Command(["audit"], 0, at, at, ())
    store.save(directory, store.COMPLIANCE, json.dumps(document).encode(), command)
    return directory / store.COMPLIANCE


def kept(ring: KeyRing) -> KeptReports:
    return KeptReports(ring.path.parent.parent, ring, "desk-1", NOW + timedelta(hours=1))


def newest(reports: KeptReports, **asked: object) -> Path | None:
    found = reports.newest(**asked)  # type: ignore[arg-type]
    return found.path if found else None


def test_the_newest_report_counts_also_among_those_of_one_second(ring: KeyRing) -> None:
    paths = [keep(ring, 0) for _ in range(11)]

    assert newest(kept(ring)) == paths[-1]
    assert [report.path for report in kept(ring).believed()] == paths[::-1]


def test_a_report_of_an_audit_that_failed_to_run_is_passed_over(ring: KeyRing) -> None:
    first = keep(ring, 0)
    keep(ring, 1, signed=False, results=None, error={})

    reports = kept(ring)

    assert newest(reports) == first
    assert reports.doubted() == ()


def test_only_reports_from_before_an_instant_of_a_sort_and_of_a_bundle_are_asked_for(ring: KeyRing) -> None:
    first = keep(ring, 0, policy={"bundle": "core-oem"})
    second = keep(ring, 5, policy={"bundle": "other"}, what_if=True)
    reports = kept(ring)

    assert newest(reports) == second
    assert newest(reports, before=NOW + timedelta(minutes=5)) == first
    assert newest(reports, before=NOW) is None
    assert newest(reports, what_if=False) == newest(reports, bundle="core-oem") == first
    assert newest(reports, what_if=True) == newest(reports, bundle="other") == second


def test_what_is_not_signed_by_this_installation_is_not_believed_but_named(ring: KeyRing) -> None:
    good = keep(ring, 0)
    odd = [keep(ring, 1, signed=False), keep(ring, 2, desk="desk-2"), keep(ring, 3)]
    odd[2].write_text(json.dumps(json.loads(odd[2].read_bytes()) | {"status": "ok"}), encoding="utf-8")
    broken = keep(ring, 4)
    broken.write_bytes(b"{")

    reports = kept(ring)

    assert newest(reports) == good
    shown = tuple(str(path.relative_to(reports.root)) for path in (broken, *odd[::-1]))
    assert reports.doubted() == shown


def test_a_report_of_the_future_is_not_believed_however_well_it_is_signed(ring: KeyRing) -> None:
    good, future = keep(ring, 0), keep(ring, 61)

    reports = kept(ring)

    assert newest(reports) == good
    assert reports.doubted() == (str(future.relative_to(reports.root)),)


def test_a_copy_under_another_date_is_not_believed(ring: KeyRing) -> None:
    old, newer = keep(ring, 0), keep(ring, 10)
    copy = keep(ring, 20)
    copy.write_bytes(old.read_bytes())

    reports = kept(ring)

    assert newest(reports) == newer
    assert len(reports.doubted()) == 1


def test_a_replay_is_no_report_of_the_installation(ring: KeyRing) -> None:
    first = keep(ring, 0)
    keep(ring, 1, replayed=True)

    reports = kept(ring)

    assert (newest(reports), reports.doubted()) == (first, ())


def test_without_a_ring_nothing_is_believed_and_nobody_is_accused(ring: KeyRing) -> None:
    keep(ring, 0)

    reports = KeptReports(ring.path.parent.parent, None, "desk-1", NOW + timedelta(hours=1))

    assert (newest(reports), reports.any, reports.doubted()) == (None, True, ())


def test_where_the_ring_cannot_sign_nobody_is_accused_of_not_having_signed(ring: KeyRing) -> None:
    keep(ring, 0)
    keep(ring, 1, signed=False)
    next(ring.path.parent.glob("*.key")).unlink()

    reports = kept(ring.reloaded())

    assert (newest(reports), reports.can_tell, reports.doubted()) == (None, False, ())
