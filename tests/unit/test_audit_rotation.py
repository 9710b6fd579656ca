"""ROT-05 and the table of rotations: what was there before, and what has to be done first."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from stage4 import words
from stage4.audit.controls import CONTROLS
from stage4.audit.evidence import EarlierCertificate, Evidence
from stage4.audit.finding import Outcome
from stage4.audit.policy import Policy, RequiredRotation
from stage4.audit.rotation_rows import in_order, rows
from stage4.clock import format_instant
from stage4.security.rotation import RotationRegistry
from support import audits
from support.audits import GOOD, NOW, POLICY, ROTATED

DAY = timedelta(days=1)
SAME, OTHER = "2" * 64, "8" * 64
(ROT_05,) = [control for control in CONTROLS if control.id == "ROT-05"]


def seen(*words: tuple[datetime, str], replaced: bool = False) -> tuple[EarlierCertificate, ...]:
    return tuple(EarlierCertificate("server", f"report-{at:%d}", at, digest, replaced) for at, digest in words)


def server(evidence: Evidence, policy: Policy = POLICY) -> tuple[Outcome, str]:
    (finding,) = [f for f in ROT_05.judge(evidence, policy, NOW) if f.subject.endswith("tls_server")]
    return finding.outcome, finding.code


def began(days: float) -> Evidence:
    """The server certificate began `days` before its rotation on record."""
    return audits.certificate("server", not_before=ROTATED - days * DAY)


@pytest.mark.parametrize(
    ("earlier", "expected"),
    [
        ((), (Outcome.SKIPPED, "rotation.nothing_earlier")),
        (seen((ROTATED - DAY, OTHER)), (Outcome.PASS, "rotation.key_changed")),
        (seen((ROTATED - DAY, SAME)), (Outcome.FAIL, "rotation.key_kept")),
        # What was seen after the rotation proves nothing.
        (seen((ROTATED, SAME)), (Outcome.SKIPPED, "rotation.nothing_earlier")),
        (seen((ROTATED + DAY, SAME)), (Outcome.SKIPPED, "rotation.nothing_earlier")),
        # The newest of what came before counts.
        (seen((ROTATED - 9 * DAY, SAME), (ROTATED - DAY, OTHER)), (Outcome.PASS, "rotation.key_changed")),
        (seen((ROTATED - DAY, SAME), (ROTATED - 9 * DAY, OTHER)), (Outcome.FAIL, "rotation.key_kept")),
        # A backup is taken at the instant of the rotation and shows what was there before.
        (seen((ROTATED, OTHER), replaced=True), (Outcome.PASS, "rotation.key_changed")),
        (seen((ROTATED, SAME), replaced=True), (Outcome.FAIL, "rotation.key_kept")),
    ],
)
def test_the_key_is_compared_with_the_newest_one_from_before_the_rotation(
    earlier: tuple[EarlierCertificate, ...], expected: tuple[Outcome, str]
) -> None:
    assert server(replace(GOOD, earlier_certificates=earlier)) == expected


def test_a_report_between_the_installation_and_its_late_record_accuses_nobody() -> None:
    before = seen((ROTATED - 5 * DAY, OTHER), (ROTATED - DAY, SAME))

    assert server(replace(began(3), earlier_certificates=before)) == (Outcome.PASS, "rotation.key_changed")


def test_a_record_long_after_the_certificate_began_is_no_late_record() -> None:
    before = seen((ROTATED - 30 * DAY, OTHER), (ROTATED - DAY, SAME))

    assert server(replace(began(20), earlier_certificates=before)) == (Outcome.FAIL, "rotation.key_kept")


def test_a_new_certificate_around_the_old_key_is_no_rotation() -> None:
    before = seen((ROTATED - 60 * DAY, SAME))

    assert server(replace(began(0), earlier_certificates=before)) == (Outcome.FAIL, "rotation.key_kept")


def test_a_registry_that_is_nonsense_from_end_to_end_makes_a_short_report() -> None:
    bad = tuple((f"row {number}", "security.registry_row_name") for number in range(5000))
    (rot_01,) = [control for control in CONTROLS if control.id == "ROT-01"]

    findings = rot_01.judge(audits.registry("keys", bad_rows=bad), POLICY, NOW)

    assert len([finding for finding in findings if finding.outcome is Outcome.FAIL]) == 21
    assert [f.params["count"] for f in findings if f.code == "rotation.more_rows"] == [4980]


@pytest.mark.parametrize("number", ["ROT-03", "ROT-04", "ROT-05"])
def test_a_row_dated_in_the_future_accuses_neither_certificate_nor_key(number: str) -> None:
    (control,) = [control for control in CONTROLS if control.id == number]
    (registry,) = [each for each in GOOD.registries if each.name == "tls"]
    rows = {**registry.rows, ("core-oem", "tls_server"): NOW + 8 * DAY}
    before = seen((ROTATED - 30 * DAY, SAME))

    findings = control.judge(replace(audits.registry("tls", rows=rows), earlier_certificates=before), POLICY, NOW)

    (server_row,) = [finding for finding in findings if finding.subject.endswith("tls_server")]
    assert (server_row.outcome, server_row.code) == (Outcome.UNKNOWN, "audit.rotation_undated")


def hint(evidence: Evidence, number: str, subject: str, policy: Policy = POLICY) -> str | None:
    (control,) = [control for control in CONTROLS if control.id == number]
    (finding,) = [each for each in control.judge(evidence, policy, NOW) if each.subject == subject]
    return words.hint(finding.code, "en", **finding.params)


@pytest.mark.parametrize("days", [80, 91])
def test_what_falls_due_names_the_command_for_that_row(days: int) -> None:
    ages = {("core-oem", f"tls_{role}"): NOW - days * DAY for role in ("ca", "server", "client")}
    certificates = audits.registry("tls", rows=ages)
    keys = audits.registry("keys", rows={("live-router", "decision-log"): NOW - days * DAY})
    own = replace(
        certificates,
        installation="demo",
        bundle=replace(GOOD.bundle, certificates=tuple(replace(file, demo=True) for file in GOOD.bundle.certificates)),
    )

    assert hint(own, "ROT-03", "core-oem::tls_ca") == "stage4 rotation rotate --bundle core-oem"
    for evidence, subject, command in (
        (certificates, "core-oem::tls_ca", "stage4 rotation mark core-oem tls_ca --reason …"),
        (
            replace(own, installation="production"),
            "core-oem::tls_ca",
            "stage4 rotation mark core-oem tls_ca --reason …",
        ),
        (keys, "live-router::decision-log", "stage4 rotation mark live-router decision-log --reason …"),
    ):
        assert str(hint(evidence, "ROT-03", subject)).endswith(f"record it: {command}")


def test_a_rotation_that_was_not_recorded_names_the_command_that_records_it() -> None:
    begins = ROTATED + 3 * DAY

    said = hint(audits.certificate("server", not_before=begins), "ROT-04", "core-oem::tls_server")

    at = format_instant(begins)
    assert str(said).endswith(f"stage4 rotation mark core-oem tls_server --at {at} --reason …")


@pytest.mark.parametrize(("asked", "blamed"), [(False, "observability.key_rotation"), (True, "--rotation-warn-days")])
def test_a_window_that_always_warns_is_put_down_to_who_asked_for_it(asked: bool, blamed: str) -> None:
    row = RequiredRotation("keys", "live-router", "decision-log", 14.0, 14.0, asked)

    assert blamed in str(hint(GOOD, "ROT-03", "live-router::decision-log", replace(POLICY, rotations=(row,))))


def test_what_is_required_or_on_record_stands_in_one_table_the_worst_first() -> None:
    policy = replace(
        POLICY,
        rotations=(
            RequiredRotation("keys", "fresh", "token", 90.0, 14.0),
            RequiredRotation("keys", "due", "token", 90.0, 14.0),
            RequiredRotation("keys", "overdue", "token", 90.0, 14.0),
            RequiredRotation("keys", "ahead", "token", 90.0, 14.0),
            RequiredRotation("keys", "absent", "token", 90.0, 14.0),
            RequiredRotation("tls", "core-oem", "tls_ca", 90.0, 14.0),
        ),
    )
    ages = {"fresh": 1.0, "due": 80.0, "overdue": 100.5, "ahead": -1.0, "gone": 4000.0}
    keys = RotationRegistry({(name, "token"): NOW - age * DAY for name, age in ages.items()})

    table = rows(policy, {"tls": None, "keys": keys}, NOW)

    assert [(row.key, row.state, row.days_left, row.required) for row in table] == [
        ("absent", "missing", None, True),
        ("ahead", "future", 91.0, True),
        ("overdue", "overdue", -10.5, True),
        ("core-oem", "unknown", None, True),
        ("due", "due", 10.0, True),
        ("fresh", "fresh", 89.0, True),
        ("gone", "overdue", -3910.0, False),
    ]
    assert [row.key for row in table if row.wrong] == ["absent", "ahead", "overdue"]
    assert [row.key for row in in_order(table)] == ["absent", "core-oem", "gone", "overdue", "due", "fresh", "ahead"]
    assert [row.key for row in table if row.falls_due_within(NOW, 10 * DAY)] == [
        "absent",
        "ahead",
        "overdue",
        "core-oem",
        "due",
        "gone",
    ]


def test_a_row_that_both_registries_have_stands_once() -> None:
    registry = RotationRegistry({("core-oem", "tls_ca"): NOW})
    policy = replace(POLICY, rotations=(RequiredRotation("tls", "core-oem", "tls_ca", 90.0, 14.0),))

    assert len(rows(policy, {"tls": registry, "keys": registry}, NOW)) == 1
