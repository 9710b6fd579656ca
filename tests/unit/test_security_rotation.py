"""Rotations: when they fall due, and a registry that hides nothing it cannot read."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from stage4.errors import Unavailable, UsageError
from stage4.security.rotation import RotationRegistry, RotationState, judge

NOW = datetime(2026, 11, 23, 9, 42, 1, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("age", "state"),
    [
        (timedelta(0), RotationState.FRESH),
        (76 * DAY - timedelta(seconds=1), RotationState.FRESH),
        (76 * DAY, RotationState.DUE),
        (90 * DAY, RotationState.DUE),
        (90 * DAY + timedelta(seconds=1), RotationState.OVERDUE),
        (timedelta(seconds=-1), RotationState.FUTURE),
    ],
)
def test_a_rotation_is_due_before_its_interval_ends_and_overdue_only_after(
    age: timedelta, state: RotationState
) -> None:
    rotation = judge(NOW - age, interval_days=90, warn_days=14, now=NOW)
    assert rotation.state is state
    assert rotation.due_at == NOW - age + 90 * DAY
    assert rotation.left == 90 * DAY - age


def test_what_was_never_rotated_is_missing() -> None:
    assert judge(None, 90, 14, NOW).state is RotationState.MISSING


def test_the_registry_is_the_fields_flat_object(tmp_path: Path) -> None:
    path = tmp_path / "tls_rotation.json"
    RotationRegistry().record("Core-OEM", "TLS_CA", NOW).record("core-oem", "tls_server", NOW).write(path)
    assert json.loads(path.read_text()) == {
        "core-oem::tls_ca": "2026-11-23T09:42:01Z",
        "core-oem::tls_server": "2026-11-23T09:42:01Z",
    }
    registry = RotationRegistry.load(path)
    assert registry.get("CORE-oem", "tls_ca") == NOW
    assert registry.get("core-oem", "tls_client") is None


def test_a_later_record_replaces_the_earlier_one() -> None:
    registry = RotationRegistry().record("core-oem", "tls_ca", NOW)
    later = registry.record("core-oem", "tls_ca", NOW + DAY)
    assert later.get("core-oem", "tls_ca") == NOW + DAY
    assert registry.get("core-oem", "tls_ca") == NOW


def test_rows_that_cannot_be_read_are_named_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "registry.json"
    rows = {
        "core-oem::tls_ca": "2026-11-23T10:42:01+01:00",
        "CORE-oem::tls_ca": "2020-01-01T00:00:00Z",
        "no-separator": "2026-11-23T09:42:01Z",
        "a::b::c": "2026-11-23T09:42:01Z",
        "::purpose": "2026-11-23T09:42:01Z",
        "naive::time": "2026-11-23T09:42:01",
        "number::time": 17,
    }
    path.write_text(json.dumps(rows))
    registry = RotationRegistry.load(path)
    assert registry.get("core-oem", "tls_ca") == NOW
    assert {(problem.row, problem.reason) for problem in registry.problems} == {
        ("CORE-oem::tls_ca", "security.registry_row_twice"),
        ("no-separator", "security.registry_row_name"),
        ("a::b::c", "security.registry_row_name"),
        ("::purpose", "security.registry_row_name"),
        ("naive::time", "security.registry_row_instant"),
        ("number::time", "security.registry_row_instant"),
    }
    registry.record("core-oem", "tls_client", NOW).write(path)
    assert json.loads(path.read_text())["number::time"] == 17
    assert len(RotationRegistry.load(path).problems) == 6


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("[]", "security.registry_not_an_object"),
        ("{", "files.bad_json"),
        ("null", "security.registry_not_an_object"),
        ('\ufeff{"a::b": "2026-11-23T09:42:01Z"}', "files.bad_json"),
        ('{"a::b": "2026-11-23T09:42:01Z", "a::b": "2027-11-23T09:42:01Z"}', "files.bad_json"),
    ],
)
def test_a_file_that_is_no_registry_is_refused(tmp_path: Path, content: str, code: str) -> None:
    path = tmp_path / "registry.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        RotationRegistry.load(path)
    assert caught.value.code == code


def test_an_absent_registry_cannot_be_told(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"files\.missing"):
        RotationRegistry.load(tmp_path / "absent.json")


@pytest.mark.parametrize(
    ("key", "purpose"), [("a::b", "c"), ("a", "b::c"), ("", "c"), ("a", ""), ("a\x1b", "b"), ("a", "x" * 129)]
)
def test_a_name_that_could_not_be_read_back_is_refused(key: str, purpose: str) -> None:
    with pytest.raises(UsageError, match=r"security\.registry_bad_name"):
        RotationRegistry().record(key, purpose, NOW)


def test_a_huge_registry_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "registry.json"
    path.write_text("{" + " " * (1 << 20) + "}")
    with pytest.raises(Unavailable, match=r"files\.too_large"):
        RotationRegistry.load(path)


def test_a_rotation_replaces_the_rows_of_its_key_that_could_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "registry.json"
    path.write_text(json.dumps({"a::b": 17, "A::b": "2020-01-01T00:00:00Z", "A::B": "2021-01-01T00:00:00Z", "c::d": 1}))
    RotationRegistry.load(path).record("a", "b", NOW).write(path)
    assert json.loads(path.read_text()) == {"a::b": "2026-11-23T09:42:01Z", "c::d": 1}
    assert [problem.row for problem in RotationRegistry.load(path).problems] == ["c::d"]


def test_a_registry_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "registry.json"
    path.write_text("{}")
    path.chmod(0o600)
    RotationRegistry.load(path).record("a", "b", NOW).write(path)
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("last", "interval", "state"),
    [
        (datetime(9999, 12, 31, tzinfo=UTC), 90.0, RotationState.FUTURE),
        (NOW - DAY, 1e300, RotationState.FRESH),
        (NOW - DAY, float("inf"), RotationState.FRESH),
        (datetime(1, 1, 1, tzinfo=UTC), 90.0, RotationState.OVERDUE),
    ],
)
def test_an_instant_or_an_interval_beyond_the_calendar_is_judged_too(
    last: datetime, interval: float, state: RotationState
) -> None:
    assert judge(last, interval, 14, NOW).state is state


def test_a_window_that_is_not_shorter_than_the_interval_makes_it_due_from_the_first_day() -> None:
    assert judge(NOW, 14, 14, NOW).state is RotationState.DUE
    assert judge(NOW, 7, 1e300, NOW).state is RotationState.DUE
    assert judge(NOW - 8 * DAY, 7, 14, NOW).state is RotationState.OVERDUE
