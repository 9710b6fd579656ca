"""What the audit commands keep of a run, and what can be asked of it later."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from stage4.audit import report
from stage4.audit.formats import FORMATS
from stage4.cli import audit_security_baseline, audit_stage4_compliance
from support.audit_place import Main, Place, findings


def forms(secret: str) -> set[str]:
    """A secret, its digests and both in base64, as texts that nothing an audit writes may hold."""
    content = secret.encode()
    digests = [hashlib.new(name, content) for name in ("md5", "sha1", "sha256", "sha384", "sha512", "sha3_256")]
    raw = [content, *(digest.digest() for digest in digests)]
    encoded = {base64.b64encode(each).decode().rstrip("=") for each in raw}
    return {
        secret,
        *(d.hexdigest()[:16] for d in digests),
        *encoded,
        *({base64.b64decode(secret).hex()} if is_base64(secret) else ()),
    }


def is_base64(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) >= 16
    except ValueError:
        return False


def test_no_format_of_the_report_holds_a_secret_or_what_leads_to_it(place: Place) -> None:
    place.patch.setenv("CORE_SCHEDULER_TOKEN", place.secrets["METRICS_SERVICE_AUTH_TOKEN"])
    place.settings("token_file: secrets/detector.token", "token_hash: s3cr3t-in-the-wrong-place")
    everything = [flag for name in FORMATS for flag in ("--format", name)]
    said = [
        place.run(*everything, main=main).err for main in (audit_stage4_compliance.main, audit_security_baseline.main)
    ]
    kept = [p for p in (place.root / "var/audit").rglob("*") if p.is_file()]
    assert {p.suffix for p in kept} == {".json", ".md", ".sarif", ".xml"}
    assert {p.stat().st_mode & 0o777 for p in kept} == {0o600}
    secrets = [*place.secrets.values(), "s3cr3t-in-the-wrong-place"]
    secrets += [
        p.read_text(encoding="utf-8").strip()
        for p in (place.root / "secrets").rglob("*")
        if p.suffix in (".token", ".key")
    ]
    assert len(secrets) > 4

    texts = [*said, *(p.read_text(encoding="utf-8") for p in kept)]
    hidden = {form for secret in secrets for form in forms(secret)}
    assert not [form for form in hidden for text in texts if form in text]
    lengths = {len(secret) for secret in secrets}
    evidence = [json.loads(p.read_bytes()) for p in kept if p.name == "evidence.json"]
    stored = [token["secret"] for e in evidence for token in e["evidence"]["tokens"] if token["secret"]]
    assert stored
    assert not [secret for secret in stored if secret["group"] in lengths]


TIMES = {"started_at", "stored", "summary_signature", "evidence", "comparison"}


def untimed(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document without its own times and without when the report that it was compared with was made."""
    results = [
        {k: v for k, v in r.items() if k not in (("message", "params") if "since" in r["params"] else ())}
        for r in document["results"]
    ]
    return {k: v for k, v in document.items() if k not in TIMES} | {"results": results}


def test_two_runs_on_the_same_input_differ_only_in_their_times(place: Place) -> None:
    place.log(2)
    place.run()

    first, second = place.run(), place.run()

    assert untimed(first.document) == untimed(second.document)
    of_time = ("with", "line", "since")
    changes = [{k: v for k, v in a.document["comparison"].items() if k not in of_time} for a in (first, second)]
    assert changes[0] == changes[1]
    kept = [json.loads(Path(a.document["stored"]).with_name("evidence.json").read_bytes()) for a in (first, second)]
    for each in kept:
        earlier = each["evidence"]["earlier_report"]
        assert earlier.pop("path")
        assert earlier.pop("started_at")
    assert kept[0] == kept[1]


def test_an_audit_is_judged_again_from_what_it_kept(place: Place) -> None:
    place.open_keys()
    first = place.run("--allow-missing-env")
    evidence = str(Path(first.document["stored"]).with_name("evidence.json"))
    shutil.rmtree(place.root / "secrets/mtls")

    again = place.run("--allow-missing-env", "--evidence", evidence, at=False)
    later = place.run("--allow-missing-env", "--evidence", evidence, "--at", "2027-12-23T09:42:00Z", at=False)

    assert (first.document["replayed"], again.document["replayed"]) == (False, True)
    for member in ("results", "status", "policy", "inputs", "checked_at", "comparison", "again"):
        assert again.document[member] == first.document[member]
    assert again.document["evidence"] == first.document["evidence"]
    assert "X509-07" in findings(later.document, "fail")


def test_a_replay_can_be_compared_with_another_report(place: Place) -> None:
    first, second = place.run(), place.run()
    evidence = str(Path(second.document["stored"]).with_name("evidence.json"))

    again = place.run("--evidence", evidence, "--compare", first.document["stored"], at=False)

    assert again.document["comparison"]["with"] == first.document["stored"]


def test_a_replay_is_never_the_earlier_report(place: Place) -> None:
    first = place.run()
    place.run("--evidence", str(Path(first.document["stored"]).with_name("evidence.json")))

    assert place.run().document["comparison"]["with"] == str(Path(first.document["stored"]).relative_to(place.root))


@pytest.mark.parametrize(
    ("flags", "code", "error"),
    [
        (("--evidence", "config/core.yaml"), 2, "files.bad_json"),
        (("--evidence", "nowhere.json"), 3, "files.missing"),
        (("--compare", "nowhere.json"), 2, "audit_report.no_report"),
        (("--compare", "var"), 2, "audit_report.no_report"),
        (("--compare", "config/core.yaml"), 2, "files.bad_json"),
        (("--compare", "var/security/tls_rotation.json"), 2, "audit.not_a_report"),
        (("--evidence", "x.json", "--probe", "localhost:1"), 2, "probe.with_evidence"),
        (("--format", "pdf"), 2, "audit_report.format_unknown"),
        (("--format", "sarif="), 2, "audit_report.format_unknown"),
        (("--explain", "X509-99"), 2, "audit_report.control_unknown"),
        (("--verify-report", "nowhere.json"), 3, "files.missing"),
    ],
)
def test_what_cannot_be_asked_is_an_error_with_one_document(
    place: Place, flags: tuple[str, ...], code: int, error: str
) -> None:
    place.patch.chdir(place.root)

    answer = place.run(*flags)

    assert (answer.code, answer.document["error"]["code"]) == (code, error)
    assert answer.document["verdict"] == "cannot tell"
    assert answer.err.startswith("error: ")
    assert not list((place.root / "var/audit/acceptance").iterdir())


def test_evidence_of_another_bundle_is_not_judged_by_this_policy(place: Place) -> None:
    evidence = Path(place.run().document["stored"]).with_name("evidence.json")

    answer = place.run("--evidence", str(evidence), "--mtls-bundle-name", "other")

    assert (answer.code, answer.document["error"]["code"]) == (2, "audit_report.evidence_of_other")


def test_the_report_that_was_named_is_compared_and_latest_is_the_newest(place: Place) -> None:
    first, second = place.run(), place.run()
    place.open_keys()

    named = place.run("--compare", first.document["stored"])
    latest = place.run("--compare", "latest")

    assert named.document["comparison"]["with"] == first.document["stored"]
    assert latest.document["comparison"]["with"] == str(Path(named.document["stored"]).relative_to(place.root))
    assert {change["control"] for change in named.document["comparison"]["new"]} == {"FS-01"}
    assert second.document["comparison"]["with"] == str(Path(first.document["stored"]).relative_to(place.root))


def test_other_settings_are_a_warning_of_their_own(place: Place) -> None:
    place.run()
    place.settings("port: 8741", "port: 8751")

    answer = place.run()

    assert ("AUD-02", "settings") in {(w["check"], w["subject"]) for w in answer.document["warnings"]}
    assert answer.document["comparison"]["config_changed"] is True


def test_a_service_that_is_switched_off_is_no_improvement(place: Place) -> None:
    place.run()
    place.settings("metrics_service:\n    enabled: true", "metrics_service:\n    enabled: false")

    answer = place.run()

    gone = {w["subject"] for w in answer.document["warnings"] if w["check"] == "AUD-02"}
    assert {"settings", "TLS-01", "TLS-02"} <= gone


def test_paths_that_were_asked_for_last_time_only_are_no_warning(place: Place) -> None:
    place.log(1)
    place.run("--check-paths")

    answer = place.run()

    assert answer.document["status"] == "ok", answer.err
    assert answer.document["comparison"]["policy_changed"] == ["check_paths"]


@pytest.mark.parametrize("main", [audit_stage4_compliance.main, audit_security_baseline.main])
def test_a_report_is_signed_and_a_change_is_found(place: Place, main: Main) -> None:
    output = place.root.parent / "printed.json"
    answer = place.run("--json-output", str(output), main=main)
    signature = answer.document["summary_signature"]
    assert signature["algorithm"] == "HMAC-SHA256"
    for written in (Path(answer.document["stored"]), output):
        verified = place.run("--verify-report", str(written), main=main)
        assert (verified.code, verified.document["verdict"]) == (0, "ok")
    output.write_text(json.dumps(json.loads(output.read_bytes()) | {"status": "fine"}), encoding="utf-8")

    forged = place.run("--verify-report", str(output), main=main)

    assert (forged.code, forged.document["code"]) == (1, "audit_report.signature_differs")
    assert next(iter(forged.document)) == "schema"


def test_an_earlier_report_that_was_changed_is_a_warning(place: Place) -> None:
    first = place.run()
    path = Path(first.document["stored"])
    assert "AUD-02" not in findings(place.run("--compare", str(path)).document, "warn")
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"config_sha256": None}), encoding="utf-8")

    answer = place.run("--compare", str(path))

    assert ("AUD-02", "audit_report.earlier_forged") in {(w["check"], w["code"]) for w in answer.document["warnings"]}


def test_without_the_ring_a_report_says_why_it_is_not_signed_and_is_no_better_for_it(place: Place) -> None:
    place.lose_log_key()

    answer = place.run()

    assert (answer.code, answer.document["status"]) == (3, "fail")
    assert answer.document["summary_signature"] is None
    assert answer.document["not_signed"]["code"] == "keyring.secret_missing"
    verified = place.run("--verify-report", answer.document["stored"])
    assert (verified.code, verified.document["code"]) == (1, "audit_report.unsigned")


def test_a_signature_whose_key_is_gone_cannot_be_told(place: Place) -> None:
    answer = place.run()
    place.lose_log_key()

    verified = place.run("--verify-report", answer.document["stored"])

    assert (verified.code, verified.document["verdict"]) == (3, "cannot tell")


def plant(place: Place, stamp: str, content: str) -> Path:
    """Lay a report into the store by hand."""
    path = place.root / f"var/audit/acceptance/{stamp}/stage4_support/compliance.json"
    path.parent.mkdir(parents=True)
    path.write_text(content, encoding="utf-8")
    return path


@pytest.mark.parametrize("odd", ["1e999", "-1e999", "[" * 5000 + "]" * 5000])
def test_a_planted_report_stops_no_audit(place: Place, odd: str) -> None:
    place.log(1)
    good = Path(place.run().document["stored"]).read_text(encoding="utf-8")
    planted = plant(place, "20261124T000000Z", good.replace('"what_if": true', f'"what_if": true, "odd": {odd}'))
    assert planted.read_text(encoding="utf-8") != good

    assert place.run().code == 0
    assert place.run("--verify-report", str(planted)).code == 1


def test_an_audit_that_hits_a_bug_fails_and_is_kept(place: Place) -> None:
    def judge(*_: object) -> None:
        raise ZeroDivisionError("a rule that divides")

    place.patch.setattr(report, "judge", judge)
    output = place.root.parent / "printed.json"

    answer = place.run("--output-json", str(output))

    assert (answer.code, answer.document["exit_code"]) == (70, 70)
    assert (answer.document["status"], answer.document["verdict"]) == ("fail", "cannot tell")
    assert answer.document["error"]["code"] == "cli.bug"
    stored = Path(answer.document["stored"])
    assert json.loads(stored.read_bytes()) == json.loads(output.read_bytes()) == answer.document
    assert json.loads(stored.with_name("command.json").read_bytes())["exit_code"] == 70


def test_what_is_no_json_was_not_signed(place: Place) -> None:
    verified = place.run("--verify-report", str(place.root / "config/core.yaml"))

    assert (verified.code, verified.document["code"]) == (1, "files.bad_json")


def test_an_explanation_names_all_that_is_known_of_a_control(place: Place) -> None:
    answer = place.run("--explain", "x509-03")

    assert answer.code == 0
    assert answer.document["schema"] == "stage4.control/1"
    assert (answer.document["control"], answer.document["severity"]) == ("X509-03", "critical")
    assert (answer.document["waivable"], answer.document["references"]) == (False, ["RFC 5280 4.1.2.7"])
    assert answer.document["rationale"] in answer.err
    assert not list((place.root / "var/audit/acceptance").iterdir())


def test_an_unknown_control_is_answered_with_the_nearest(place: Place) -> None:
    assert place.run("--explain", "rbac8").document["error"]["params"]["nearest"] == "RBAC-08"


def test_formats_lie_beside_the_report_or_where_they_were_asked_for(place: Place) -> None:
    output = place.root.parent / "out" / "audit.xml"

    answer = place.run("--format", "sarif", "--format", f"junit={output}")

    beside = {path.name for path in Path(answer.document["stored"]).parent.iterdir()}
    assert beside == {"compliance.json", "compliance.md", "compliance.sarif", "command.json", "evidence.json"}
    assert output.read_bytes().startswith(b"<?xml")
    markdown = Path(answer.document["stored"]).with_name("compliance.md").read_text(encoding="utf-8")
    assert markdown.startswith("# audyt: ")


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_an_audit_that_fails_to_run_says_so_in_every_format(place: Place, name: str) -> None:
    output = place.root.parent / "result"
    assert place.run("--format", f"{name}={output}").code in (0, 1)
    place.settings("port: 8741", "port: many")

    answer = place.run("--format", f"{name}={output}")

    content = output.read_text(encoding="utf-8")
    assert answer.code == 2
    assert "port" in content
    assert {"sarif": '"executionSuccessful": false', "junit": 'errors="1"', "markdown": "CANNOT TELL"}[name] in content


def test_a_format_that_cannot_be_written_is_no_ok(place: Place) -> None:
    answer = place.run("--format", f"junit={place.root}")

    assert (answer.code, answer.document["not_stored"]["code"]) == (3, "files.cannot_write")
    assert place.run("--verify-report", answer.document["stored"]).code == 0


@pytest.mark.parametrize("flag", ["--output-json={}/x", "--format=markdown={}/x"])
def test_what_is_kept_of_a_run_is_what_it_printed_also_where_a_file_of_the_caller_fails(
    place: Place, flag: str
) -> None:
    place.log(1)
    other = place.root.parent / "other.json"
    beside = ("--format", f"junit={place.root.parent / 'x.xml'}")
    good = ("--output-json", str(other)) if flag.startswith("--format") else beside

    answer = place.run(*good, flag.format(place.root / "config/core.yaml"))

    stored = Path(answer.document["stored"])
    assert (answer.code, answer.document["status"]) == (3, "ok")
    assert json.loads(stored.read_bytes()) == answer.document
    assert json.loads(stored.with_name("command.json").read_bytes())["exit_code"] == 3
    assert not other.exists() or json.loads(other.read_bytes()) == answer.document
    assert place.run("--verify-report", str(stored)).code == 0


def test_the_callers_files_say_so_too_where_the_run_is_not_kept(place: Place) -> None:
    shutil.rmtree(place.root / "var/audit/acceptance")
    (place.root / "var/audit/acceptance").write_text("in the way", encoding="utf-8")
    output = place.root.parent / "printed.json"

    answer = place.run("--output-json", str(output))

    assert (answer.document["stored"], answer.document["not_stored"]["code"]) == (None, "files.cannot_write")
    assert json.loads(output.read_bytes()) == answer.document


def waive(place: Place, control: str, subject: str, owner: str = "l2-marek", approver: str = "po-jan") -> None:
    text = (
        f"waivers:\n  - control: {control}\n    subject: '{subject}'\n    owner: {owner}\n    approver: {approver}\n"
        "    ticket: OPS-1\n    justification: until the migration\n    granted: 2026-11-20\n    expires: 2026-12-20\n"
    )
    (place.root / "ops/waivers.yaml").write_text(text, encoding="utf-8")


def test_a_waiver_accepts_what_it_names_and_is_shown(place: Place) -> None:
    place.open_keys()
    waive(place, "FS-01", "secrets/mtls/*")

    answer = place.run()

    assert (answer.code, answer.document["status"], answer.document["summary"]["waived"]) == (0, "warn", 2)
    assert [w["owner"] for w in answer.document["waivers"]] == ["l2-marek"]
    waived = [r for r in answer.document["results"] if r["outcome"] == "waived"]
    assert {(r["outcome_before_waiver"], r["waiver"]["expires"]) for r in waived} == {("fail", "2026-12-20")}
    assert "until the migration" in answer.err
    assert "ops/waivers.yaml" in {i["path"] for i in answer.document["inputs"]}


def test_waivers_that_others_may_write_are_a_fault_that_they_cannot_waive(place: Place) -> None:
    waive(place, "FS-02", "op*")
    (place.root / "ops/waivers.yaml").chmod(0o666)

    answer = place.run()

    assert answer.code == 1
    failed = {(r["control"], r["subject"]) for r in answer.document["results"] if r["outcome"] == "fail"}
    assert failed == {("AUD-01", "FS-02 op*"), ("FS-02", "ops/waivers.yaml")}


@pytest.mark.parametrize(
    ("owner", "approver", "code"),
    [
        ("l2-marek", "l2-marek", "waiver.same_person"),
        ("po-jan", "po-jan", "waiver.same_person"),
        ("mallory", "po-jan", "waiver.person_unknown"),
        ("l2-marek", "mallory", "waiver.person_unknown"),
        ("l2-marek", "l1-anna", "waiver.approver_powerless"),
    ],
)
def test_a_waiver_has_an_owner_and_another_person_with_the_power_to_approve(
    place: Place, owner: str, approver: str, code: str
) -> None:
    place.open_keys()
    waive(place, "FS-01", "secrets/mtls/*", owner, approver)

    answer = place.run()

    assert answer.code == 1
    failed = {(r["control"], r["code"]) for r in answer.document["results"] if r["outcome"] == "fail"}
    assert {("AUD-01", code), ("FS-01", "audit.mode_open")} <= failed


def test_without_the_file_of_people_no_waiver_holds(place: Place) -> None:
    place.open_keys()
    waive(place, "FS-01", "secrets/mtls/*")
    (place.root / "ops/operators.yaml").unlink()

    answer = place.run()

    assert {"FS-01", "AUD-01"} <= findings(answer.document, "fail")


def test_a_malformed_file_of_waivers_fails_and_waives_nothing(place: Place) -> None:
    place.open_keys()
    waive(place, "FS-01", "secrets/mtls/*")
    place.edit("ops/waivers.yaml", "owner: l2-marek", "owner: ''")

    answer = place.run()

    assert answer.code == 1
    assert {"FS-01", "AUD-01"} <= findings(answer.document, "fail")
