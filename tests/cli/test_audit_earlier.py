"""What an audit makes of the ones before it, and what nobody can make it forget."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stage4.audit.report_signature import SIGNATURE
from support.audit_place import Answer, Place


def plant(place: Place, stamp: str, document: object) -> Path:
    """Lay a report into the store by hand."""
    path = place.root / f"var/audit/acceptance/{stamp}/stage4_support/compliance.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def of_log(answer: Answer) -> tuple[int, str]:
    """The exit code, and the code of what is said of the log."""
    (found,) = [r["code"] for r in answer.document["results"] if r["control"] == "DLOG-03"]
    return answer.code, found


def fixed(answer: Answer) -> set[str]:
    return {change["control"] for change in answer.document["comparison"]["fixed"]}


def of_audit(answer: Answer) -> set[str]:
    """The codes of the warnings of AUD-02."""
    return {w["code"] for w in answer.document["warnings"] if w["check"] == "AUD-02"}


def cut(log: Path, entries: int) -> None:
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:entries]))


def test_a_log_that_was_cut_stays_cut_whatever_is_audited_in_between(place: Place) -> None:
    log = place.log(6)  # and its first entry
    first = place.run()
    assert of_log(first) == (0, "audit.log_verifies")
    cut(log, 3)

    assert of_log(place.run()) == (1, "audit.log_shrunk")
    place.run("--evidence", str(Path(first.document["stored"]).with_name("evidence.json")), at=False)
    place.run("--at", "2026-11-23T10:00:00Z", at=False)
    plant(place, "20991231T000000Z", first.document | {"results": []})
    plant(place, "20261124T000000Z", first.document | {"results": [], SIGNATURE: None})
    for _ in range(2):
        again = place.run()
        assert of_log(again) == (1, "audit.log_shrunk")
        assert "DLOG-03" not in fixed(again)
        (found,) = [r for r in again.document["results"] if r["control"] == "DLOG-03"]
        assert (found["params"]["count"], found["params"]["before"]) == (3, 7)


def test_a_log_that_vanished_stays_a_fail_and_is_no_other_log_when_it_comes_back_short(place: Place) -> None:
    log = place.log(6)
    content = log.read_bytes()
    place.run()
    log.unlink()

    assert [of_log(place.run()) for _ in range(3)] == [(1, "audit.log_gone")] * 3
    log.write_bytes(content)
    cut(log, 2)
    assert of_log(place.run()) == (1, "audit.log_shrunk")
    log.write_bytes(content[:-9])
    assert of_log(place.run()) == (1, "audit.log_finding")
    cut(log, 3)
    assert of_log(place.run()) == (1, "audit.log_shrunk")
    log.write_bytes(content)
    assert of_log(place.run()) == (0, "audit.log_verifies")


def test_a_log_begun_anew_counts_from_its_own_beginning_and_is_named(place: Place) -> None:
    log = place.log(6)
    place.run()
    for each in log.parent.iterdir():
        each.unlink()
    for each in (place.root / "secrets/decision_log").glob("checkpoint-*"):
        each.unlink()
    place.log(2)

    answers = [place.run() for _ in range(2)]

    for answer in answers:
        found = {r["code"]: r["outcome"] for r in answer.document["results"] if r["control"] == "DLOG-03"}
        assert found == {"audit.log_verifies": "pass", "audit.log_other": "warn"}


@pytest.mark.parametrize("stamp", ["20991231T000000Z", "20261124T000000Z"])
def test_a_copy_whose_signature_was_taken_off_is_neither_compared_nor_silent(place: Place, stamp: str) -> None:
    place.log(1)
    first = place.run()
    planted = plant(place, stamp, {k: v for k, v in first.document.items() if k != SIGNATURE})

    answer = place.run()

    assert of_audit(answer) == {"audit_report.kept_doubted"}
    assert str(planted.relative_to(place.root)) in answer.err
    assert answer.document["comparison"]["with"] == str(Path(first.document["stored"]).relative_to(place.root))


def test_a_report_that_was_named_and_is_not_signed_is_a_warning(place: Place) -> None:
    place.log(1)
    path = place.root.parent / "named.json"
    path.write_text(json.dumps(place.run().document | {SIGNATURE: None}), encoding="utf-8")

    assert of_audit(place.run("--compare", str(path))) == {"audit_report.earlier_forged"}


def test_where_reports_are_kept_nobody_else_may_write(place: Place) -> None:
    place.run()
    (place.root / "var/audit/acceptance").chmod(0o777)

    answer = place.run()

    failed = {(r["control"], r["subject"]) for r in answer.document["results"] if r["outcome"] == "fail"}
    assert failed == {("FS-02", "var/audit/acceptance")}


def test_latest_is_a_report_of_the_same_bundle(place: Place) -> None:
    first = place.run()
    place.run("--mtls-bundle-name", "other")

    answer = place.run()

    assert answer.document["comparison"]["with"] == str(Path(first.document["stored"]).relative_to(place.root))


def test_a_report_of_another_installation_shows_nothing_fixed(place: Place) -> None:
    place.log(1)
    place.open_keys()
    first = Path(place.run().document["stored"])
    named = place.root.parent / "named.json"
    named.write_bytes(first.read_bytes())
    for path in (place.root / "secrets/mtls").glob("*-key.pem"):
        path.chmod(0o600)
    assert fixed(place.run("--compare", str(named))) == {"FS-01"}
    place.settings("installation_id: audited", "installation_id: other")

    answer = place.run("--compare", str(named))

    assert fixed(answer) == set()
    assert "audit_report.earlier_forged" in of_audit(answer)


def test_a_longer_interval_repairs_nothing_silently(place: Place) -> None:
    place.log(1)
    place.run()

    assert of_audit(place.run("--rotation-interval-days", "36500")) == {"audit_report.demands_changed"}
    assert of_audit(place.run("--rotation-interval-days", "36500")) == set()
