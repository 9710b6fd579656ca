"""Whose word counts: the flag, the entry in the settings, the section's default, the product's 90 and 14 days."""

from __future__ import annotations

import pytest

from stage4.audit.policy import Policy
from stage4.config.settings import KeyRotation, Observability, RotationEntry, Settings

ENTRY = RotationEntry(key="live-router", purpose="decision-log")


def policy(
    *entries: RotationEntry,
    defaults: tuple[float, float] | None = None,
    flags: tuple[float | None, float | None] = (None, None),
) -> Policy:
    rotation = KeyRotation(entries=entries)
    if defaults is not None:
        rotation = KeyRotation(entries=entries, default_interval_days=defaults[0], default_warn_within_days=defaults[1])
    settings = Settings(observability=Observability(key_rotation=rotation))
    return Policy.of(settings, interval_days=flags[0], warn_days=flags[1])


def days(asked: Policy, key: str, purpose: str) -> tuple[float, float]:
    (row,) = [row for row in asked.rotations if (row.key, row.purpose) == (key, purpose)]
    return row.interval_days, row.warn_days


@pytest.mark.parametrize(
    ("own", "defaults", "flags", "expected"),
    [
        ((None, None), None, (None, None), (90.0, 14.0)),
        ((None, None), (60.0, 7.0), (None, None), (60.0, 7.0)),
        ((30.0, None), (60.0, 7.0), (None, None), (30.0, 7.0)),
        ((None, 3.0), (60.0, 7.0), (None, None), (60.0, 3.0)),
        ((30.0, 3.0), (60.0, 7.0), (None, None), (30.0, 3.0)),
        ((30.0, 3.0), (60.0, 7.0), (20.0, None), (20.0, 3.0)),
        ((30.0, 3.0), (60.0, 7.0), (None, 2.0), (30.0, 2.0)),
        ((30.0, 3.0), (60.0, 7.0), (20.0, 2.0), (20.0, 2.0)),
        ((30.0, 3.0), (60.0, 7.0), (None, 0.0), (30.0, 0.0)),
        ((None, None), None, (120.0, 21.0), (120.0, 21.0)),
    ],
)
def test_a_flag_goes_before_an_entry_and_an_entry_before_the_defaults(
    own: tuple[float | None, float | None],
    defaults: tuple[float, float] | None,
    flags: tuple[float | None, float | None],
    expected: tuple[float, float],
) -> None:
    entry = RotationEntry(key="live-router", purpose="decision-log", interval_days=own[0], warn_within_days=own[1])
    assert days(policy(entry, defaults=defaults, flags=flags), "live-router", "decision-log") == expected


@pytest.mark.parametrize(
    ("defaults", "flags", "expected"),
    [
        (None, (None, None), (90.0, 14.0)),
        ((60.0, 7.0), (None, None), (60.0, 7.0)),
        ((60.0, 7.0), (None, 2.0), (60.0, 2.0)),
        ((60.0, 7.0), (20.0, None), (20.0, 7.0)),
    ],
)
def test_the_certificates_of_the_bundle_follow_the_same_order(
    defaults: tuple[float, float] | None, flags: tuple[float | None, float | None], expected: tuple[float, float]
) -> None:
    asked = policy(ENTRY, defaults=defaults, flags=flags)
    for purpose in ("tls_ca", "tls_server", "tls_client"):
        assert days(asked, "core-oem", purpose) == expected


def test_an_entry_for_a_certificate_of_the_bundle_changes_its_days_and_not_its_registry() -> None:
    asked = policy(RotationEntry(key="Core-OEM", purpose="tls_server", interval_days=30.0))
    rows = {row.purpose: row for row in asked.rotations}
    assert len(asked.rotations) == 3
    assert (rows["tls_server"].registry, rows["tls_server"].interval_days) == ("tls", 30.0)
    assert rows["tls_client"].interval_days == 90.0


def test_a_certificate_of_another_bundle_is_a_key_like_any_other() -> None:
    asked = policy(RotationEntry(key="other", purpose="tls_server"))
    assert [row.registry for row in asked.rotations] == ["tls", "tls", "tls", "keys"]


@pytest.mark.parametrize("intervals", [(30.0, 60.0), (60.0, 30.0)])
def test_of_two_entries_for_one_key_the_stricter_counts(intervals: tuple[float, float]) -> None:
    asked = policy(*(RotationEntry(key="a", purpose="b", interval_days=interval) for interval in intervals))
    assert days(asked, "a", "b")[0] == 30.0


def test_a_window_that_is_not_shorter_than_the_interval_is_known_for_it() -> None:
    asked = policy(RotationEntry(key="a", purpose="b", interval_days=7.0))
    assert [row.always_due for row in asked.rotations] == [False, False, False, True]
