"""The signature of a report: what it covers, and what is said where it does not hold."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from stage4.audit.report_signature import SIGNATURE, checked, signature
from stage4.errors import ExitCode, Unavailable
from stage4.security.keyring import KeyRing, create_keyring
from support.audits import NOW

DOCUMENT: Mapping[str, object] = {"schema": "stage4.audit/1", "status": "ok", "days": 14.0, "who": "ż\udc80"}


@pytest.fixture
def ring(tmp_path: Path) -> KeyRing:
    return create_keyring(tmp_path / "keyring.json", NOW)


def signed(ring: KeyRing, document: Mapping[str, object] = DOCUMENT) -> dict[str, object]:
    return {**document, SIGNATURE: signature(document, ring, "desk-1")}


def changed(ring: KeyRing, **members: object) -> KeyRing:
    document = json.loads(ring.path.read_text(encoding="utf-8"))
    document["keys"][0].update(members)
    if members.get("state", "active") != "active":
        second = create_keyring(ring.path.with_name(f"{members['state']}.json"), NOW.replace(month=12))
        listed = json.loads(second.path.read_text(encoding="utf-8"))
        document["keys"].append(listed["keys"][0])
        document["active"] = listed["active"]
    return KeyRing.read(ring.path, document, {})


def test_a_signed_report_verifies_whatever_the_order_of_its_members(ring: KeyRing) -> None:
    answer = checked(dict(reversed(signed(ring).items())), ring, "desk-1")

    assert (answer.exit_code, answer.code) == (ExitCode.DONE, "audit_report.signature_holds")
    assert checked(json.loads(json.dumps(signed(ring))), ring, "desk-1").exit_code is ExitCode.DONE


@pytest.mark.parametrize("change", [{"status": "warn"}, {"more": 1}, {"days": 14}, {"who": None}])
def test_any_change_is_found(ring: KeyRing, change: dict[str, object]) -> None:
    answer = checked(signed(ring) | change, ring, "desk-1")

    assert (answer.exit_code, answer.code) == (ExitCode.NO, "audit_report.signature_differs")


def test_another_installation_does_not_verify_it(ring: KeyRing) -> None:
    assert checked(signed(ring), ring, "desk-2").exit_code is ExitCode.NO


@pytest.mark.parametrize("given", [None, {}, "signed", {"key_id": 5, "value": ""}, {"key_id": "ops-2026-11"}])
def test_what_is_not_signed_is_a_no(ring: KeyRing, given: object) -> None:
    answer = checked({**DOCUMENT, SIGNATURE: given}, ring, "desk-1")

    assert (answer.exit_code, answer.code) == (ExitCode.NO, "audit_report.unsigned")


@pytest.mark.parametrize("change", [{"key_id": "ops-1999-01"}, {"algorithm": "none"}, {"algorithm": "HMAC-SHA384"}])
def test_a_key_or_algorithm_that_the_ring_does_not_list_is_a_no(ring: KeyRing, change: dict[str, str]) -> None:
    given = signature(DOCUMENT, ring, "desk-1") | change

    answer = checked({**DOCUMENT, SIGNATURE: given}, ring, "desk-1")

    assert (answer.exit_code, answer.code) == (ExitCode.NO, "audit_report.signed_by_unknown")


def test_a_retired_key_still_verifies_and_a_revoked_one_proves_nothing(ring: KeyRing) -> None:
    report = signed(ring)

    assert checked(report, changed(ring, state="retired"), "desk-1").exit_code is ExitCode.DONE
    answer = checked(report, changed(ring, state="revoked"), "desk-1")
    assert (answer.exit_code, answer.code) == (ExitCode.NO, "audit_report.signed_by_revoked")


def test_without_the_secret_nothing_can_be_signed_or_told(ring: KeyRing) -> None:
    report = signed(ring)
    ring.path.with_name("ops-2026-11.key").unlink()
    bare = ring.reloaded()

    assert checked(report, bare, "desk-1").exit_code is ExitCode.CANNOT_TELL
    with pytest.raises(Unavailable):
        signature(DOCUMENT, bare, "desk-1")


def test_an_installation_may_be_called_anything(ring: KeyRing) -> None:
    report = {**DOCUMENT, SIGNATURE: signature(DOCUMENT, ring, "biuro łódź")}

    assert checked(report, ring, "biuro łódź").exit_code is ExitCode.DONE


@pytest.mark.parametrize("odd", [float("inf"), float("nan")])
def test_what_json_cannot_hold_was_never_signed(ring: KeyRing, odd: object) -> None:
    answer = checked(signed(ring) | {"odd": odd}, ring, "desk-1")

    assert (answer.exit_code, answer.code) == (ExitCode.NO, "audit_report.signature_differs")


def test_what_is_nested_too_deep_was_never_signed(ring: KeyRing) -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]

    answer = checked(signed(ring) | {"odd": deep}, ring, "desk-1")

    assert (answer.exit_code, answer.code) == (ExitCode.NO, "audit_report.signature_differs")
